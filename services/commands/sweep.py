"""`basin sweep`: sweep files, checked, run, watched, stopped and resumed."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from services.commands.geometry import take_measures
from services.commands.options import AddressOption, GpusOption, StoreOption, WorkersOption, print_json
from services.commands.sweep_terminal import (
    headed,
    outlook_document,
    print_learners,
    print_outcome,
    print_outlook,
    say,
    stands,
)
from services.commands.workers import again, attend, check_idle_at_once, crew, store_of, tell, warn, workplace
from services.rendering.formatting import format_seconds
from services.settings import settings
from services.sweeps.definition import Sweep, parse_sweep, read_sweep

if TYPE_CHECKING:
    pass

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
        print_json(outlook_document(planned, outlooks, forecasts))
        return
    print_outlook(planned, outlooks, forecasts, Console())
    say(Console(), "", f"Next: basin sweep run {file}{again(store=store)}")


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
        n_finished = print_outcome(sweep.name, outcome, writer, Console())
        if n_finished and (planned.asks or planned.paths):
            asked = (planned.asks, planned.paths, MEASURED_DRAWS)
            take_measures(place, writer, sweep.name, lambda: planned.datasets, *asked)
    if not n_finished:
        raise typer.Exit(1)
    named = f"{sweep.name}{again(store=store)}"
    measure = "" if planned.asks else f"basin measure {named}, then: "
    say(Console(), f"Next: {measure}basin geometry {named}")


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
        tell(stands(now))
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
    print_learners(table, console)
    say(
        console,
        "",
        "It was never run by this version." if now is None else stands(now),
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
    table = headed(*headings)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)
