"""Questions to the tables, in the one language that the HTTP interface and the client speak.

A question filters, selects, sorts, and is answered page by page. A page ends with a cursor, which names the place of
its last row in the order of the rows (keyset pagination). So rows that are there all the time are given exactly once,
in order, while others are added.

A number that is missing, NaN like null, meets no condition but `is_null`, and comes last whatever the direction.
"""

import base64
import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args

import polars as pl
from pydantic import Field

from models.record import shortened
from models.spec import Settings, digest
from services import tables
from services.errors import QueryError
from services.schemas import SCHEMAS
from services.store import Store

Table = Literal[
    "runs",
    "metrics",
    "curves",
    "diagnostics",
    "geometry",
    "profiles",
    "connections",
    "measurements",
    "pointwise",
    "comparisons",
]
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "is_null"]

MAX_LIMIT = 10_000
MAX_CONDITIONS = 32
MAX_VALUES = 1000

# What `runs` lends to every other table of runs: there when it is named.
CONTEXT = ("dataset", "split", "learner", "kind", "seed")

# What tells a row from all others of its table; rows that are alike in what they are sorted by are sorted by this.
KEYS: Mapping[str, tuple[str, ...]] = {
    "runs": ("run_key",),
    "metrics": ("run_key", "part", "metric"),
    "curves": ("run_key", "step"),
    "diagnostics": ("run_key", "scope", "quantity"),
    "geometry": ("run_key", "measurement", "draw", "measure", "component", "settings"),
    "profiles": ("run_key", "measurement", "draw", "measure", "settings", "x", "y"),
    "connections": ("run_key", "measurement", "draw", "other_run_key", "other_draw", "method", "settings"),
    "measurements": ("measurement",),
    "pointwise": ("run_key", "row"),
    "comparisons": ("comparison_key",),
}

_ORDERED = ("eq", "ne", "lt", "le", "gt", "ge", "in", "is_null")
_COMPARE: Mapping[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "eq": pl.Expr.eq,
    "ne": pl.Expr.ne,
    "lt": pl.Expr.lt,
    "le": pl.Expr.le,
    "gt": pl.Expr.gt,
    "ge": pl.Expr.ge,
}
_CURSOR_VERSION = 1


class Query(Settings):
    """A question to a table."""

    table: Table
    where: Annotated[tuple[str, ...], Field(max_length=MAX_CONDITIONS)] = ()
    """Conditions `column:operator:value`, which must all hold."""
    select: tuple[str, ...] = ()
    """Columns; none is all of the table's own."""
    sort: tuple[str, ...] = ()
    """Columns to sort by, with a minus sign before those to sort from the largest."""
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    """Rows of a page."""
    cursor: str | None = None
    """Of the page before, whose `where`, `sort` and `sweep` were the same."""
    sweep: str | None = None
    """Only rows of the runs that this sweep asks for, whichever sweep they were first fitted for."""


class Page(NamedTuple):
    """Some rows of an answer, and the cursor of the next page; None where there is none."""

    rows: pl.DataFrame
    next_cursor: str | None


class _Order(NamedTuple):
    column: str
    descending: bool
    dtype: pl.DataType

    @property
    def value(self) -> pl.Expr:
        return _not_nan(self.column, self.dtype)


def columns_of(table: Table) -> dict[str, pl.DataType]:
    """The columns that can be named in questions to a table: its own, then those that `runs` lends it."""
    own = dict(SCHEMAS[table])
    lent = CONTEXT if "run_key" in own else ()
    return own | {name: SCHEMAS["runs"][name] for name in lent if name not in own}


def operators_of(dtype: pl.DataType) -> tuple[str, ...]:
    """Those that conditions on a column of this type can have."""
    if dtype == pl.String:
        return (*_ORDERED, "contains")
    if isinstance(dtype, pl.List):
        return ("contains", "is_null") if dtype.inner == pl.String else ("is_null",)
    return ("eq", "ne", "in", "is_null") if dtype == pl.Boolean else _ORDERED


