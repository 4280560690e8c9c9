"""`basin sweep`: sweep files, checked, run, watched, stopped and resumed."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.commands.geometry import take_measures
from services.commands.options import AddressOption, GpusOption, StoreOption, WorkersOption, print_json
from services.commands.workers import again, attend, check_idle_at_once, crew, store_of, tell, warn, workplace
from services.rendering.formatting import format_bytes, format_hours, format_seconds, printable
from services.settings import settings
from services.sweeps.definition import Sweep, parse_sweep, read_sweep

if TYPE_CHECKING:
    from services.execution.runner import Outcome
    from services.execution.status import Standing
    from services.store.store import Store
    from services.sweeps.forecast import Forecast
    from services.sweeps.plan import Outlook, Plan

app = typer.Typer(
    help="""Vary settings of learners over datasets, splits and seeds.

Begin with:

  basin sweep check flat-or-sharp.yaml
  basin sweep run flat-or-sharp.yaml

From another terminal, or another machine with the same store:

  basin sweep status flat-or-sharp --watch
  basin sweep stop flat-or-sharp
  basin sweep resume flat-or-sharp

Then `basin measure` and `basin geometry` ask which measure predicts generalisation.
`basin schema sweep` has all keys of a sweep file for an editor.""",
    no_args_is_help=True,
)

FileArgument = Annotated[Path, typer.Argument(help="A sweep file: YAML or JSON.")]
NameArgument = Annotated[str, typer.Argument(help="A sweep or comparison: `basin sweep list` has their names.")]
FailedOption = Annotated[bool, typer.Option("--only-failed", help="Fit those again that failed, and nothing else.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def check(file: FileArgument, store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """Say whether a sweep file can be run, and what would be fitted; nothing is.

    For example:

      basin sweep check flat-or-sharp.yaml
      basin sweep check flat-or-sharp.yaml --store elsewhere --json

    Paths in the file are from the folder where the command runs. Hours and memory go by stored runs like its own, where
    there are any.
    """
    sweep = read_sweep(file)
    from services.store.location import exists
    from services.store.store import Store
    from services.sweeps.forecast import forecast
    from services.sweeps.plan import load_datasets, outlook, plan

    environment = settings()
    planned = plan(sweep, load_datasets(sweep, environment.cache))
    location = store or environment.store
    opened = Store(location) if exists(location) else None
    outlooks = outlook(planned, planned.runs if opened is None else planned.missing(opened))
    forecasts = forecast(outlooks, opened)
    if as_json:
        print_json(_outlook_document(planned, outlooks, forecasts))
        return
    _print_outlook(planned, outlooks, forecasts, Console())
    _say(Console(), "", f"Next: basin sweep run {file}{again(store=store)}")


@app.command("run")
def run_sweep(
    file: FileArgument,
    only_failed: FailedOption = False,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
) -> None:
    """Fit the runs of a sweep that are not stored yet, and then measure what its file says under `measures`.

    For example:

      basin sweep run flat-or-sharp.yaml
      basin sweep run flat-or-sharp.yaml --workers 8 --address HOST:6379

    Stop it by Ctrl-C, or kill it: the same command goes on where it was.
    """
    sweep = read_sweep(file)
    _carry_out(sweep, only_failed, workers, gpus, address, store)


@app.command()
def resume(
    name: NameArgument,
    only_failed: FailedOption = False,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
) -> None:
    """Go on with a sweep as the store has it, without its file.

    For example:

      basin sweep resume flat-or-sharp
      basin sweep resume flat-or-sharp --only-failed
    """
    from services.store.store import Store

    definition, _ = Store(store or settings().store).sweep(name)
    _carry_out(parse_sweep(json.loads(definition), f"sweep {name!r}"), only_failed, workers, gpus, address, store)


def _carry_out(
    sweep: Sweep, only_failed: bool, workers: int | None, gpus: float | None, address: str | None, store: str | None
) -> None:
    demand = sweep.resources
    place = workplace(
        store, demand.workers if workers is None else workers, demand.gpus if gpus is None else gpus, address
    )
    from models.measuring.at_runs import MEASURED_DRAWS
    from services.execution.carry_out import carry_out, waiting
    from services.execution.status import check_idle, read_standing
    from services.sweeps.plan import load_datasets, plan

    check_idle_at_once(place, sweep.name)
    planned = plan(sweep, load_datasets(sweep, place.cache))
    with store_of(place, sweep.name) as writer:
        check_idle(writer, sweep.name)
        missing = waiting(planned, writer, only_failed=only_failed)
        reused = len(planned.runs) - len(missing)
        with ExitStack() as stack:
            workers_at_hand = stack.enter_context(crew(place, planned.words(missing)))
            if len(missing) or read_standing(writer, sweep.name) is None:  # else what was said last stays true
                stack.enter_context(attend(writer, sweep.name, len(planned.runs), reused, workers_at_hand))
            outcome = carry_out(
                planned,
                writer,
                workers_at_hand.executor,
                workers_at_hand.on_event,
                resources=place.resources,
                n_workers=workers_at_hand.n_workers,
                only_failed=only_failed,
            )
        n_finished = _print_outcome(sweep.name, outcome, writer, Console())
        if n_finished and (planned.asks or planned.paths):
            asked = (planned.asks, planned.paths, MEASURED_DRAWS)
            take_measures(place, writer, sweep.name, lambda: planned.datasets, *asked)
    if not n_finished:
        raise typer.Exit(1)
    named = f"{sweep.name}{again(store=store)}"
    measure = "" if planned.asks else f"basin measure {named}, then: "
    _say(Console(), f"Next: {measure}basin geometry {named}")


@app.command()
def status(
    name: NameArgument,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until it ends.")] = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how a sweep stands: what is finished, running and failed, the time left and the cost so far.

    For example:

      basin sweep status flat-or-sharp
      basin sweep status flat-or-sharp --watch
      basin sweep status flat-or-sharp --json
    """
    from services.execution.status import counts_by_learner, cpu_hours, read_standing
    from services.store.store import Store

    opened = Store(store or settings().store)
    _, members = opened.sweep(name)
    while True:
        now = read_standing(opened, name)
        if not watch or now is None or not now.alive:
            break
        tell(_stands(now))
        time.sleep(2.0)
    table = counts_by_learner(opened, members)
    if as_json:
        document: dict[str, Any] = {
            "sweep": name,
            "learners": table.to_dicts(),
            "cpu_hours": cpu_hours(opened, members),
        }
        print_json(document | {"standing": None if now is None else now.model_dump(mode="json") | {"alive": now.alive}})
        return
    console = Console()
    _print_learners(table, console)
    _say(
        console,
        "",
        "It was never run by this version." if now is None else _stands(now),
        f"Its stored runs took {format_seconds(3600 * cpu_hours(opened, members))} of workers' time in all.",
    )


