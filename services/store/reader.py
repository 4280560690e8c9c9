"""A store for a process that reads for long, and often."""

import threading
import time
from pathlib import Path
from typing import NamedTuple

import polars as pl
from deltalake import DeltaTable

from services.store import tables
from services.store.schemas import SCHEMAS
from services.store.store import Store

HELD_RUNS = 200_000  # about a kilobyte each
CHUNKS = 16
LONGEST_SECONDS = 60.0
REMOTE_SECONDS = 1.0


class _Opened(NamedTuple):
    """A table as it was at some time.

    Attributes:
        rows: all of them.
        at: when it was opened, in seconds of a monotonic clock.
    """

    version: int
    delta: DeltaTable
    rows: pl.LazyFrame
    at: float


class _Runs(NamedTuple):
    """One row for each run, in memory, and the files that they are from; no rows where they are too many."""

    delta: DeltaTable | None = None
    files: frozenset[str] = frozenset()
    rows: pl.DataFrame | None = None


class Reader(Store):
    """A store whose tables stay open, and are opened again when they have a later version. Threads may share it.

    One row for each run is held in memory, unless there are more than `HELD_RUNS`.
    """

    def __init__(self, location: str | Path, patience: float | None = None) -> None:
        """As `Store` does."""
        super().__init__(location, patience)
        self._locks = {table: threading.Lock() for table in SCHEMAS}
        self._holding = threading.Lock()
        self._opened: dict[str, _Opened] = {}
        self._seen: dict[str, float] = {}  # when a table was last known to be the newest
        self._runs = _Runs()

    def scan(self, table: str) -> pl.LazyFrame:
        """One of the tables of `services.store.schemas.SCHEMAS`, with every attempt at a run."""
        return self._table(table).rows

    def runs(self) -> pl.LazyFrame:
        """The table `runs` with one row for each run: its last attempt."""
        self._table("runs")
        with self._holding:
            opened = self._opened["runs"]
            if self._runs.delta is not opened.delta:
                self._runs = self._hold(opened.delta)
            held = self._runs.rows
        return tables.latest(opened.rows) if held is None else held.lazy()

    def version(self, table: str) -> str:
        """Tells what the table holds now from what it held, or will hold, at other times."""
        opened = self._table(table)
        return f"{opened.delta.metadata().id}-{opened.version}"

    def _table(self, table: str) -> _Opened:
        opened = self._opened.get(table)
        if opened is not None and self._is_newest(table, opened):
            return opened
        with self._locks[table]:
            if self._opened.get(table) is opened:  # else another thread was faster
                delta = tables.opened(self.storage, table)
                rows = tables.rows(self.storage, table, delta)
                self._opened[table] = _Opened(delta.version(), delta, rows, at=time.monotonic())
            return self._opened[table]

    def _is_newest(self, table: str, opened: _Opened) -> bool:
        """Whether there is no next version. One that was made anew, at lower numbers, is found after a while."""
        now = time.monotonic()
        if now - opened.at > LONGEST_SECONDS:
            return False
        if self.storage.remote and now - max(opened.at, self._seen.get(table, 0.0)) < REMOTE_SECONDS:
            return True
        if self.storage.exists(f"{tables.FOLDER}/{table}/_delta_log", f"{opened.version + 1:020}.json"):
            return False
        self._seen[table] = now
        return True

    def _hold(self, delta: DeltaTable) -> _Runs:
        """One row for each run: what is held already with what came since, or all anew where files went away."""
        files = frozenset(tables.files(self.storage, delta))
        if files == self._runs.files:
            return self._runs._replace(delta=delta)
        if files and pl.DataFrame(delta.get_add_actions(flatten=True))["num_records"].sum() > HELD_RUNS:
            return _Runs(delta, files)
        known = pl.DataFrame(schema=SCHEMAS["runs"]), frozenset[str]()
        if self._runs.rows is not None and self._runs.files <= files:
            known = self._runs.rows, self._runs.files
        rows, of = known
        parts = [rows.lazy()]
        if new := sorted(files - of):
            found = pl.scan_parquet(new, glob=False, storage_options=self.storage.polars_options)
            parts.append(found.select(rows.columns))
        found = tables.evaluate(self.storage, "runs", tables.latest(pl.concat(parts)))
        # One chunk for each file makes questions twice as slow; putting them together costs as much as many of those.
        return _Runs(delta, files, found.rechunk() if found.n_chunks() > CHUNKS else found)
