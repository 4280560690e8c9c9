"""Writing to a store: runs and measurements, their bundles first, their rows in batches."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from services.store import bundles, measurements, pairs, recovery, sweep_files, tables
from services.store.archive import DamagedError, names, object_name, pack_arrays, unpack_arrays
from services.store.bundles import REPLACEABLE, Manifest, Record, manifest_of
from services.store.commits import Committer
from services.store.location import make
from services.store.measurements import MeasurementRecord
from services.store.objects import Storage
from services.store.rows import Rows, join, rows_of_measurement, rows_of_result, run_rows, stacked
from services.store.schemas import MEASUREMENT_TABLES, RUN_TABLES
from services.store.store import Store

BATCH = 100
BATCH_SECONDS = 5.0


class Pending(NamedTuple):
    """What was put, and whose rows wait for the next commit. Manifests of runs become rows of `runs` there."""

    folder: str
    name: str
    rows: Rows
    run: Manifest | None = None


class Writer(Store):
    """One of the processes that write. Made by `writing`; one thread may use it.

    Attributes:
        set_aside: names of damaged bundles, measurements and comparisons that this writer moved to `damaged/`; their
            runs will be fitted, measured or compared again.
    """

    def __init__(self, location: str | Path, *, rebuilding: bool = False) -> None:
        super().__init__(location)
        self.set_aside: list[str] = []
        self._pending: list[Pending] = []
        self._pending_since = 0.0
        self._failures: Counter[str] = Counter()
        self._checkpoints = {name.removesuffix(".npz") for name in self.storage.names("checkpoints")}
        self.storage.remove_leftovers()
        if not rebuilding:
            self._committer = Committer(self.storage)
            self._reconcile()

    def put(self, record: Record) -> bool:
        """Keep a run: when this returns, it survives a kill. Its rows follow with the next commit.

        Returns False, and keeps the first, when the run is stored already. A run that failed, or was stopped early, is
        kept as one more attempt at it.

        Raises:
            StoreError: the store cannot be written to.
        """
        result, run_key = record.result, record.request.run_key
        failed = result.status in REPLACEABLE
        if failed and self.storage.exists(bundles.FOLDER, object_name(run_key)):
            return False
        rows = rows_of_result(result)
        joined = join(rows)
        self._begin()
        while True:
            run = manifest_of(replace(record, attempt=self._failures[run_key]))
            if bundles.write(self.storage, run, result, joined):
                break
            if not failed:
                return False
            self._failures[run_key] += 1  # another writer's
        self._failures[run_key] += failed
        self._wait_for_commit(Pending(bundles.FOLDER, run.bundle, rows, run))
        self.remove_checkpoint(run_key)
        return True

    def put_measurement(self, record: MeasurementRecord) -> bool:
        """Keep what was measured at a stored run, as `put` keeps a run. Returns False when it is stored already.

        Raises:
            StoreError: the store cannot be written to.
        """
        key, rows = record.measurement.key, rows_of_measurement(record)
        self._begin()
        if not measurements.write(self.storage, key, join(rows)):
            return False
        self._wait_for_commit(Pending(measurements.FOLDER, key, rows))
        return True

    def put_sweep(self, name: str, definition: str, members: pl.DataFrame) -> None:
        """Keep what a sweep asks for: its definition as JSON text, and one row for each of its runs.

        It replaces what was asked for under this name before.

        Raises:
            StoreError: the store cannot be written to.
        """
        sweep_files.write(self.storage, name, definition, members)

    def _begin(self) -> None:
        """Before the first of a batch is put: whatever the tables hold now, it is not of this batch."""
        if not self._pending:
            self._committer.look()

    def _wait_for_commit(self, pending: Pending) -> None:
        self._pending_since = self._pending_since if self._pending else time.monotonic()
        self._pending.append(pending)
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit when a batch is full, or its first run has waited for `BATCH_SECONDS`."""
        waited = time.monotonic() - self._pending_since
        if len(self._pending) >= BATCH or (self._pending and waited >= BATCH_SECONDS):
            self.commit()

    def commit(self) -> None:
        """Flush what was put since the last commit to the disk, and append its rows to the tables.

        Raises:
            StoreError: the store cannot be written to; the next commit, or the next writer, tries again.
        """
        if not self._pending:
            return
        for folder in (bundles.FOLDER, measurements.FOLDER):
            self.storage.flush(folder, [object_name(p.name) for p in self._pending if p.folder == folder])
        rows = stacked(p.rows for p in self._pending)
        if runs := [p.run for p in self._pending if p.run is not None]:
            rows["runs"] = run_rows(runs)
        self._committer.append(rows)
        self._pending.clear()

    def put_comparisons(self, rows: pl.DataFrame) -> None:
        """Append to the table `comparisons` those rows whose `comparison_key` it does not have.

        Raises:
            StoreError: the store cannot be written to.
        """
        known = tables.collect(self.storage, "comparisons", ["comparison_key"])
        if len(unknown := rows.join(known, on="comparison_key", how="anti", maintain_order="left")):
            self._committer.append_missing({"comparisons": pairs.write(self.storage, unknown)})

    def rebuild(self) -> int:
        """Make the tables again from bundles and measurements, and set damaged ones aside.

        Rows of `comparisons` without an archive, of earlier versions, are kept where they can be read. Returns the
        number of runs that are in the tables again.

        Raises:
            StoreError: the store cannot be written to, or a bundle is of another version.
        """
        self.commit()
        tables.mend(self.storage)
        self._committer = Committer(self.storage)
        # The indices first: what they lack is appended by the next writer.
        self._committer.delete_all("comparisons", names(self.storage, pairs.FOLDER))
        self._committer.clear(dict.fromkeys(("runs", "measurements", *RUN_TABLES, *MEASUREMENT_TABLES)))
        return self._reconcile()

    def save_checkpoint(self, run_key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the run's checkpoint.

        Raises:
            StoreError: the store cannot be written to; the last checkpoint is still there.
        """
        self.storage.replace("checkpoints", f"{run_key}.npz", pack_arrays(arrays))
        self._checkpoints.add(run_key)

    def checkpoints(self) -> set[str]:
        """Keys of the runs that had a checkpoint when the store was opened, or got one from this writer."""
        return set(self._checkpoints)

    def load_checkpoint(self, run_key: str) -> dict[str, np.ndarray] | None:
        """The run's last checkpoint; None where there is none or it is damaged, for the run can start over."""
        try:
            return unpack_arrays(self.storage.read("checkpoints", f"{run_key}.npz"), run_key)
        except (FileNotFoundError, DamagedError):
            return None

    def remove_checkpoint(self, run_key: str) -> None:
        """Forget the run's checkpoint, if it has one that this writer knows of."""
        if run_key in self._checkpoints:
            self.storage.remove("checkpoints", f"{run_key}.npz")
            self._checkpoints.remove(run_key)

    def _reconcile(self) -> int:
        """Append the rows of what the indices lack. Returns the number of runs, less those set aside."""
        stored = {folder: names(self.storage, folder) for folder in recovery.INDEX_OF}
        runs = stored[bundles.FOLDER]
        self._failures = Counter(name.partition(".")[0] for name in runs if "." in name)
        for run_key in self._checkpoints & runs:
            self.remove_checkpoint(run_key)
        found = recovery.append_missing(self.storage, self._committer, stored)
        self.set_aside += found.set_aside
        return found.runs


@contextmanager
def writing(location: str | Path, *, rebuilding: bool = False) -> Iterator[Writer]:
    """Open the store at a location for writing, and make it where it is missing. Commits when the block ends.

    Args:
        location: a path, or `s3://bucket/prefix`.
        rebuilding: for `Writer.rebuild`, before anything else: do not look at the tables, which may be missing.

    Raises:
        StoreError: it is no place for a store, it cannot be written to, holds other files or a store of another schema
            version, or one with a table missing.
    """
    make(Storage(location))
    writer = Writer(location, rebuilding=rebuilding)
    try:
        yield writer
    finally:
        writer.commit()