def answer(store: Store, query: Query) -> Page:
    """One page of the answer.

    Raises:
        QueryError: it names a column that there is not, a condition cannot be read, or the cursor is of another query.
        NotStoredError: there is no such sweep.
        StoreError: the table cannot be read.
    """
    order = _order(query)
    shown = _selected(query)
    rows = _rows(store, query, [*shown, *(each.column for each in order)])
    if query.cursor is not None:
        rows = rows.filter(_after(order, _position(query, order)))
    found = tables.evaluate(store.storage, query.table, _sorted(rows, order).head(query.limit + 1))
    page = found.head(query.limit)
    cursor = _cursor(query, order, page) if len(found) > query.limit else None
    return Page(page.select(shown), cursor)


def scan(store: Store, query: Query) -> pl.LazyFrame:
    """All rows of the answer, sorted; its limit and cursor are left out of account.

    Raises:
        QueryError, NotStoredError, StoreError: as `answer` does.
    """
    order, shown = _order(query), _selected(query)
    return _sorted(_rows(store, query, [*shown, *(each.column for each in order)]), order).select(shown)


def tables_of(query: Query) -> tuple[str, ...]:
    """The tables that the answer depends on."""
    return ("runs",) if query.table == "runs" else (query.table, "runs")


def _rows(store: Store, query: Query, wanted: Collection[str]) -> pl.LazyFrame:
    """Rows that meet the conditions, with the columns that are wanted."""
    schema = columns_of(query.table)
    conditions = [_condition(text, schema, query.table) for text in query.where]
    rows = store.runs() if query.table == "runs" else store.scan(query.table)
    if query.sweep is not None:
        rows = _of_sweep(store, rows, query)
    named = {*wanted, *(name for each in conditions for name in each.meta.root_names())}
    if lent := [name for name in schema if name in named and name not in SCHEMAS[query.table]]:
        rows = rows.join(store.runs().select("run_key", *lent), on="run_key")
    for condition in conditions:
        rows = rows.filter(condition)
    return rows.select(list(dict.fromkeys(wanted)))


def _of_sweep(store: Store, rows: pl.LazyFrame, query: Query) -> pl.LazyFrame:
    assert query.sweep is not None
    _, members = store.sweep(query.sweep)
    if query.table == "comparisons":
        return rows.filter(pl.col("sweep") == query.sweep)
    return rows.join(members.lazy().select("run_key").unique(), on="run_key", how="semi")


# --- what a question says ---------------------------------------------------------------------------------------------


def _selected(query: Query) -> list[str]:
    if not query.select:
        return list(SCHEMAS[query.table])
    return list(dict.fromkeys(_known(name, columns_of(query.table), query.table) for name in query.select))


def _order(query: Query) -> list[_Order]:
    """What rows are sorted by, so that no two of them have the same place."""
    schema = columns_of(query.table)
    order: dict[str, _Order] = {}
    for text in query.sort:
        name = _known(text.removeprefix("-"), schema, query.table)
        if isinstance(schema[name], pl.List):
            raise QueryError(f"sort: {name!r} is a list, and lists have no order: sort by another column")
        if name in order:
            raise QueryError(f"sort: {name!r} is named twice: name it once")
        order[name] = _Order(name, text.startswith("-"), schema[name])
    for name in KEYS[query.table]:
        order.setdefault(name, _Order(name, False, schema[name]))
    return list(order.values())


def _condition(text: str, schema: Mapping[str, pl.DataType], table: str) -> pl.Expr:
    parts = text.split(":", 2)
    if len(parts) < 3:
        raise QueryError(
            f"cannot read the condition {shortened(text)!r}: write column:operator:value, as in learner:eq:mlp-sgd; "
            f"the operators are {', '.join(get_args(Operator))}"
        )
    name, operator, value = parts
    dtype = schema[_known(name, schema, table)]
    allowed = operators_of(dtype)
    if operator not in allowed:
        raise QueryError(
            f"cannot read the condition {shortened(text)!r}: {name!r} goes with "
            f"{', '.join(allowed)}{_or_near(operator, allowed)}"
        )
    column, present = pl.col(name), _not_nan(name, dtype)
    if operator == "is_null":
        return present.is_null() if _value(value, pl.Boolean(), text) else present.is_not_null()
    if operator == "contains":
        if isinstance(dtype, pl.List):
            return column.list.contains(value)
        return column.str.contains(value, literal=True)
    # To polars NaN is above all numbers. The column is compared as it stands, so that files can be skipped.
    met = (
        column.is_in([_value(part, dtype, text) for part in _several(value, text)])
        if operator == "in"
        else _COMPARE[operator](column, pl.lit(_value(value, dtype, text), dtype))
    )
    return met & column.is_not_nan() if dtype.is_float() else met


