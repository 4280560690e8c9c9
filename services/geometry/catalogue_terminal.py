"""The measures that there are, on a terminal."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.geometry.definition import Definition
from services.geometry.words import MOVES


def print_catalogue(definitions: Iterable[Definition], console: Console) -> None:
    """Print every measure with what it is."""
    table = Table(
        "measure", "moves", "about", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )
    for d in definitions:
        table.add_row(Text(d.name), Text(MOVES[d.invariance]), Text(d.about, style="dim"))
    console.print(table)
    console.print()
    console.print(
        "Moves: when the layers of a ReLU net are rescaled, which leaves its function alone.\n"
        "Settings of one: basin measures NAME",
        highlight=False,
    )


def print_definition(definition: Definition, console: Console) -> None:
    """Print one measure with its settings and their defaults."""
    facts = {
        "measure": definition.name,
        "family": definition.family,
        "about": definition.about,
        "larger is": definition.larger,
        "left alone by": "nothing" if definition.invariance == "none" else definition.invariance,
    }
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        grid.add_row(Text(name, style="dim"), Text(value))
    defaults = definition.settings()
    for name in definition.settings.model_fields:
        grid.add_row(Text("setting", style="dim"), Text(f"{name}: {getattr(defaults, name)}"))
    console.print(grid)
    if definition.settings.model_fields:
        console.print()
        console.print(Text(" ".join((definition.settings.__doc__ or "").split()), style="dim"))
