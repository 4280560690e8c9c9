"""A sweep's progress while one waits: a bar on a terminal, one that draws itself anew in a notebook, else plain lines."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from services.formatting import format_seconds, printable
from services.standing import Standing

LINE_SECONDS = 5.0

_ENDED = {
    "finished": "finished",
    "stopped": "stopped",
    "interrupted": "interrupted",
    "failed": "failed",
    "running": "broken off",
}


class View(Protocol):
    """Shows how a sweep stands, again and again."""

    def show(self, standing: Standing, *, alive: bool) -> None:
        """Show it in the place of what was shown before; the last time it is not `alive` any more."""
        ...


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


def done(standing: Standing) -> int:
    """How many of its runs are there, whether they were fitted now or before."""
    return standing.reused + sum(standing.ended.values())


def words(standing: Standing, *, alive: bool) -> str:
    """How it stands in one line, such as `12 of 40 runs; 2 failed; about 3 min left; 0.02 CPU-hours`."""
    what = "requests measured" if standing.doing == "measuring" else "runs"
    parts = [
        *([] if alive else [_ENDED[standing.state]]),
        f"{done(standing):,} of {standing.runs:,} {what}",
        *(f"{n:,} {status}" for status, n in standing.ended.items() if n and status != "finished"),
        *([f"{standing.running:,} running"] if alive and standing.running else []),
        *([f"about {format_seconds(standing.seconds_left)} left"] if alive and standing.seconds_left else []),
        f"{standing.cpu_hours:.2f} CPU-hours",
        *([f"{standing.gpu_hours:.2f} GPU-hours"] if standing.gpu_hours else []),
        *([standing.reason] if standing.reason else []),
    ]
    return printable("; ".join(parts))


def bar_html(standing: Standing, *, alive: bool) -> str:
    """The same as HTML, with a bar."""
    return (
        f'<div><b>{html.escape(standing.name)}</b> <progress max="{max(standing.runs, 1)}" '
        f'value="{done(standing)}" aria-label="runs done"></progress> '
        f"{html.escape(words(standing, alive=alive))}</div>"
    )


class _NotebookView:
    def __init__(self, display: Callable[..., Any]) -> None:
        self._display, self._handle, self._shown = display, None, ""

    def show(self, standing: Standing, *, alive: bool) -> None:
        text = bar_html(standing, alive=alive)
        if text == self._shown:
            return
        self._shown = text
        bundle = {"text/html": text, "text/plain": f"{standing.name}: {words(standing, alive=alive)}"}
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _TerminalView:
    def __init__(self, bars: Any) -> None:
        self._bars, self._task = bars, bars.add_task("", total=None, said="")

    def show(self, standing: Standing, *, alive: bool) -> None:
        self._bars.update(
            self._task,
            description=standing.name,
            total=standing.runs,
            completed=done(standing),
            said=words(standing, alive=alive),
        )


class _LineView:
    def __init__(self, say: Callable[[str], Any]) -> None:
        self._say, self._last, self._said = say, -LINE_SECONDS, ""

    def show(self, standing: Standing, *, alive: bool) -> None:
        line, now = f"{standing.name}: {words(standing, alive=alive)}", time.monotonic()
        if line != self._said and (not alive or now - self._last >= LINE_SECONDS):
            self._say(line)
            self._last, self._said = now, line


def _notebook_display() -> Callable[..., Any] | None:
    """IPython's `display`, where a notebook's kernel runs this."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display
