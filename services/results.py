"""Questions to the tables: filter, select, sort, and write the answer as a table, JSON, CSV or Parquet."""

import difflib
import io
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal, get_args

import polars as pl
from rich.console import Console
from rich.table import Table

from models.record import shortened
from models.result import Status
from services import tables
from services.errors import QueryError
from services.formatting import MISSING, format_number, printable
from services.schemas import SCHEMAS
from services.store import Store

Format = Literal["table", "json", "csv", "parquet"]

# What `runs` lends to every other table of runs, so that people can filter by it.
CONTEXT = ("dataset", "split", "learner", "kind", "seed")

_WIDEST = 40  # characters of a cell in a table for people

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*(?P<column>\w+)\s*(?P<operator>!=|<=|>=|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL)


def query(
    store: Store,
    table: str,
    where: Sequence[str] = (),
    select: Sequence[str] = (),
    sort: Sequence[str] = (),
    limit: int | None = None,
) -> pl.DataFrame:
    """Rows of a table that meet all conditions.

    Tables of runs have the columns of `CONTEXT` as well. `runs` has one row per run, the last attempt.

    Args:
        store: where to look.
        table: one of `services.schemas.SCHEMAS`.
        where: conditions such as `learner=mlp-sgd`, `value>0.9`, `error!=null`; the operators are = != < <= > >=. NaN
            meets no inequality, and `value=nan` finds it.
        select: columns; none is all of them.
        sort: columns to sort by, with a minus sign before those to sort from the largest; missing values come last.
        limit: at most so many rows.

    Raises:
        QueryError: unknown table or column, or a condition that cannot be read.
        StoreError: the table cannot be read.
    """
    schema = _schema(table)
    predicates = [_predicate(condition, schema, table) for condition in where]
    frame = _view(store, table, predicates).select(list(schema))
    for predicate in predicates:
        frame = frame.filter(predicate)
    if sort:
        names = [_known(name.removeprefix("-"), schema, table) for name in sort]
        descending = [name.startswith("-") for name in sort]
        floats = [pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name) for name in names]
        frame = frame.sort(floats, descending=descending, nulls_last=True, maintain_order=True)
    if select:
        frame = frame.select(list(dict.fromkeys(_known(name, schema, table) for name in select)))
    return tables.evaluate(store.storage, table, frame if limit is None else frame.head(limit))


def _schema(table: str) -> dict[str, pl.DataType]:
    """Columns in the order in which people want them: a narrow terminal leaves out what stands last, the long keys."""
    if table not in SCHEMAS:
        raise QueryError(f"no table {table!r}: {_hint(table, SCHEMAS)}")
    own = SCHEMAS[table]
    known = dict(SCHEMAS["runs"]) | dict(own)
    first, last = CONTEXT, ("measurement", "other_run_key", "run_key")
    if table == "runs":
        first, last = (
            (*CONTEXT, "status", "error", "n_parameters", "wall_seconds"),
            ("fingerprint", "bundle", "run_key"),
        )
    elif table == "comparisons":
        first = last = ()
    between = [name for name in own if name not in (*first, *last)]
    return {name: known[name] for name in (*first, *between, *(name for name in last if name in own))}


def _view(store: Store, table: str, predicates: Sequence[pl.Expr]) -> pl.LazyFrame:
    if table == "runs":
        return store.fitted() if _of_fitted_runs_alone(predicates) else store.runs()
    if table == "comparisons":
        return store.scan(table)
    context = store.runs().select("run_key", *CONTEXT)
    return store.scan(table).join(context, on="run_key", maintain_order="left")


def _of_fitted_runs_alone(predicates: Sequence[pl.Expr]) -> bool:
    """Whether no row of a run that is not fitted can meet these."""
    possible = pl.DataFrame({"status": get_args(Status)})
    for predicate in predicates:
        if predicate.meta.root_names() == ["status"]:
            possible = possible.filter(predicate)
    return len(possible) > 0 and set(possible["status"]) <= set(tables.FITTED)


