"""A sweep on a terminal: what would be fitted, what became of it, how it stands."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.rendering.formatting import format_bytes, format_hours, format_seconds, printable

if TYPE_CHECKING:
    from services.execution.runner import Outcome
    from services.execution.status import Standing
    from services.store.store import Store
    from services.sweeps.forecast import Forecast
    from services.sweeps.plan import Outlook, Plan


def print_outlook(
    plan: "Plan", outlooks: "Sequence[Outlook]", forecasts: "Sequence[Forecast]", console: Console
) -> None:
    """What would be fitted, what it takes, and what is said of the data."""
    from services.sweeps.plan import n_packs

    sweep, n_stored = plan.sweep, sum(row.stored for row in outlooks)
    n_programs = len(frozenset().union(*(row.programs for row in outlooks)))
    table = headed("dataset", "learner", "runs", "stored", "to compile", "core time", "worker memory")
    for row, ahead in zip(outlooks, forecasts, strict=True):
        guess = "" if ahead.runs_like_it else "~"
        hours = "" if row.runs == row.stored else guess + format_seconds(max(0.1, 3600 * ahead.cpu_hours))
        counts = (row.runs, row.stored, len(row.programs))
        table.add_row(
            printable(row.dataset.name),
            row.learner.name,
            *map("{:,}".format, counts),
            hours,
            format_bytes(ahead.worker_bytes),
        )
    console.print(table)
    say(
        console,
        "",
        f"{sweep.name}: {counted(len(plan.runs), 'run')} on {counted(sweep.n_splits, 'split')} with "
        f"{counted(sweep.n_seeds, 'seed')} each, {n_stored:,} stored already; "
        f"{counted(n_programs, 'program')} to compile, "
        f"{counted(n_packs(outlooks), 'pack')} or more.",
    )
    if n_stored < len(plan.runs):
        total = max(0.1 / 3600, sum(ahead.cpu_hours for ahead in forecasts))
        thumb = any(not f.runs_like_it for f, row in zip(forecasts, outlooks, strict=True) if row.stored < row.runs)
        by = (
            "~ by rule of thumb, to a factor of ten: no run like it is stored" if thumb else "by stored runs like these"
        )
        say(console, f"About {format_seconds(3600 * total)} of one core's time ({by}), and compiling.")
    for path in sweep.vary:
        with_it = dict.fromkeys(c.learner.name for c in plan.configurations if path in c.varied)
        others = {name for part in plan.parts for name in part.learners} - set(with_it)
        rest = f"; {', '.join(sorted(others))} without it" if others else ""
        say(console, f"{path} varies {', '.join(with_it)}{rest}.")
    if sweep.early_stopping is not None:
        say(console, "Configurations that fall behind are stopped early (early_stopping), with all their runs.")
    asked = [ask.measure for ask in plan.asks] + (["the loss along paths between runs"] if plan.paths else [])
    say(console, f"Then to be measured: {', '.join(asked)}." if asked else "Nothing is measured after the fits.")
    for part in plan.parts:
        for note in (*part.dataset.notes, *part.notes):
            say(console, f"{part.dataset.name}: {note}")


def outlook_document(plan: "Plan", outlooks: "Sequence[Outlook]", forecasts: "Sequence[Forecast]") -> dict[str, Any]:
    """The same for programs."""
    from services.sweeps.plan import n_packs

    learners = [
        {
            "dataset": row.dataset.name,
            "learner": row.learner.name,
            "runs": row.runs,
            "stored": row.stored,
            "programs": len(row.programs),
            "packs": n_packs([row]),
            "cpu_hours": ahead.cpu_hours,
            "worker_bytes": ahead.worker_bytes,
            "runs_like_it": ahead.runs_like_it,
        }
        for row, ahead in zip(outlooks, forecasts, strict=True)
    ]
    return {
        "sweep": plan.sweep.name,
        "runs": len(plan.runs),
        "stored": sum(row.stored for row in outlooks),
        "programs": len(frozenset().union(*(row.programs for row in outlooks))),
        "packs": n_packs(outlooks),
        "measures": [ask.measure for ask in plan.asks],
        "learners": learners,
    }


def print_outcome(name: str, outcome: "Outcome", store: "Store", console: Console) -> int:
    """Print what became of the runs. Returns how many are finished."""
    from services.execution.status import counts_by_learner

    found = counts_by_learner(store, store.sweep(name)[1])
    print_learners(found, console)
    say(console, "")
    for reason, n in Counter(outcome.failed.values()).most_common(5):
        say(console, f"! {counted(n, 'run')} failed: {reason}")
    if outcome.stopped:
        say(console, f"{counted(outcome.stopped, 'run')} stopped early, with all runs of their configurations.")
    say(console, f"{counted(outcome.fitted, 'run')} fitted by this command, {outcome.reused:,} reused from the store.")
    return int(found["finished"].sum())


def print_learners(found: Any, console: Console) -> None:
    """What became of each learner's runs."""
    table = headed(*found.columns)
    for learner, *counts in found.iter_rows():
        table.add_row(learner, *map("{:,}".format, counts))
    console.print(table)


def stands(now: "Standing") -> str:
    """How a sweep stands, in one line."""
    ended = sum(now.ended.values())
    said = {"running": "running" if now.alive else "broken off: `basin sweep resume` goes on"}.get(now.state, now.state)
    ago = (datetime.now(UTC) - now.updated_at).total_seconds()
    if now.doing == "measuring":
        done = f"{ended:,} of {counted(now.runs, 'request')} measured"
    else:
        done = f"{now.reused + ended:,} of {counted(now.runs, 'run')} done ({now.reused:,} stored before)"
    parts = [
        f"{said}: {done}",
        *(f"{n:,} {status}" for status, n in now.ended.items() if status != "finished"),
        *([f"{now.running:,} running"] if now.running and now.alive else []),
        *([f"about {format_seconds(now.seconds_left)} left"] if now.seconds_left and now.alive else []),
        f"{format_hours(now.cpu_hours)} CPU-hours by that command",
        *([f"{format_hours(now.gpu_hours)} GPU-hours"] if now.gpu_hours else []),
        *([] if now.alive else [f"{format_seconds(ago)} ago"]),
        *([now.reason] if now.reason else []),
    ]
    return "; ".join(parts)


def headed(*headings: str) -> Table:
    """A table without lines that has these headings."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("dataset", "learner", "sweep", "state") else "right")
    return table


def say(console: Console, *lines: str) -> None:
    """Lines of text that may hold anything."""
    for line in lines:
        console.print(Text(printable(line)))


def counted(count: int, what: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
