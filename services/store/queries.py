"""Questions to the tables, in the one language that the command, the HTTP interface and the client speak.

A question filters, selects, sorts, and is answered page by page. A page ends with a cursor, which names the place of
its last row in the order of the rows (keyset pagination). So rows that are there all the time are given exactly once,
in order, while others are added.

Conditions are those of `services.store.conditions`. What is missing, NaN like null, comes last whatever the direction.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args

import polars as pl
from pydantic import Field

from models.runs.result import Status
from models.spec.settings import Settings, digest
from models.spelling import did_you_mean
from services.errors import QueryError
from services.store import tables
from services.store.conditions import known, not_nan, predicate, whole_number
from services.store.schemas import SCHEMAS
from services.store.store import Store

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
MAX_LIMIT = 10_000
MAX_CONDITIONS = 32

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

_CURSOR_VERSION = 1


class Query(Settings):
    """A question to a table."""

    table: Table
    where: Annotated[tuple[str, ...], Field(max_length=MAX_CONDITIONS)] = ()
    """Conditions such as `column:operator:value`, which must all hold."""
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
        return not_nan(self.column, self.dtype)


def columns_of(table: Table) -> dict[str, pl.DataType]:
    """The columns that can be named in questions to a table: its own, then those that `runs` lends it."""
    own = dict(SCHEMAS[table])
    lent = CONTEXT if "run_key" in own else ()
    return own | {name: SCHEMAS["runs"][name] for name in lent if name not in own}


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


def rows(
    store: Store,
    table: str,
    where: Sequence[str] = (),
    select: Sequence[str] = (),
    sort: Sequence[str] = (),
    limit: int | None = None,
) -> pl.DataFrame:
    """All rows that meet the conditions at once, with the columns that people want first, for a person or a file.

    Tables of runs have the columns of `CONTEXT` as well. Rows that are not to be sorted are as they were stored.

    Args:
        store: where to look.
        table: one of `services.store.schemas.SCHEMAS`.
        where: conditions, all of which must hold.
        select: columns; none is all of them.
        sort: columns to sort by, with a minus sign before those to sort from the largest.
        limit: at most so many rows.

    Raises:
        QueryError: unknown table or column, or a condition that cannot be read.
        StoreError: the table cannot be read.
    """
    if table not in SCHEMAS:
        raise QueryError(f"no table {table!r}: {did_you_mean(table, SCHEMAS, f'there are {", ".join(SCHEMAS)}')}")
    if len(where) > MAX_CONDITIONS:
        raise QueryError(f"{len(where)} conditions, and {MAX_CONDITIONS} is the most: state fewer")
    query = Query(table=table, where=tuple(where), select=tuple(select) or _for_people(table), sort=tuple(sort))  # pyright: ignore[reportArgumentType] - looked up above
    order, shown = _order(query) if sort else [], _selected(query)
    found = _rows(store, query, [*shown, *(each.column for each in order)])
    if order:
        found = _sorted(found, order)
    found = found.select(shown)
    return tables.evaluate(store.storage, table, found if limit is None else found.head(limit))


def _for_people(table: str) -> tuple[str, ...]:
    """Columns in the order in which people want them: a narrow terminal leaves out what stands last, the long keys."""
    columns = columns_of(table)  # pyright: ignore[reportArgumentType] - one of these
    if table == "comparisons":
        return tuple(columns)
    outcome = ("status", "error", "n_parameters", "wall_seconds") if table == "runs" else ()
    keys = ("fingerprint", "bundle", "run_key") if table == "runs" else ("measurement", "other_run_key", "run_key")
    first, last = (*CONTEXT, *outcome), [name for name in keys if name in columns]
    return (*first, *(name for name in columns if name not in (*first, *last)), *last)


def tables_of(query: Query) -> tuple[str, ...]:
    """The tables that the answer depends on."""
    return ("runs",) if query.table == "runs" else (query.table, "runs")


def _rows(store: Store, query: Query, wanted: Collection[str]) -> pl.LazyFrame:
    """Rows that meet the conditions, with the columns that are wanted."""
    schema = columns_of(query.table)
    conditions = [predicate(text, schema, query.table) for text in query.where]
    rows = _unfiltered(store, query.table, conditions)
    if query.sweep is not None:
        rows = _of_sweep(store, rows, query)
    named = {*wanted, *(name for each in conditions for name in each.meta.root_names())}
    if lent := [name for name in schema if name in named and name not in SCHEMAS[query.table]]:
        rows = rows.join(store.runs().select("run_key", *lent), on="run_key")
    for condition in conditions:
        rows = rows.filter(condition)
    return rows.select(list(dict.fromkeys(wanted)))


def _unfiltered(store: Store, table: Table, conditions: Sequence[pl.Expr]) -> pl.LazyFrame:
    if table != "runs":
        return store.scan(table)
    return store.fitted() if _of_fitted_runs_alone(conditions) else store.runs()


def _of_fitted_runs_alone(conditions: Sequence[pl.Expr]) -> bool:
    """Whether no row of a run that is not fitted can meet these."""
    possible = pl.DataFrame({"status": get_args(Status)})
    for condition in conditions:
        if condition.meta.root_names() == ["status"]:
            possible = possible.filter(condition)
    return len(possible) > 0 and set(possible["status"]) <= set(tables.FITTED)


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
    return list(dict.fromkeys(known(name, columns_of(query.table), query.table) for name in query.select))


def _order(query: Query) -> list[_Order]:
    """What rows are sorted by, so that no two of them have the same place."""
    schema = columns_of(query.table)
    order: dict[str, _Order] = {}
    for text in query.sort:
        name = known(text.removeprefix("-"), schema, query.table)
        if isinstance(schema[name], pl.List):
            raise QueryError(f"sort: {name!r} is a list, and lists have no order: sort by another column")
        if name in order:
            raise QueryError(f"sort: {name!r} is named twice: name it once")
        order[name] = _Order(name, text.startswith("-"), schema[name])
    for name in KEYS[query.table]:
        order.setdefault(name, _Order(name, False, schema[name]))
    return list(order.values())


# --- places in the order ----------------------------------------------------------------------------------------------


def _sorted(rows: pl.LazyFrame, order: Sequence[_Order]) -> pl.LazyFrame:
    return rows.sort([each.value for each in order], descending=[each.descending for each in order], nulls_last=True)


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
        return whole_number(str(value))
    if type(value) is not (bool if dtype == pl.Boolean else str):
        raise TypeError
    return value
