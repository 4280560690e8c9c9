"""Work in progress: live bars on a terminal, and elsewhere a plain line now and then."""

import time
from collections.abc import Callable, Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from cluster.work import Lost
from models.runs.events import START, Event
from models.runs.events import Progress as ProgressEvent
from services.execution.tally import Tally, is_early
from services.rendering.formatting import format_hours, format_seconds, printable

PLAIN_INTERVAL = 5.0
_VISIBLE_RUNS = 8


class ProgressView:
    """Shows a stream of events: runs done, and for each running run its phase, how far it is, divergences, time left.

    Give it a console on stderr, so that stdout holds the result alone. Bars are drawn where the console is a terminal;
    elsewhere a line is printed at most every `PLAIN_INTERVAL` seconds, and one at the end.

    Args:
        runs: the runs to be fitted: words for each run key, such as "bnn-nuts, split 0, seed 1".
        console: where to write.
        clock: seconds, never going back.
        gpus: share of a GPU that a run on a GPU occupies.

    Attributes:
        tally: the same in numbers.
    """

    def __init__(
        self,
        runs: Mapping[str, str],
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        gpus: float = 0.0,
    ):
        self.tally = Tally(runs, len(runs), gpus, clock)
        self._runs = runs
        self._console = console
        self._clock = clock
        self._running: dict[str, TaskID] = {}
        self._last_line = -PLAIN_INTERVAL
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}", markup=False),
            _TimeLeft(),
            console=console,
            get_time=clock,
            speed_estimate_period=600,
            disable=not console.is_terminal,
            transient=True,
        )
        self._all = self._bars.add_task("runs", total=len(runs), count=f"0/{len(runs)}")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        if not self._console.is_terminal and self._runs:
            self._print_line()

    def consume(self, event: Event | Lost) -> None:
        """Take in one event. Checkpoints, and runs that are not this view's, change nothing."""
        if not self.tally.consume(event):
            return
        if isinstance(event, ProgressEvent):
            self._advance(event)
        else:
            self._forget(event.run_key)
        if isinstance(event, Lost):
            times = f"{event.attempts} attempt{'' if event.attempts == 1 else 's'}"
            text = f"{self._runs[event.run_key]}: given up after {times}: {event.reason}"
            self._console.print(Text(printable(text)), soft_wrap=True)
        self._refresh()

    def _advance(self, event: ProgressEvent) -> None:
        divergences = self.tally.divergences.get(event.run_key, 0)
        units = "starting" if event.phase == START else f"{event.done:,}/{event.total:,} {printable(event.phase)}"
        count = units + _diverged(divergences)
        task = self._running.get(event.run_key)
        if task is None:
            shown = len(self._running) < _VISIBLE_RUNS
            words = "  " + printable(self._runs[event.run_key])
            task = self._bars.add_task(words, total=event.total, count=count, phase=event.phase, visible=shown)
            self._running[event.run_key] = task
        elif self._task(task).fields["phase"] != event.phase:
            self._bars.reset(task, total=event.total, count=count, phase=event.phase)  # with all fields, or it has none
        self._bars.update(task, completed=event.done, total=event.total, count=count)

    def _forget(self, run_key: str) -> None:
        task = self._running.pop(run_key, None)
        if task is not None:
            self._bars.remove_task(task)
        for waiting in list(self._running.values())[:_VISIBLE_RUNS]:
            self._bars.update(waiting, visible=True)

    def _refresh(self) -> None:
        share = sum(self.tally.running.values())
        self._bars.update(self._all, completed=self.tally.done + share, count=self._summary())
        if not self._console.is_terminal and self._clock() - self._last_line >= PLAIN_INTERVAL:
            self._print_line()

    def _summary(self) -> str:
        hidden = len(self._running) - _VISIBLE_RUNS
        more = f", {hidden} more running" if hidden > 0 else ""
        return f"{self._done()} done{self._facts()}{more}"

    def _done(self) -> str:
        return f"{self.tally.done:,}/{len(self._runs):,}"

    def _facts(self) -> str:
        """What went wrong so far, and the cost of what ended, once it is worth telling."""
        tally = self.tally
        told = [f", {n:,} {status}" for status in ("failed", "stopped") if (n := tally.ended[status])]
        told.append(_diverged(sum(tally.divergences.values())))
        for hours, what in ((tally.cost.cpu_hours, "CPU"), (tally.cost.gpu_hours, "GPU")):
            if hours >= 0.01:
                told.append(f", {format_hours(hours)} {what}-hours")
        return "".join(told)

    def _print_line(self) -> None:
        self._last_line = self._clock()
        left = self.tally.seconds_left()
        parts = [f"runs {self._done()}{self._facts()}"]
        if left:
            parts.append(f"about {format_seconds(left)} left")
        if self._running:
            key, task = next(iter(self._running.items()))
            parts.append(f"{printable(self._runs[key])}: {self._task(task).fields['count']}")
        self._console.print(Text("; ".join(parts)), soft_wrap=True)

    def _task(self, task: TaskID) -> Task:
        return next(each for each in self._bars.tasks if each.id == task)


class _TimeLeft(ProgressColumn):
    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = None if is_early(task.completed, task.total or 0) else task.time_remaining
        return Text(f"about {format_seconds(left)} left" if left else "", style="dim")


def _diverged(divergences: int) -> str:
    return f", {divergences} divergence{'' if divergences == 1 else 's'}" if divergences else ""
