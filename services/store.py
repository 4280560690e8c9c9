"""The store: bundles and tables in one folder, many readers, one writer.

    store.json     schema version
    writer.lock    held by the writing process
    ledger/        of schedules, which may be there before anything is stored
    bundles/       one folder per run, written first
    measurements/  one folder for each time that a stored run was measured, likewise
    tables/        Delta tables, appended to in batches after
    sweeps/        what each sweep asked for, and its runs
    checkpoints/   of runs that are not finished
    damaged/       bundles and measurements set aside because they are not as they were written

A run is stored as soon as its bundle is there. Whatever a killed writer left half-done, the next one mends when it
opens the store: leftovers are removed, and bundles whose rows are missing from the tables are appended. Those that a
loss of power harmed before their commit are set aside, and their runs are fitted again. So with measurements.
"""

import difflib
import fcntl
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import batched, count
from pathlib import Path

import numpy as np
import polars as pl

from models.spec import SCHEMA_VERSION
from services import bundles, measurements, tables
from services.bundles import Bundle, Record
from services.errors import StoreError
from services.files import flush_folders, flush_to_disk, load_arrays, remove_leftovers, save_arrays, written_aside
from services.measurements import MeasurementRecord
from services.rows import join, rows_of, rows_of_measurement, split
from services.schemas import INDICES, MEASUREMENT_TABLES, RUN_TABLES

BATCH = 50
BATCH_SECONDS = 5.0
MAY_PRECEDE = ("writer.lock", "ledger")
STORED = ("finished", "diverged")
DEFINITION = "basin.sweep"