@app.command()
def stop(name: NameArgument, store: StoreOption = None) -> None:
    """Ask the process that runs a sweep, here or on a cluster, to stop; finished runs are kept.

    For example:

      basin sweep stop flat-or-sharp
      basin sweep resume flat-or-sharp
    """
    from services.execution.status import read_standing, request_stop
    from services.store.store import Store

    opened = Store(store or settings().store)
    opened.sweep(name)
    now = read_standing(opened, name)
    if now is None or not now.alive:
        tell(f"sweep {name!r} is not being run: there is nothing to stop")
        return
    request_stop(opened, name)
    tell(f"asked process {now.at.process} on {now.at.host} to stop; `basin sweep status {name} --watch` shows it end")


@app.command("list")
def list_sweeps(store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """List the sweeps of a store, comparisons among them."""
    from services.execution.status import counts_by_learner, read_standing
    from services.store.archive import DamagedError
    from services.store.store import Store

    opened = Store(store or settings().store)
    rows = []
    for name in opened.sweeps():
        try:
            _, members = opened.sweep(name)
        except DamagedError as error:
            warn(str(error))
            rows.append((name, None, None, None, None, "damaged"))
            continue
        now = read_standing(opened, name)
        state = "" if now is None else now.state if now.alive or now.state != "running" else "broken off"
        finished = int(counts_by_learner(opened, members)["finished"].sum())
        rows.append(
            (name, members["fingerprint"].n_unique(), members["learner"].n_unique(), len(members), finished, state)
        )
    headings = ("sweep", "datasets", "learners", "runs", "finished", "state")
    if as_json:
        print_json([dict(zip(headings, row, strict=True)) for row in rows])
        return
    table = _table(*headings)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)


