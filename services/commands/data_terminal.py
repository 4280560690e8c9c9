"""What Basin makes of a dataset, on a terminal."""

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from services.datasets.registry import DatasetDescription
from services.rendering.formatting import (
    printable,
)


def print_description(found: DatasetDescription, console: Console) -> None:
    """Print what Basin makes of a dataset."""
    shape = f"{found.n_rows:,} rows x {found.n_columns:,} columns"
    if found.shape is not None:
        shape += f" (each row an array of {' x '.join(map(str, found.shape))})"
    counts = ", ".join(f"{name}: {n:,}" for name, n in found.class_counts.items())
    missing = ", ".join(f"{name}: {n:,}" for name, n in found.missing.items())
    facts = {
        "name": found.info.name,
        "about": found.info.about,
        "source": found.info.source,
        "licence": found.info.licence,
        "shape": shape,
        "target": f"{found.target} ({found.task})",
        "classes": counts,
        "factors": ", ".join(found.factors),
        "missing": missing or "none",
        "fingerprint": found.fingerprint,
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        if value:
            table.add_row(Text(name, style="dim"), Text(printable(value)))
    console.print(table)
    for note in found.notes:
        console.print(Padding(Text(printable(f"- {note}")), (0, 0, 0, 1)))