class Store:
    """A store to read from. Reads see what was committed; they need no lock and wait for nobody."""

    def __init__(self, path: Path) -> None:
        """Open the store in the folder `path`.

        Raises:
            StoreError: there is none, or one of another schema version.
        """
        self.path = path
        _check_version(path)

    def scan(self, table: str) -> pl.LazyFrame:
        """One of the tables of `services.schemas.SCHEMAS`, with every attempt at a run."""
        return tables.scan(self.path / "tables", table)

    def runs(self) -> pl.LazyFrame:
        """The table `runs` with the last attempt at each run."""
        return tables.latest(self.scan("runs"))

    def stored(self, run_keys: Iterable[str]) -> set[str]:
        """Those of the runs that need no fit: finished or diverged. A failed one is tried again by a later command."""
        found = tables.collect(self.path / "tables", "runs", ["run_key", "status"])
        return set(run_keys) & set(found.filter(pl.col("status").is_in(STORED))["run_key"])

    def measured(self) -> pl.LazyFrame:
        """What needs no measuring: run_key, draw, measure and settings, as text, of all rows but failed ones."""
        done = self.scan("geometry").filter(pl.col("status") != "failed")
        return done.select("run_key", "draw", "measure", "settings").unique()

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were asked for."""
        return sorted(path.stem for path in (self.path / "sweeps").glob("[!.]*.parquet"))

    def sweep(self, name: str) -> tuple[str, pl.DataFrame]:
        """What the sweep asked for last, as it was given to `put_sweep`.

        Raises:
            StoreError: there is none of this name.
        """
        path = self.path / "sweeps" / f"{name}.parquet"
        if name not in self.sweeps():
            near = difflib.get_close_matches(name, self.sweeps(), n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`basin sweep list` lists them"
            raise StoreError(f"no sweep {name!r} in {self.path}: {hint}")
        return pl.read_parquet_metadata(path)[DEFINITION], pl.read_parquet(path)

    def bundle(self, run_key: str) -> Bundle:
        """The bundle of a stored run.

        Raises:
            StoreError: the run is not stored, or its bundle is damaged.
        """
        return bundles.read(self.path / "bundles" / run_key)


class Writer(Store):
    """The one process that may write. Made by `writing`, which holds the lock.

    Attributes:
        set_aside: names of damaged bundles and measurements that this writer moved to `damaged/`; their runs will be
            fitted, or measured, again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        folders = [path / n for n in ("bundles", "measurements", "tables", "sweeps", "checkpoints")]
        self._bundles, self._measurements, self._tables, self._sweeps, self._checkpoints = folders
        self._pending: dict[Path, dict[str, pl.DataFrame]] = {}
        self._pending_since = 0.0
        self._doubtful: set[str] = set()
        self.set_aside: list[str] = []
        with _writable(path):
            for folder in folders:
                folder.mkdir(exist_ok=True)
                remove_leftovers(folder)
            remove_leftovers(path)
        tables.create(self._tables)
        self._reconcile()

    def put(self, record: Record) -> bool:
        """Keep a run: when this returns, it survives a kill. Its rows follow with the next commit.

        Returns False, and keeps the first, when the run is stored already. A failure is kept as one more attempt.

        Raises:
            StoreError: the disk is full or not writable.
        """
        run_key = record.request.run_key
        if (self._bundles / run_key).exists():
            return False
        record = replace(record, attempt=self._failures(run_key))
        by_table = rows_of(record)
        bundles.write(self._bundles, record, join(by_table))
        self._wait_for_commit(self._bundles / record.name, by_table)
        self.remove_checkpoint(run_key)
        return True

    def put_measurement(self, record: MeasurementRecord) -> bool:
        """Keep what was measured at a stored run, as `put` keeps a run. Returns False when it is stored already.

        Raises:
            StoreError: the disk is full or not writable.
        """
        key, by_table = record.measurement.key, rows_of_measurement(record)
        if not measurements.write(self._measurements, key, join(by_table)):
            return False
        self._wait_for_commit(self._measurements / key, by_table)
        return True

    def put_sweep(self, name: str, definition: str, members: pl.DataFrame) -> None:
        """Keep what a sweep asks for: its definition as JSON text, and one row for each of its runs.

        It replaces what was asked for under this name before.

        Raises:
            StoreError: the disk is full or not writable.
        """
        with _writable(self.path), written_aside(self._sweeps / f"{name}.parquet") as aside:
            members.write_parquet(aside, metadata={DEFINITION: definition})
            flush_to_disk(aside)

    def _wait_for_commit(self, path: Path, by_table: dict[str, pl.DataFrame]) -> None:
        self._pending_since = self._pending_since if self._pending else time.monotonic()
        self._pending[path] = by_table
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit when a batch is full, or its first run has waited for `BATCH_SECONDS`."""
        waited = time.monotonic() - self._pending_since
        if len(self._pending) >= BATCH or (self._pending and waited >= BATCH_SECONDS):
            self.commit()

    def commit(self) -> None:
        """Flush the bundles of all runs put since the last commit to the disk, and append their rows to the tables.

        Raises:
            StoreError: the disk is full or not writable; the next commit, or the next writer, tries again.
        """
        if not self._pending:
            return
        with _writable(self.path):
            flush_folders(self._pending)
        names = {path.name for path in self._pending}
        doubtful = self._doubtful & names
        self._doubtful |= names  # until the commit is known to have gone through
        tables.append(self._tables, _stacked(self._pending.values()), doubtful)
        self._doubtful -= names
        self._pending.clear()

    def put_comparisons(self, rows: pl.DataFrame) -> None:
        """Append to the table `comparisons` those rows whose `comparison_key` it does not have.

        Raises:
            StoreError: the disk is full or not writable.
        """
        tables.append(self._tables, {"comparisons": rows}, rows["comparison_key"].to_list())

    def rebuild(self) -> int:
        """Make the tables again from bundles and measurements, and set damaged ones aside.

        The table `comparisons` is left alone. Returns the number of runs that are in the tables again.

        Raises:
            StoreError: the disk is full or not writable, or a bundle is of another version.
        """
        self.commit()
        with _writable(self.path):
            # The indices first: what they lack is appended by the next writer.
            for table in dict.fromkeys((*INDICES, *RUN_TABLES, *MEASUREMENT_TABLES)):
                old = self._tables / table
                if old.exists():
                    old.rename(aside := self._tables / f".tmp-{table}")
                    shutil.rmtree(aside)
        tables.create(self._tables)
        return self._reconcile()

    def save_checkpoint(self, run_key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the run's checkpoint.

        Raises:
            StoreError: the disk is full or not writable; the last checkpoint is still there.
        """
        with _writable(self.path), written_aside(self._checkpoint_path(run_key)) as aside:
            save_arrays(aside, arrays)

    def checkpoints(self) -> set[str]:
        """Keys of the runs that have a checkpoint."""
        return {path.stem for path in self._checkpoints.glob("[!.]*.npz")}

    def load_checkpoint(self, run_key: str) -> dict[str, np.ndarray] | None:
        """The run's last checkpoint; None where there is none or it cannot be read, for the run can start over."""
        try:
            return load_arrays(self._checkpoint_path(run_key))
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def remove_checkpoint(self, run_key: str) -> None:
        """Forget the run's checkpoint, if it has one."""
        self._checkpoint_path(run_key).unlink(missing_ok=True)

    def _failures(self, run_key: str) -> int:
        return next(n for n in count() if not (self._bundles / f"{run_key}.failed-{n}").exists())

    def _checkpoint_path(self, run_key: str) -> Path:
        return self._checkpoints / f"{run_key}.npz"

    def _reconcile(self) -> int:
        """Append the rows of what `runs` and `measurements` lack. Returns the number of runs, less those set aside."""
        known = set(tables.collect(self._tables, "measurements", ["measurement"])["measurement"])
        self._append_missing(self._measurements, known)
        return self._append_missing(self._bundles, set(tables.collect(self._tables, "runs", ["bundle"])["bundle"]))

    def _append_missing(self, folder: Path, known: set[str]) -> int:
        """Append the rows of those names in `folder` that are not known. Returns their number, less those set aside."""
        set_aside_before = len(self.set_aside)
        missing = sorted(set(bundles.names(folder)) - known)
        for batch in batched(missing, 10 * BATCH):
            rows = [self._rows_or_set_aside(folder / name) for name in batch]
            tables.append(self._tables, _stacked(rows), batch)
        return len(missing) - (len(self.set_aside) - set_aside_before)

    def _rows_or_set_aside(self, path: Path) -> dict[str, pl.DataFrame]:
        try:
            if path.parent == self._measurements:
                return split(measurements.read(path))
            bundle = bundles.read(path)
            bundle.verify()
            return split(bundle.rows())
        except bundles.DamagedError:
            (aside := self.path / "damaged" / path.name).parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            self.set_aside.append(path.name)
            return {}


