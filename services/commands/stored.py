"""`basin results` and `basin store`: what is stored."""

import sys
from typing import Annotated, Literal

import typer
from rich.console import Console

from services.app import warn
from services.commands.options import StoreOption, listed
from services.settings import settings

app = typer.Typer(help="The folder of stored runs.", no_args_is_help=True)


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
    from services.results import query, write
    from services.store import Store

    found = query(Store(store or settings().store), table, where or [], listed(select), listed(sort), limit)
    write(found, form, sys.stdout.buffer, width=Console().width)


@app.command()
def rebuild(store: StoreOption = None) -> None:
    """Make the tables again from the bundles; damaged bundles are set aside, and their runs will be fitted again."""
    from services.store import Store, writing

    folder = store or settings().store
    Store(folder)  # `writing` would make one where there is none
    with writing(folder) as writer:
        n = writer.rebuild()
        Console().print(f"{n} run{' is' if n == 1 else 's are'} in the tables again", highlight=False)
        for name in writer.set_aside:
            warn(f"{name} was damaged, and is in damaged/ now")
