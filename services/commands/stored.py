"""`basin results` and `basin store`: what is stored."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from services.commands.options import StoreOption, listed, print_json
from services.commands.workers import tell, warn
from services.rendering.formatting import printable
from services.settings import settings

if TYPE_CHECKING:
    from services.integrity import Problem

SHOWN = 10

app = typer.Typer(help="Check the store of runs, and mend it.", no_args_is_help=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def results(
    table: Annotated[
        str,
        typer.Argument(
            help="runs, metrics, curves, diagnostics, pointwise, geometry, profiles, connections, measurements, "
            "comparisons."
        ),
    ] = "runs",
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Condition such as learner=mlp-sgd or value>0.9.")
    ] = None,
    select: Annotated[str | None, typer.Option("--select", help="Columns, separated by commas.")] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="Columns, separated by commas; a minus before one sorts down.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many rows.")] = None,
    form: Annotated[
        Literal["table", "json", "csv", "parquet"], typer.Option("--format", help="How to print.")
    ] = "table",
    store: StoreOption = None,
) -> None:
    """Query the stored tables.

    For example:

      basin results runs --select learner,split,status,wall_seconds
      basin results runs --where status=diverged --select learner,error
      basin results metrics --where part=test --where metric=log_score
      basin results geometry --sort -value --limit 9 --format csv

    Every table of runs has the columns dataset, learner, kind, split and seed as well.
    """
    from services.rendering.rows import write
    from services.store.queries import rows
    from services.store.store import Store

    found = rows(Store(store or settings().store), table, where or [], listed(select), listed(sort), limit)
    write(found, form, sys.stdout.buffer, width=Console().width)


@app.command()
def check(store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """Say what is wrong with the store, and what to do about it; nothing is changed. Ends with status 1 if anything is.

    For example:

      basin store check
      basin store check --store s3://bucket/prefix --json

    Every bundle, measurement, comparison and sweep is read and held against its checksum, and every row of the tables
    against what it is from, to the last bit. Of a ledger in the store's folder SQLite's own check is asked. What an
    earlier Basin wrote without a checksum is named as not covered, which alone is no fault.
    """
    from services import integrity
    from services.store.store import Store

    opened = Store(store or settings().store)
    problems = integrity.check(opened.storage)
    harms = [problem for problem in problems if not problem.harmless]
    if as_json:
        print_json([problem.model_dump() for problem in problems])
    else:
        _print_problems(problems, Console())
        if not harms:
            tell(f"nothing is wrong with the store in {opened.location}")
    if harms:
        raise typer.Exit(1)


@app.command()
def rebuild(store: StoreOption = None) -> None:
    """Make the tables again from the bundles; damaged bundles are set aside, and their runs will be fitted again.

    For example, after a table was deleted:

      basin store rebuild
    """
    from services.store.store import Store
    from services.store.writer import writing

    location = store or settings().store
    Store(location)  # `writing` would make one where there is none
    with writing(location, rebuilding=True) as writer:
        n = writer.rebuild()
        Console().print(f"{n} run{' is' if n == 1 else 's are'} in the tables again", highlight=False)
        for name in writer.set_aside:
            warn(f"{name} was damaged, and is in damaged/ now")


def _print_problems(problems: "Sequence[Problem]", console: Console) -> None:
    """A line for each problem, up to some of a kind, and what to do about each kind."""
    for kind in dict.fromkeys(problem.kind for problem in problems):
        alike = [problem for problem in problems if problem.kind == kind]
        console.print(Text(f"{kind} ({len(alike):,}): {alike[0].remedy}"), soft_wrap=True)
        for problem in alike[:SHOWN]:
            console.print(Text(f"  {printable(problem.name)}"), soft_wrap=True)
        if len(alike) > SHOWN:
            console.print(Text(f"  and {len(alike) - SHOWN:,} more: --json has all of them"))
