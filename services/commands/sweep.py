"""`basin sweep`: sweep files, checked and run."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.app import crew, store_of, workplace
from services.commands.options import AddressOption, GpusOption, StoreOption, WorkersOption
from services.formatting import printable
from services.settings import settings
from services.sweeps import read_sweep

if TYPE_CHECKING:
    from services.plans import Outlook, Plan
    from services.runner import Outcome
    from services.store import Store

app = typer.Typer(
    help="""Vary settings of learners over datasets, splits and seeds.

Begin with:

  basin sweep check flat-or-sharp.yaml
  basin sweep run flat-or-sharp.yaml

Then `basin measure` and `basin geometry` ask which measure predicts generalisation.
`basin schema sweep` has all keys of a sweep file for an editor.""",
    no_args_is_help=True,
)

FileArgument = Annotated[Path, typer.Argument(help="A sweep file: YAML or JSON.")]


@app.command()
def check(file: FileArgument, store: StoreOption = None) -> None:
    """Say whether a sweep file can be run, and what would be fitted; nothing is.

    For example:

      basin sweep check flat-or-sharp.yaml
      basin sweep check flat-or-sharp.yaml --store elsewhere

    Paths in the file are from the folder where the command runs.
    """
    sweep = read_sweep(file)
    from services.plans import load_datasets, outlook, plan
    from services.store import Store

    environment = settings()
    planned = plan(sweep, load_datasets(sweep, environment.cache))
    folder = store or environment.store
    stored = Store(folder).stored(planned.run_keys) if (folder / "store.json").exists() else set()
    _print_outlook(planned, outlook(planned, stored), Console())
    _say(Console(), "", f"Next: basin sweep run {file}")


@app.command("run")
def run_sweep(
    file: FileArgument,
    workers: WorkersOption = None,
    gpus: GpusOption = 0.0,
    address: AddressOption = None,
    store: StoreOption = None,
) -> None:
    """Fit the runs of a sweep that are not stored yet.

    For example:

      basin sweep run flat-or-sharp.yaml
      basin sweep run flat-or-sharp.yaml --workers 8 --address HOST:6379

    Stop it by Ctrl-C, or kill it: the same command goes on where it was.
    """
    place = workplace(store, workers, gpus, address)
    sweep = read_sweep(file)
    from services.plans import carry_out, load_datasets, plan

    planned = plan(sweep, load_datasets(sweep, place.cache))
    with store_of(place) as writer:
        stored = writer.stored(planned.run_keys)
        waiting = {key: words for key, words in planned.words().items() if key not in stored}
        with crew(place, waiting) as (executor, on_event, n_workers):
            outcome = carry_out(planned, writer, executor, on_event, n_workers=n_workers, resources=place.resources)
        n_finished = _print_outcome(sweep.name, outcome, writer, Console())
    if not n_finished:
        raise typer.Exit(1)


@app.command("list")
def list_sweeps(store: StoreOption = None) -> None:
    """List the sweeps of a store, comparisons among them."""
    from services.plans import standing
    from services.store import Store

    opened = Store(store or settings().store)
    table = _table("sweep", "datasets", "learners", "runs", "finished")
    for name in opened.sweeps():
        _, members = opened.sweep(name)
        finished = standing(opened, members)["finished"].sum()
        counts = (members["fingerprint"].n_unique(), members["learner"].n_unique(), len(members), finished)
        table.add_row(name, *map(str, counts))
    Console().print(table)


def _print_outlook(plan: "Plan", rows: "Sequence[Outlook]", console: Console) -> None:
    sweep, n_stored = plan.sweep, sum(row.stored for row in rows)
    n_programs = len(frozenset().union(*(row.programs for row in rows)))
    table = _table("dataset", "learner", "runs", "stored", "to compile")
    for row in rows:
        counts = (row.runs, row.stored, len(row.programs))
        table.add_row(printable(row.dataset), row.learner, *map("{:,}".format, counts))
    console.print(table)
    _say(
        console,
        "",
        f"{sweep.name}: {_n(len(plan.run_keys), 'run')} on {_n(sweep.n_splits, 'split')} with "
        f"{_n(sweep.n_seeds, 'seed')} each, {n_stored:,} stored already; {_n(n_programs, 'program')} to compile.",
    )
    for path in sweep.vary:
        varied = [
            part.requests[key].learner.name for part in plan.parts for key, has in part.varied.items() if path in has
        ]
        others = {name for part in plan.parts for name in part.learners} - set(varied)
        rest = f"; {', '.join(sorted(others))} without it" if others else ""
        _say(console, f"{path} varies {', '.join(dict.fromkeys(varied))}{rest}.")
    _say(console, f"To be measured: {', '.join(ask.measure for ask in plan.asks) or 'nothing'}.")
    for part in plan.parts:
        for note in (*part.dataset.notes, *part.notes):
            _say(console, f"{part.dataset.name}: {note}")


def _print_outcome(name: str, outcome: "Outcome", store: "Store", console: Console) -> int:
    """Print what became of the runs. Returns how many are finished."""
    from services.plans import standing

    found = standing(store, store.sweep(name)[1])
    table = _table("learner", "runs", "finished", "diverged", "failed")
    for learner, *counts in found.iter_rows():
        table.add_row(learner, *map("{:,}".format, counts))
    console.print(table)
    _say(console, "")
    for reason, n in Counter(outcome.failed.values()).most_common(5):
        _say(console, f"! {_n(n, 'run')} failed: {reason}")
    _say(console, f"{_n(outcome.fitted, 'run')} fitted by this command, {outcome.reused:,} reused from the store.")
    _say(console, f"Next: basin measure {name}, then: basin geometry {name}")
    return int(found["finished"].sum())


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("dataset", "learner", "sweep") else "right")
    return table


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(Text(printable(line)))


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