def _print_outlook(
    plan: "Plan", outlooks: "Sequence[Outlook]", forecasts: "Sequence[Forecast]", console: Console
) -> None:
    from services.sweeps.plan import n_packs

    sweep, n_stored = plan.sweep, sum(row.stored for row in outlooks)
    n_programs = len(frozenset().union(*(row.programs for row in outlooks)))
    table = _table("dataset", "learner", "runs", "stored", "to compile", "core time", "worker memory")
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
    _say(
        console,
        "",
        f"{sweep.name}: {_n(len(plan.runs), 'run')} on {_n(sweep.n_splits, 'split')} with "
        f"{_n(sweep.n_seeds, 'seed')} each, {n_stored:,} stored already; {_n(n_programs, 'program')} to compile, "
        f"{_n(n_packs(outlooks), 'pack')} or more.",
    )
    if n_stored < len(plan.runs):
        total = max(0.1 / 3600, sum(ahead.cpu_hours for ahead in forecasts))
        thumb = any(not f.runs_like_it for f, row in zip(forecasts, outlooks, strict=True) if row.stored < row.runs)
        by = (
            "~ by rule of thumb, to a factor of ten: no run like it is stored" if thumb else "by stored runs like these"
        )
        _say(console, f"About {format_seconds(3600 * total)} of one core's time ({by}), and compiling.")
    for path in sweep.vary:
        with_it = dict.fromkeys(c.learner.name for c in plan.configurations if path in c.varied)
        others = {name for part in plan.parts for name in part.learners} - set(with_it)
        rest = f"; {', '.join(sorted(others))} without it" if others else ""
        _say(console, f"{path} varies {', '.join(with_it)}{rest}.")
    if sweep.early_stopping is not None:
        _say(console, "Configurations that fall behind are stopped early (early_stopping), with all their runs.")
    asked = [ask.measure for ask in plan.asks] + (["the loss along paths between runs"] if plan.paths else [])
    _say(console, f"Then to be measured: {', '.join(asked)}." if asked else "Nothing is measured after the fits.")
    for part in plan.parts:
        for note in (*part.dataset.notes, *part.notes):
            _say(console, f"{part.dataset.name}: {note}")


def _outlook_document(plan: "Plan", outlooks: "Sequence[Outlook]", forecasts: "Sequence[Forecast]") -> dict[str, Any]:
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


def _print_outcome(name: str, outcome: "Outcome", store: "Store", console: Console) -> int:
    """Print what became of the runs. Returns how many are finished."""
    from services.execution.status import counts_by_learner

    found = counts_by_learner(store, store.sweep(name)[1])
    _print_learners(found, console)
    _say(console, "")
    for reason, n in Counter(outcome.failed.values()).most_common(5):
        _say(console, f"! {_n(n, 'run')} failed: {reason}")
    if outcome.stopped:
        _say(console, f"{_n(outcome.stopped, 'run')} stopped early, with all runs of their configurations.")
    _say(console, f"{_n(outcome.fitted, 'run')} fitted by this command, {outcome.reused:,} reused from the store.")
    return int(found["finished"].sum())


def _print_learners(found: Any, console: Console) -> None:
    table = _table(*found.columns)
    for learner, *counts in found.iter_rows():
        table.add_row(learner, *map("{:,}".format, counts))
    console.print(table)


def _stands(now: "Standing") -> str:
    ended = sum(now.ended.values())
    said = {"running": "running" if now.alive else "broken off: `basin sweep resume` goes on"}.get(now.state, now.state)
    ago = (datetime.now(UTC) - now.updated_at).total_seconds()
    if now.doing == "measuring":
        done = f"{ended:,} of {_n(now.runs, 'request')} measured"
    else:
        done = f"{now.reused + ended:,} of {_n(now.runs, 'run')} done ({now.reused:,} stored before)"
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


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("dataset", "learner", "sweep", "state") else "right")
    return table


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(Text(printable(line)))


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
