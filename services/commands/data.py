"""`basin data`: the datasets that Basin knows, and what it makes of a person's own."""

from typing import Annotated

import typer
from rich.console import Console

from services.commands.options import (
    DecimalOption,
    MissingOption,
    SeparatorOption,
    TargetOption,
    TaskOption,
    TypesOption,
    reading,
)
from services.settings import settings

app = typer.Typer(help="The datasets that Basin knows, and what it makes of yours.", no_args_is_help=True)


@app.command("list")
def list_data() -> None:
    """List the datasets by name; `basin data show NAME` says more of each.

    Beside these go files (CSV and other text, .gz, .zip, .xlsx, .dta, .sav, Parquet,
    Arrow, NPZ), openml:ID or openml:NAME, random-labels:NAME, and synthetic ones with
    parameters, as in two-moons:n=300,noise=0.1.
    The variable BASIN_DATA names a folder of further ones.
    """
    from rich.table import Table

    from services.datasets.registry import listing

    table = Table("name", "about", box=None, pad_edge=False)
    for info in listing():
        table.add_row(info.name, info.about)
    console = Console()
    console.print(table)
    console.print(
        "\nShape, source and licence: basin data show NAME. Files, openml:ID and more: basin data list --help.",
        highlight=False,
    )


@app.command("show")
def show_data(
    dataset: Annotated[str, typer.Argument(help="A name of `basin data list`, or a file.")],
    target: TargetOption = None,
    task: TaskOption = None,
    decimal: DecimalOption = None,
    separator: SeparatorOption = None,
    missing: MissingOption = None,
    types: TypesOption = None,
) -> None:
    """Show what Basin makes of a dataset: shape, task, target, missing values, licence, where from, and notes.

    For example:

      basin data show digits
      basin data show houses.csv --target price

    A table in a file needs --target. Notes say what was found out of its text, and the last
    ones how many columns are used; --decimal, --separator, --missing and --types override.
    """
    stated = reading(decimal, separator, missing, types)
    from services.commands.data_terminal import print_description
    from services.datasets.registry import describe

    found = describe(dataset, cache=settings().cache, target=target, task=task, reading=stated)
    print_description(found, Console())