def _several(text: str, condition: str) -> list[str]:
    values = text.split(",")
    if len(values) > MAX_VALUES:
        raise QueryError(f"cannot read the condition {condition[:60]!r}...: {MAX_VALUES} values at most")
    return values


def _value(text: str, dtype: pl.DataType, condition: str) -> Any:
    """A value as it is written in a condition."""
    wanted, read = next((wanted, read) for is_kind, wanted, read in _READERS if is_kind(dtype))
    try:
        return read(text)
    except (ValueError, OverflowError):
        shown = condition if len(condition) < 200 else f"{condition[:200]}..."
        raise QueryError(f"cannot read the condition {shown!r}: expected {wanted}") from None


def _integer(text: str) -> int:
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
    (lambda dtype: dtype.is_integer(), "a whole number", _integer),
    (lambda dtype: dtype.is_float(), "a number", _number),
    (lambda dtype: dtype == pl.Boolean, "true or false", _truth),
    (lambda dtype: dtype.is_temporal(), "a moment such as 2026-01-31 or 2026-01-31T12:00:00+00:00", _moment),
    (lambda dtype: True, "text", str),
)


def _known(name: str, schema: Mapping[str, pl.DataType], table: str) -> str:
    if name not in schema:
        shown = name if len(name) < 80 else f"{name[:80]}..."
        hint = _or_near(name, schema) or f"; there are {', '.join(schema)}"
        raise QueryError(f"table {table!r} has no column {shown!r}{hint}")
    return name


def _or_near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name[:80], known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


# --- places in the order ----------------------------------------------------------------------------------------------


def _sorted(rows: pl.LazyFrame, order: Sequence[_Order]) -> pl.LazyFrame:
    return rows.sort([each.value for each in order], descending=[each.descending for each in order], nulls_last=True)


def _not_nan(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


def _after(order: Sequence[_Order], position: Sequence[Any]) -> pl.Expr:
    """Whether a row comes after a place."""
    after = pl.lit(False)
    for each, value in reversed(list(zip(order, position, strict=True))):
        if value is None:  # nothing of this column comes after what is missing
            after = each.value.is_null() & after
            continue
        here = pl.lit(value, each.dtype)
        beyond = each.value < here if each.descending else each.value > here
        after = beyond | each.value.is_null() | ((each.value == here) & after)
    return after


def _cursor(query: Query, order: Sequence[_Order], page: pl.DataFrame) -> str:
    """The place of the page's last row, sealed with what the question was, so that it goes with no other."""
    last = page.select(each.value.alias(each.column) for each in order).row(-1)
    position = [_written(value) for value in last]
    text = json.dumps([_CURSOR_VERSION, _seal(query, position), position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(query: Query, order: Sequence[_Order]) -> list[Any]:
    """The place that the query's cursor names.

    Raises:
        QueryError: it is not the cursor of this question.
    """
    text = query.cursor or ""
    try:
        decoded = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        version, seal, position = decoded
        if version == _CURSOR_VERSION and isinstance(position, list) and seal == _seal(query, position):
            return [_read(value, each.dtype) for value, each in zip(position, order, strict=True)]
    except (ValueError, TypeError, RecursionError):
        pass
    raise QueryError(
        "the cursor is not one of this question: give it as it came, with the table, where, sort and sweep that it "
        "came with; or leave it out to begin again"
    )


def _seal(query: Query, position: Any) -> str:
    asked = {"table": query.table, "where": query.where, "sort": query.sort, "sweep": query.sweep}
    return digest(asked | {"position": position})


def _written(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else value


def _read(value: Any, dtype: pl.DataType) -> Any:
    """What `_written` wrote.

    Raises:
        ValueError, TypeError: it wrote no such thing.
    """
    if value is None:
        return None
    if dtype.is_float():
        return float(value)
    if dtype.is_temporal():
        return datetime.fromisoformat(value)
    if dtype.is_integer():
        return _integer(str(value))
    if type(value) is not (bool if dtype == pl.Boolean else str):
        raise TypeError
    return value
