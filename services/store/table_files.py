"""The Parquet files of a table, read in full and held against what the table's log and their own footers say of them.

Readers leave out files and groups of rows by these statistics, so that a wrong one hides rows that are there.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import polars as pl

from services.store import tables
from services.store.objects import Storage
from services.store.schemas import SCHEMAS

_MILLISECOND = timedelta(milliseconds=1)


def read_all(storage: Storage, table: str) -> Iterator[pl.DataFrame]:
    """The rows of each file of a table.

    Raises:
        TableError: the table is missing, or not as it was written.
        StoreError: the store cannot be read.
    """
    delta = tables.opened(storage, table)
    if tables.evaluate(storage, table, tables.rows(storage, table, delta).head(0)).schema != SCHEMAS[table]:
        raise tables.damaged(storage, table, "other columns than it should have")
    for said in pl.DataFrame(delta.get_add_actions(flatten=True)).iter_rows(named=True):
        yield _read(storage, table, said)


def _read(storage: Storage, table: str, said: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of a file, of which the log says this."""
    path = unquote(said["path"])
    try:
        data = storage.read(f"{tables.FOLDER}/{table}", path)
    except FileNotFoundError:
        raise tables.damaged(storage, table, f"it lacks its file {path}") from None
    with _quiet():
        scan = pl.scan_parquet(io.BytesIO(data))
        rows = tables.evaluate(storage, table, scan.select(SCHEMAS[table].names()))
        extremes = {name: found for name in rows.columns if (found := _extremes(rows[name])) is not None}
        try:
            found = _can_be_found(scan, rows, extremes)
        except tables.UNREADABLE:
            found = False
    if not found or said["num_records"] != len(rows) or not _log_holds(said, rows, extremes):
        raise tables.damaged(storage, table, f"{path}: its statistics are not those of its rows")
    return rows


def _extremes(column: pl.Series) -> tuple[Any, Any] | None:
    """The least and the greatest value of a column; None where there is no such thing."""
    if column.dtype.is_nested():
        return None
    known = column.drop_nulls().drop_nans() if column.dtype.is_float() else column.drop_nulls()
    return (known.min(), known.max()) if len(known) else None


def _can_be_found(scan: pl.LazyFrame, rows: pl.DataFrame, extremes: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether readers that leave out groups of rows by the footer's statistics find those with extreme values."""
    conditions = [
        condition
        for name, (least, most) in extremes.items()
        for condition in (pl.col(name) <= pl.lit(least), pl.col(name) >= pl.lit(most))
    ]
    found = pl.collect_all([scan.filter(condition).select(pl.len()) for condition in conditions])
    expected = rows.select(condition.sum().alias(str(i)) for i, condition in enumerate(conditions))
    return [frame.item() for frame in found] == list(expected.row(0))


def _log_holds(said: Mapping[str, Any], rows: pl.DataFrame, extremes: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether no row contradicts what the log says. Its bounds may be wide: long texts are cut off there."""
    for name, dtype in rows.schema.items():
        if said.get(f"null_count.{name}") not in (None, rows[name].null_count()):
            return False
        least, most = said.get(f"min.{name}"), said.get(f"max.{name}")
        if least is None or most is None or name not in extremes:
            continue
        if isinstance(dtype, pl.Datetime):  # the log has whole milliseconds
            least, most = least - _MILLISECOND, most + _MILLISECOND
        if extremes[name][0] < least or extremes[name][1] > most:
            return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing through to stderr: polars prints there where in its source it met a damaged file."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