def _predicate(condition: str, schema: Mapping[str, pl.DataType], table: str) -> pl.Expr:
    parts = _CONDITION.fullmatch(condition)
    if parts is None:
        raise QueryError(
            f"cannot read the condition {shortened(condition)!r}: write a column, one of {' '.join(_OPERATORS)}, and a "
            "value, as in learner=mlp-sgd or 'value>0.9'"
        )
    name, sign, text = parts["column"], parts["operator"], parts["value"]
    dtype = schema[_known(name, schema, table)]
    column, compare = pl.col(name), _OPERATORS[sign]
    if text == "null":
        if sign not in ("=", "!="):
            raise QueryError(f"cannot read the condition {shortened(condition)!r}: null goes with = and != only")
        return column.is_null() if sign == "=" else column.is_not_null()
    value = _value(text, dtype.inner if isinstance(dtype, pl.List) else dtype, condition)  # pyright: ignore[reportArgumentType] - a type, not a class
    if isinstance(dtype, pl.List):
        if sign not in ("=", "!="):
            raise QueryError(
                f"cannot read the condition {shortened(condition)!r}: {name} is a list; use = or != with an entry"
            )
        found = column.list.contains(value)
        return found if sign == "=" else ~found
    met = compare(column, pl.lit(value, dtype))
    return met & column.is_not_nan() if dtype.is_float() and sign not in ("=", "!=") else met


def _value(text: str, dtype: pl.DataType, condition: str) -> Any:
    try:
        if dtype.is_integer():
            return int(text)
        if dtype.is_float():
            return float(text)
        if dtype == pl.Boolean:
            return {"true": True, "false": False}[text.lower()]
        if dtype.is_temporal():
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, KeyError):
        wanted = (
            "a whole number" if dtype.is_integer()
            else "a number" if dtype.is_float()
            else "true or false" if dtype == pl.Boolean
            else "a date such as 2026-01-31 (UTC)"
        )  # fmt: skip
        raise QueryError(
            f"cannot read the condition {shortened(condition)!r}: expected {wanted}, got {shortened(text)!r}"
        ) from None
    return text


def _known(name: str, schema: Iterable[str], table: str) -> str:
    if name not in (names := list(schema)):
        raise QueryError(f"table {table!r} has no column {shortened(name)!r}: {_hint(name, names)}")
    return name


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


_FORMULA = r"^[=+\-@\t\r]"


def write(frame: pl.DataFrame, form: Format, out: BinaryIO, width: int = 120) -> None:
    """Write `frame` to a binary stream, as a table of `width` columns for people, JSON records, CSV or Parquet.

    JSON has no NaN and no infinity: they become null. CSV has no lists: their entries are joined by "; "; and text that
    a spreadsheet would take for a formula has an apostrophe before it.

    Raises:
        QueryError: unknown format, or Parquet to a terminal.
    """
    if form == "table":
        out.write(_rendered(frame, width).encode())
    elif form == "json":
        out.write(f"{frame.write_json()}\n".encode())
    elif form == "csv":
        lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
        flat = frame.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join("; "))
        text = pl.col(pl.String)
        flat.with_columns(pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep()).write_csv(
            out
        )
    elif form == "parquet":
        if out.isatty():
            raise QueryError("Parquet is binary: send it to a file, as in --format parquet > results.parquet")
        frame.write_parquet(out)
    else:
        raise QueryError(f"no format {form!r}: {_hint(form, get_args(Format))}")


def _rendered(frame: pl.DataFrame, width: int) -> str:
    """As many columns as fit, and a line that says which do not."""
    cells = {name: [_cell(value) for value in frame[name]] for name in frame.columns}
    shown, used = [], 0
    for name, texts in cells.items():
        used += min(max(map(len, [name, *texts])), _WIDEST) + 2
        if shown and used > width:
            break
        shown.append(name)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in shown:
        table.add_column(
            name, justify="right" if frame.schema[name].is_numeric() else "left", no_wrap=True, max_width=_WIDEST
        )
    for row in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*row)
    text = io.StringIO()
    console = Console(file=text, width=width, highlight=False, markup=False, emoji=False)
    console.print(table)
    hidden = [name for name in cells if name not in shown]
    if hidden:
        console.print(f"not shown for want of room: {', '.join(hidden)} (choose columns by --select)")
    console.print(f"{len(frame)} row{'' if len(frame) == 1 else 's'}")
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, pl.Series):
        return printable("; ".join(map(str, value)))
    if isinstance(value, float):
        return format_number(value, 4) if abs(value) < float("inf") else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return printable(str(value))
