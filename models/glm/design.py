"""The columns that a formula names: what they are, whether it may use them so, and the design that it makes of them."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import formulae
import numpy as np
import pandas as pd
from formulae.environment import Environment
from formulae.terms.terms import Intercept

from models.data.dataset import Part, Split
from models.glm.columns import check_columns
from models.spec.formula_grammar import RESPONSE, Reading, read, refusal
from models.spec.settings import SpecError

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
        check_columns(reading, split)
        text = f"`{RESPONSE}` ~ {_rewritten(reading, split)}"
        data = frame(split, split.train)
        data[RESPONSE] = 0.0
        with quietly():
            namespace: Any = Environment([NAMESPACE])
            design = formulae.design_matrices(text, data, "error", namespace)
        _check_terms(design)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        reason = str(error) if isinstance(error, SpecError) else f"cannot be evaluated: {error}"
        raise refusal(formula, reason) from None
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
