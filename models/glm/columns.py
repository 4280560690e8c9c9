"""Whether a formula may use the columns that it names, and how many columns it makes of them, before any is made."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from formulae.terms import Call, Variable

from models.data.dataset import Split, listed
from models.spec.formula_grammar import Reading
from models.spec.settings import SpecError
from models.spelling import did_you_mean

MAX_COLUMNS = 2000
MAX_EFFECTS = 20_000
MAX_CELLS = 50_000_000
MAX_GROUPS = 5000


def check_columns(reading: Reading, split: Split) -> None:
    """Refuse a formula that cannot use a split's columns as it does, or makes too many of them.

    Raises:
        SpecError: an unknown column, text among numbers, numbers compared with text, or a design that is too large.
    """
    _check_names(reading, split)
    _check_size(reading, split)


def check_known(names: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a name that is none of the columns.

    Raises:
        SpecError: with the nearest names, to be said after the formula.
    """
    for name in names:
        if name not in columns:
            hint = did_you_mean(name, columns, f"the columns are {listed(columns, 10)}")
            raise SpecError(f"has an unknown column {name!r}; {hint}")


def _check_names(reading: Reading, split: Split) -> None:
    kinds = dict.fromkeys(split.columns, "number") | dict.fromkeys(split.train.factors, "text")
    check_known([use.name for use in reading.uses], list(kinds))
    for use in reading.uses:
        if kinds[use.name] not in use.kinds:
            what = "text, where numbers stand" if kinds[use.name] == "text" else "numbers, and compares it with text"
            raise SpecError(f"uses {use.name!r}, which is a column of {what}")


def _check_size(reading: Reading, split: Split) -> None:
    """Before any column is made."""
    data = {**dict(zip(split.columns, split.train.x.T, strict=True)), **split.train.numbers, **split.train.factors}
    levels = {use.name: len(set(data[use.name].tolist())) for use in reading.uses}
    text = frozenset(split.train.factors)
    common = sum(_width(term, levels, text) for term in reading.model.common_terms)
    effects, rows = 0, len(split.train.y)
    for term in reading.model.group_terms:
        groups = math.prod(levels[part.name] for part in term.factor.components)
        if groups > MAX_GROUPS:
            raise SpecError(f"groups by {term.factor.name!r}, {groups:,} groups, and there may be {MAX_GROUPS:,}")
        effects += groups * _width(term.expr, levels, text)
        common += _width(term.expr, levels, text)
        _check_cells(rows, groups)
    _check_cells(rows, common)
    if common > MAX_COLUMNS:
        raise SpecError(f"makes {common:,} columns, and may make {MAX_COLUMNS:,}")
    if effects > MAX_EFFECTS:
        raise SpecError(f"has {effects:,} group-specific effects, and may have {MAX_EFFECTS:,}")


def _check_cells(rows: int, columns: int) -> None:
    if rows * columns > MAX_CELLS:
        raise SpecError(f"makes {columns:,} columns of {rows:,} rows, more than {MAX_CELLS:,} values")


def _width(term: Any, levels: Mapping[str, int], text: frozenset[str]) -> int:
    """How many columns a term makes at most."""
    return math.prod(_part_width(part, levels, text) for part in getattr(term, "components", ()))


def _part_width(part: Variable | Call, levels: Mapping[str, int], text: frozenset[str]) -> int:
    if isinstance(part, Variable):
        return levels[part.name] if part.name in text else 1
    call = part.call
    given = dict(zip(("df",) if call.callee == "bs" else ("degree",), call.args[1:], strict=False)) | call.kwargs
    if call.callee == "bs":
        return given["df"].value
    if call.callee == "poly":
        return given["degree"].value if "degree" in given else 1
    if call.callee in ("C", "S", "T"):
        return levels.get(getattr(call.args[0], "name", ""), 2)
    return 1
