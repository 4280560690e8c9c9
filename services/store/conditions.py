"""Conditions on the rows of a table, in either of two spellings that mean the same.

    column:operator:value   learner:eq:mlp-sgd   value:gt:0.9   error:is_null:false
    column<sign>value       learner=mlp-sgd      value>0.9      error!=null

A number that is missing, NaN like null, meets no condition but `is_null`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

import polars as pl

from models.spec.settings import shortened
from models.spelling import did_you_mean
from services.errors import QueryError

Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "lacks", "is_null"]
Columns = Mapping[str, pl.DataType]

MAX_VALUES = 1000

_ORDERED = ("eq", "ne", "lt", "le", "gt", "ge", "in", "is_null")
_COMPARE: Mapping[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "eq": pl.Expr.eq,
    "ne": pl.Expr.ne,
    "lt": pl.Expr.lt,
    "le": pl.Expr.le,
    "gt": pl.Expr.gt,
    "ge": pl.Expr.ge,
}
_SIGNS = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_SIGNED = re.compile(r"\s*(?P<column>\w+)\s*(?P<sign>!=|<=|>=|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL)
_NAMED = re.compile(r"(?P<column>[^:=<>!]*):(?P<operator>[^:]*):(?P<value>.*)", re.DOTALL)
_SHOWN = 200  # characters of a condition in a message


class Condition(NamedTuple):
    """What one condition says, before its value is read as the column's type."""

    column: str
    operator: str
    value: str


def operators_of(dtype: pl.DataType) -> tuple[str, ...]:
    """Those that conditions on a column of this type can have."""
    if dtype == pl.String:
        return (*_ORDERED, "contains", "lacks")
    if isinstance(dtype, pl.List):
        return ("contains", "lacks", "is_null") if dtype.inner == pl.String else ("is_null",)
    return ("eq", "ne", "in", "is_null") if dtype == pl.Boolean else _ORDERED


def predicate(text: str, columns: Columns, table: str) -> pl.Expr:
    """Whether a row meets a condition.

    Raises:
        QueryError: it cannot be read, or names a column that there is not.
    """
    condition = _read(text, columns)
    name, operator, value = condition
    dtype = columns[known(name, columns, table)]
    allowed = operators_of(dtype)
    if operator not in allowed:
        hint = did_you_mean(operator, allowed, "")
        raise _unreadable(text, f"{name!r} goes with {', '.join(allowed)}{f'; {hint}' if hint else ''}")
    column, present = pl.col(name), not_nan(name, dtype)
    if operator == "is_null":
        return present.is_null() if _value(value, pl.Boolean(), text) else present.is_not_null()
    if operator in ("contains", "lacks"):
        found = column.list.contains(value) if isinstance(dtype, pl.List) else column.str.contains(value, literal=True)
        return found if operator == "contains" else ~found
    # To polars NaN is above all numbers. The column is compared as it stands, so that files can be skipped.
    met = (
        column.is_in([_value(part, dtype, text) for part in _several(value, text)])
        if operator == "in"
        else _COMPARE[operator](column, pl.lit(_value(value, dtype, text), dtype))
    )
    return met & column.is_not_nan() if dtype.is_float() else met


def known(name: str, columns: Columns, table: str) -> str:
    """A column's name.

    Raises:
        QueryError: the table has none of this name; the nearest are named.
    """
    if name not in columns:
        hint = did_you_mean(name, columns, f"there are {', '.join(columns)}")
        raise QueryError(f"table {table!r} has no column {shortened(name)!r}; {hint}")
    return name


def not_nan(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column in which what is no number is missing."""
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


def _read(text: str, columns: Columns) -> Condition:
    if named := _NAMED.fullmatch(text):
        return Condition(**named.groupdict())
    signed = _SIGNED.fullmatch(text)
    if signed is None:
        raise _unreadable(
            text,
            "write column:operator:value, as in learner:eq:mlp-sgd, or a column, one of "
            f"{' '.join(_SIGNS)}, and a value, as in learner=mlp-sgd; the operators are "
            f"{', '.join(get_args(Operator))}",
        )
    column, sign, value = signed["column"], signed["sign"], signed["value"]
    dtype = columns.get(column)
    if value == "null" or (value == "nan" and dtype is not None and dtype.is_float()):
        if sign not in ("=", "!="):
            raise _unreadable(text, f"{value} goes with = and != only")
        return Condition(column, "is_null", "true" if sign == "=" else "false")
    if isinstance(dtype, pl.List):
        if sign not in ("=", "!="):
            raise _unreadable(text, f"{column} is a list; use = or != with an entry")
        return Condition(column, "contains" if sign == "=" else "lacks", value)
    return Condition(column, _SIGNS[sign], value)


def _unreadable(text: str, why: str) -> QueryError:
    shown = text if len(text) < _SHOWN else f"{text[:_SHOWN]}..."
    return QueryError(f"cannot read the condition {shown!r}: {why}")


def _several(text: str, condition: str) -> list[str]:
    values = text.split(",")
    if len(values) > MAX_VALUES:
        raise _unreadable(condition, f"{MAX_VALUES} values at most")
    return values


def _value(text: str, dtype: pl.DataType, condition: str) -> Any:
    """A value as it is written in a condition."""
    wanted, read = next((wanted, read) for is_kind, wanted, read in _READERS if is_kind(dtype))
    try:
        return read(text)
    except (ValueError, OverflowError):
        raise _unreadable(condition, f"expected {wanted}") from None


def whole_number(text: str) -> int:
    """A whole number of 64 bits.

    Raises:
        ValueError: it is none.
    """
    value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,19}", text) else None
    if value is None or not -(2**63) <= value < 2**63:
        raise ValueError
    return value


def _number(text: str) -> float:
    value = float(text) if re.fullmatch(r"[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf)", text, re.IGNORECASE) else None
    if value is None:
        raise ValueError
    return value


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


_READERS: Sequence[tuple[Callable[[pl.DataType], bool], str, Callable[[str], Any]]] = (
    (lambda dtype: dtype.is_integer(), "a whole number", whole_number),
    (lambda dtype: dtype.is_float(), "a number", _number),
    (lambda dtype: dtype == pl.Boolean, "true or false", _truth),
    (lambda dtype: dtype.is_temporal(), "a moment such as 2026-01-31 or 2026-01-31T12:00:00+00:00", _moment),
    (lambda dtype: True, "text", str),
)
