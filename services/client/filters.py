"""Conditions on rows, as Python has them and as `services.store.queries` has them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from services.client.backend import Where
from services.client.errors import BasinError


def conditions(fixed: Mapping[str, Any], where: Where) -> tuple[str, ...]:
    """`column:operator:value` for values of columns, None being no condition, and for what `where` says besides.

    Raises:
        BasinError: a value that no condition can have.
    """
    said = [_condition(column, value) for column, value in fixed.items() if value is not None]
    if isinstance(where, str):
        return (*said, where)
    if isinstance(where, Mapping):
        return (*said, *(_condition(column, value) for column, value in where.items()))
    return (*said, *where)


def _condition(column: str, value: Any) -> str:
    if value is None:
        return f"{column}:is_null:true"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{column}:in:{','.join(_listed(column, each) for each in value)}"
    return f"{column}:eq:{_text(value)}"


def _listed(column: str, value: Any) -> str:
    text = _text(value)
    if "," in text:
        raise BasinError(
            "invalid_query", f"{column}: {text!r} has a comma, so it cannot be one of several: ask for it alone"
        )
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
