"""A sweep's progress while one waits: a bar on a terminal or in a notebook, elsewhere plain lines."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from services.client.backend import Backend, Stands
from services.client.errors import BasinError
from services.rendering.formatting import format_hours, format_seconds, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from services.execution.status import Standing

LINE_SECONDS = 5.0


class View(Protocol):
    """Shows how a sweep stands, again and again."""

    def show(self, name: str, stands: Stands) -> None:
        """Show it in the place of what was shown before; the last time it is not active any more."""
        ...


def watch(backend: Backend, name: str) -> "Standing":
    """Show a sweep's progress until it ends. Returns how it stands then.

    Raises:
        BasinError: there is none of this name, it was never run, or could not be started.
    """
    last = None
    with view() as shown:
        for last in backend.standings(name):
            shown.show(name, last)
    if last is None or last.standing is None:
        why = f"could not be run: {last.reason}" if last and last.reason else f"was never run: resume({name!r}) runs it"
        raise BasinError("not_found", f"sweep {name!r} {why}")
    return last.standing


@contextmanager
def view() -> Iterator[View]:
    """The view for where this process writes: a notebook, a terminal or a file."""
    if (display := _notebook_display()) is not None:
        yield _NotebookView(display)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineView(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
    with Progress(*columns, TextColumn("{task.fields[said]}", markup=False), console=console) as bars:
        yield _TerminalView(bars)


def words(stands: Stands) -> str:
    """How it stands in one line, such as `running: 12 of 40 runs; 2 failed; about 3 min left; 0.02 CPU-hours`."""
    standing = stands.standing
    reason = stands.reason or (standing and standing.reason)
    is_its = stands.state == "running" or not stands.active  # else it is the word of an earlier process
    told = _progress(standing, stands.active) if standing is not None and is_its else []
    parts = [*told, *([reason] if reason else [])]
    return printable(f"{stands.state}: {'; '.join(parts)}" if parts else stands.state)


def _progress(standing: "Standing", active: bool) -> list[str]:
    what = "requests measured" if standing.doing == "measuring" else "runs"
    return [
        f"{_done(standing):,} of {standing.runs:,} {what}",
        *(f"{n:,} {status}" for status, n in standing.ended.items() if n and status != "finished"),
        *([f"{standing.running:,} running"] if active and standing.running else []),
        *([f"about {format_seconds(standing.seconds_left)} left"] if active and standing.seconds_left else []),
        f"{format_hours(standing.cpu_hours)} CPU-hours",
        *([f"{format_hours(standing.gpu_hours)} GPU-hours"] if standing.gpu_hours else []),
    ]


def _done(standing: "Standing") -> int:
    """How many of its runs are there, whether they were fitted now or before."""
    return standing.reused + sum(standing.ended.values())


def bar_html(name: str, stands: Stands) -> str:
    """The same as HTML, with a bar."""
    standing = stands.standing
    bar = (
        ""
        if standing is None
        else f'<progress max="{max(standing.runs, 1)}" value="{_done(standing)}" aria-label="runs done"></progress> '
    )
    return f"<div><b>{html.escape(name)}</b> {bar}{html.escape(words(stands))}</div>"


class _NotebookView:
    def __init__(self, display: Callable[..., Any]) -> None:
        self._display, self._handle, self._shown = display, None, ""

    def show(self, name: str, stands: Stands) -> None:
        text = bar_html(name, stands)
        if text == self._shown:
            return
        self._shown = text
        bundle = {"text/html": text, "text/plain": f"{name}: {words(stands)}"}
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _TerminalView:
    def __init__(self, bars: "Progress") -> None:
        self._bars, self._task = bars, bars.add_task("", total=None, said="")

    def show(self, name: str, stands: Stands) -> None:
        standing = stands.standing
        total, completed = (None, 0) if standing is None else (standing.runs, _done(standing))
        self._bars.update(self._task, description=name, total=total, completed=completed, said=words(stands))


class _LineView:
    """Lines for a log: at most one in `LINE_SECONDS`, and one at the end."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        self._say, self._last, self._said = say, -LINE_SECONDS, ""

    def show(self, name: str, stands: Stands) -> None:
        line, now = f"{name}: {words(stands)}", time.monotonic()
        if line != self._said and (not stands.active or now - self._last >= LINE_SECONDS):
            self._say(line)
            self._last, self._said = now, line


def _notebook_display() -> Callable[..., Any] | None:
    """IPython's `display`, where a notebook's kernel runs this."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display
