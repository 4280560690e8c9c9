"""An audit on a terminal."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from rich.console import Console
from rich.text import Text

from models.digits import MISSING, format_number
from services.geometry.document import AuditDocument, AuditRow
from services.geometry.terminal import show
from services.geometry.words import named
from services.rendering.tables import Cell, Column


def print_audit(document: AuditDocument, console: Console) -> None:
    """Print what rescaling and permuting move, a table for each learner."""
    for (dataset, learner), group in groupby(document.rows, key=lambda row: (row.dataset, row.learner)):
        rows = list(group)
        by_measure: dict[str, list[AuditRow]] = {}  # rows come by transformation, and a measure's components apart
        for row in rows:
            by_measure.setdefault(named(row.measure, row.component), []).append(row)
        columns = [
            Column(Cell("measure"), lambda item: Cell(item[0])),
            Column(Cell("at the", "estimate"), lambda item: Cell(format_number(item[1][0].before, 4))),
            Column(Cell("rescaled", "largest change"), lambda item: _moved(item[1], rescaled=True)),
            Column(Cell("permuted"), lambda item: _moved(item[1], rescaled=False)),
            Column(Cell("as", "declared"), lambda item: Cell(_agreement(item[1]))),
        ]
        reasons = dict.fromkeys(f"{row.measure}: {row.reason}" for row in rows if row.reason)
        show(f"Audit of {learner} on {dataset}", columns, list(by_measure.items()), console, reasons)
    console.print()
    console.print(Text(document.applies, style="dim"))


def _moved(rows: Sequence[AuditRow], *, rescaled: bool) -> Cell:
    mine = [row for row in rows if row.moved is not None and (row.alpha is not None) == rescaled]
    if not mine:
        return Cell(MISSING)
    if not any(row.moved for row in mine):
        return Cell("stays")
    factors = [row.after / row.before for row in mine if row.moved and row.before and row.after is not None]
    worst = max(factors, key=lambda f: abs(np.log(f)) if f > 0 else np.inf, default=None)
    return Cell("moves", "" if worst is None else f"x {format_number(worst)}")


def _agreement(rows: Sequence[AuditRow]) -> str:
    found = [row.agrees for row in rows if row.agrees is not None]
    return MISSING if not found else "yes" if all(found) else "NO"
