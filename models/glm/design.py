"""The columns that a formula names: what they are, whether it may use them so, and the design that it makes of them."""

import contextlib
import difflib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import formulae
import numpy as np
import pandas as pd
from formulae.environment import Environment
from formulae.terms import Call, Variable
from formulae.terms.terms import Intercept

from models.dataset import Part, Split, listed
from models.glm.grammar import RESPONSE, Reading, read, shown
from models.spec import SpecError

MAX_COLUMNS = 2000
MAX_EFFECTS = 20_000
MAX_CELLS = 50_000_000
MAX_GROUPS = 5000

# A column's own values beside the standardised ones. No name of a column has a dot in it.
_OWN = ".own"
_IS_LEVEL = "is_level"


def _is_level(x: pd.Series, success: Any) -> np.ndarray:
    # Formulae's own B fails on rows that lack the level.
    return np.where(x == success, 1, 0)


NAMESPACE: dict[str, Callable] = {
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "log10": np.log10,
    "log2": np.log2,
    _IS_LEVEL: _is_level,
}
"""What formulae does not bring along of the functions that a formula may call."""


def frame(split: Split, part: Part) -> pd.DataFrame:
    """The columns that a formula may name, of a part: the design's, the text, and numbers as they are in the data."""
    design = dict(zip(split.columns, part.x.T, strict=True))
    own = {f"{name}{_OWN}": _whole(part.numbers.get(name, values)) for name, values in design.items()}
    text = {name: pd.Series(values, dtype=object) for name, values in part.factors.items()}
    return pd.DataFrame({**design, **own, **text})


def design_of(formula: str, split: Split) -> tuple[str, formulae.matrices.DesignMatrices]:
    """The formula for Bambi, and the design that formulae makes of the training part by it.

    A column of numbers is its standardised values; but it is its own values as a group, in B, C, S and T, and where it
    is compared.

    Raises:
        SpecError: a formula that may not be evaluated (see `grammar.read`), an unknown column, text among numbers or
            numbers compared with text, a design that is too large, or a term that is not finite or has no columns in
            the training part.
    """
    reading = read(formula)
    try:
        _check_names(reading, split)
        _check_size(reading, split)
        text = f"`{RESPONSE}` ~ {_rewritten(reading, split)}"
        data = frame(split, split.train)
        data[RESPONSE] = 0.0
        with quietly():
            design = formulae.design_matrices(text, data, "error", Environment([NAMESPACE]))
        _check_terms(design)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        reason = str(error) if isinstance(error, SpecError) else f"cannot be evaluated: {error}"
        raise SpecError(f"formula {shown(formula)} {reason}") from None
    return text, design


def display(name: str) -> str:
    """A term's name as the formula has it."""
    return name.replace(_OWN, "").replace(f"{_IS_LEVEL}(", "B(")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Formulae prints that it failed besides raising, and refuses levels that it has not seen: let their columns be 0.

    This is the rule for a level that training lacks: under treatment coding it reads as the reference level.
    """
    before = formulae.config["EVAL_UNSEEN_CATEGORIES"]
    formulae.config["EVAL_UNSEEN_CATEGORIES"] = "silent"
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constructing a Categorical")
            yield
    finally:
        formulae.config["EVAL_UNSEEN_CATEGORIES"] = before


call_in_empty_namespace = FunctionType((lambda make, arguments: make(**arguments)).__code__, {"__builtins__": {}})
"""Calls what looks names up where it is called from, as formulae does: there is none to be found."""


def _whole(values: np.ndarray) -> np.ndarray:
    """As integers where all are, so that levels are called 3 and not 3.0."""
    rounded = np.rint(values)
    return rounded.astype(np.int64) if np.all(rounded == values) and np.all(np.abs(values) < 2**53) else values


def _rewritten(reading: Reading, split: Split) -> str:
    own = {id(use.token) for use in reading.uses if use.own and use.name in split.columns}
    words = []
    for token, following in zip(reading.tokens, [*reading.tokens[1:], None], strict=True):
        called = following is not None and following.kind == "LEFT_PAREN"
        if token.lexeme == "B" and called:
            words.append(_IS_LEVEL)
        else:
            words.append(f"{token.lexeme}{_OWN}" if id(token) in own else token.lexeme)
    return " ".join(words)


def _check_names(reading: Reading, split: Split) -> None:
    kinds = dict.fromkeys(split.columns, "number") | dict.fromkeys(split.train.factors, "text")
    check_known(reading, list(kinds))
    for use in reading.uses:
        if kinds[use.name] not in use.kinds:
            what = "text, where numbers stand" if kinds[use.name] == "text" else "numbers, and compares it with text"
            raise SpecError(f"uses {use.name!r}, which is a column of {what}")


def check_known(reading: Reading, columns: list[str]) -> None:
    """Refuse a formula that names what is none of the columns.

    Raises:
        SpecError: with the nearest names, to be said after the formula.
    """
    for use in reading.uses:
        if use.name not in columns:
            near = difflib.get_close_matches(use.name, columns, n=3)
            raise SpecError(
                f"has an unknown column {use.name!r}; "
                + (f"did you mean {listed(near)}?" if near else f"the columns are {listed(columns, 10)}")
            )


# --- sizes ------------------------------------------------------------------------------------------------------------


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


# --- terms ------------------------------------------------------------------------------------------------------------


def _check_terms(design: formulae.matrices.DesignMatrices) -> None:
    terms = [*design.model.common_terms, *design.model.group_terms]
    if not terms:
        raise SpecError("names no term; the intercept alone is '1'")
    for term in terms:
        expression = getattr(term, "expr", term)
        if isinstance(expression, Intercept):
            continue
        values = np.asarray(expression.data)
        name = display(term.name)
        if values.ndim == 2 and values.shape[1] == 0:
            raise SpecError(f"has the term {name!r}, which is the same in all training rows: leave it out")
        if not np.all(np.isfinite(values)):
            raise SpecError(
                f"has the term {name!r}, which is not finite in all training rows; numeric columns are standardised, "
                "so a logarithm of one fails"
            )