@contextmanager
def writing(path: Path, patience_seconds: float = 2.0) -> Iterator[Writer]:
    """Open the store in the folder `path` for writing, and make it where it is missing. Commits when the block ends.

    Raises:
        StoreError: `path` is no folder, not writable, holds other files or a store of another schema version, or
            another process writes to it and goes on for more than `patience_seconds`.
    """
    _make(path)
    if (path / "store.json").exists():
        _check_version(path)
    with _locked(path, patience_seconds):
        if not (path / "store.json").exists():
            with _writable(path), written_aside(path / "store.json") as aside:
                aside.write_text(json.dumps({"schema_version": SCHEMA_VERSION}) + "\n", encoding="utf-8")
                flush_to_disk(aside)
        writer = Writer(path)
        try:
            yield writer
        finally:
            writer.commit()


def _make(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file: name a folder for the store by --store or BASIN_STORE")
    with _writable(path):
        path.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in path.iterdir() if not p.name.startswith(".") and p.name not in MAY_PRECEDE]
    if others and not (path / "store.json").exists():
        raise StoreError(
            f"{path} is not a store, and holds other files ({others[0]}): name a new or empty folder by --store or "
            "BASIN_STORE"
        )


def _check_version(path: Path) -> None:
    try:
        text = (path / "store.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StoreError(
            f"no store in {path}: `basin compare` makes one; or name another by --store or BASIN_STORE"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read the store in {path}: {error}") from error
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path / 'store.json'} does not say a schema version: is {path} a Basin store?") from None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"the store in {path} has schema version {version}, and this Basin reads {SCHEMA_VERSION}: name another "
            "store by --store or BASIN_STORE, or use the Basin that wrote it"
        )


@contextmanager
def _locked(path: Path, patience_seconds: float) -> Iterator[None]:
    """Hold the store's lock. The system releases it when the process ends, however it ends."""
    with _writable(path):
        file = (path / "writer.lock").open("a+", encoding="utf-8")
    with file:
        give_up = time.monotonic() + patience_seconds
        while not _try_lock(file.fileno()):
            if time.monotonic() > give_up:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise StoreError(
                    f"the store in {path} is being written by {holder}: wait for it to end, or name another store by "
                    "--store or BASIN_STORE"
                )
            time.sleep(0.05)
        with _writable(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} ({Path(sys.argv[0]).name or 'python'})\n")
            file.flush()
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write to the store in {path}: {error.strerror or error}; free some space or make it writable, or "
            "name another folder by --store or BASIN_STORE"
        ) from error


def _stacked(rows: Iterable[Mapping[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    """The rows of many runs and measurements, by table."""
    rows = list(rows)
    names = dict.fromkeys((*RUN_TABLES, *MEASUREMENT_TABLES))
    return {t: pl.concat(r[t] for r in rows if t in r) for t in names if any(t in r for r in rows)}
