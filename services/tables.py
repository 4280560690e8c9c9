"""Delta tables in one folder: made, appended to by their one writer, and read lazily."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from services.errors import StoreError
from services.schemas import INDICES, OWNERS, SCHEMAS

COMPACT_EVERY = 100
KEEP_HOURS = 168


def create(folder: Path) -> None:
    """Make those tables in `folder` that are not there yet, empty."""
    for table, schema in SCHEMAS.items():
        if not DeltaTable.is_deltatable(str(folder / table)):
            _append(folder, table, pl.DataFrame(schema=schema))


def append(folder: Path, rows: Mapping[str, pl.DataFrame], doubtful: Collection[str] = ()) -> None:
    """Append to each table in one commit, the indices last.

    `doubtful` are names of bundles and measurements whose rows may be in some tables already, because a commit was cut
    short: what a table has of these is not appended to it again.

    Raises:
        StoreError: the disk is full or not writable, or a table is damaged.
    """
    for table in sorted(rows, key=lambda name: name in INDICES):
        frame, owner = rows[table], OWNERS[table]
        if doubtful:
            present = scan(folder, table).filter(pl.col(owner).is_in(list(doubtful))).select(owner).unique()
            frame = frame.join(_collect(folder, table, present), on=owner, how="anti", maintain_order="left")
        if len(frame):
            _append(folder, table, frame)


def scan(folder: Path, table: str) -> pl.LazyFrame:
    """One table as it was last committed.

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        return pl.scan_delta(DeltaTable(folder / table))
    except (OSError, DeltaError) as error:
        raise _damaged(folder, table, error) from error


def latest(runs: pl.LazyFrame) -> pl.LazyFrame:
    """One row per run key: the last attempt, so that a success replaces the failures before it."""
    return runs.sort("attempt", maintain_order=True).unique("run_key", keep="last", maintain_order=True)


def collect(folder: Path, table: str, columns: Iterable[str]) -> pl.DataFrame:
    """Some columns of a table.

    Raises:
        StoreError: it is missing or damaged.
    """
    return _collect(folder, table, scan(folder, table).select(columns))


def _collect(folder: Path, table: str, query: pl.LazyFrame) -> pl.DataFrame:
    try:
        return query.collect()
    except (OSError, DeltaError, pl.exceptions.ComputeError) as error:
        raise _damaged(folder, table, error) from error


def _append(folder: Path, table: str, frame: pl.DataFrame) -> None:
    assert frame.schema == SCHEMAS[table], f"rows for {table!r} do not have its schema"
    path = folder / table
    try:
        frame.write_delta(path, mode="append")
        written = DeltaTable(path)
        if written.version() and written.version() % COMPACT_EVERY == 0:
            written.optimize.compact()
            written.vacuum(retention_hours=KEEP_HOURS, dry_run=False)
    except (OSError, DeltaError) as error:
        raise StoreError(
            f"cannot append to table {path}: {error}; free some space or make the folder writable, then run the "
            "command again: finished runs are kept"
        ) from error


def _damaged(folder: Path, table: str, error: Exception) -> StoreError:
    return StoreError(f"cannot read table {folder / table}: {error}; rebuild the tables by `basin store rebuild`")
