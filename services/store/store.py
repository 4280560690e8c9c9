"""The store: bundles and tables at one location, many readers, several writers at once.

    store.json     schema version
    ledger/        of schedules, on a local path; it may be there before anything is stored
    bundles/       one archive per run, written first
    measurements/  one archive for each time that a stored run was measured, likewise
    comparisons/   one archive for each compared pair of learners, likewise
    tables/        Delta tables, appended to in batches after
    sweeps/        what each sweep asked for, and its runs
    checkpoints/   of runs that are not finished
    damaged/       archives set aside because they are not as they were written

A run is stored as soon as its bundle is there, and who put the bundle appends its rows. Whatever a killed writer left
half-done, the next one mends when it opens the store: leftovers are removed, and rows of bundles that the tables lack
are appended. Bundles that a loss of power harmed before their commit are set aside, and their runs are fitted again.
So with measurements and comparisons.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from models.spelling import did_you_mean
from services.errors import NotStoredError
from services.store import bundles, sweep_files, tables
from services.store.bundles import Bundle
from services.store.location import check_version
from services.store.objects import Storage


class Store:
    """A store to read from. Reads see what was committed, and wait for nobody.

    Attributes:
        location: a path, or `s3://bucket/prefix`.
        storage: the objects there.
    """

    def __init__(self, location: str | Path, patience: float | None = None) -> None:
        """Open the store at a location.

        Args:
            location: a path, or `s3://bucket/prefix`.
            patience: for how many seconds a server that is away is waited for; as `services.store.objects` has it.

        Raises:
            StoreError: there is none, or one of another schema version, or it cannot be read.
        """
        self.storage = Storage(location, patience)
        self.location = self.storage.location
        check_version(self.storage)

    def scan(self, table: str) -> pl.LazyFrame:
        """One of the tables of `services.store.schemas.SCHEMAS`, with every attempt at a run."""
        return tables.scan(self.storage, table)

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The answer of a query to the tables.

        Raises:
            TableError: one is damaged.
            StoreError: the store cannot be read.
        """
        return tables.evaluate(self.storage, None, query)

    def runs(self) -> pl.LazyFrame:
        """The table `runs` with one row for each run: its last attempt."""
        return tables.latest(self.scan("runs"))

    def fitted(self) -> pl.LazyFrame:
        """Those of `runs` that are finished or diverged. They are faster to find than with the others."""
        return tables.fitted(self.scan("runs"))

    def stored(self, run_keys: Iterable[str]) -> set[str]:
        """Those of the runs that need no fit: finished or diverged. Others are tried again by a later command."""
        found = tables.evaluate(self.storage, "runs", self.fitted().select("run_key"))
        return set(run_keys) & set(found["run_key"])

    def measured(self) -> pl.LazyFrame:
        """What needs no measuring: run_key, draw, measure and settings, as text, of all rows but failed ones."""
        done = self.scan("geometry").filter(pl.col("status") != "failed")
        return done.select("run_key", "draw", "measure", "settings").unique()

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were asked for."""
        return sweep_files.names(self.storage)

    def sweep(self, name: str) -> tuple[str, pl.DataFrame]:
        """What the sweep asked for last, as it was given to `put_sweep`.

        Raises:
            NotStoredError: there is none of this name.
            DamagedError: it is not as it was written.
        """
        with self._named(name):
            return sweep_files.read(self.storage, name)

    def definition(self, name: str) -> str:
        """What `sweep` returns first; it takes a hundredth of the time, where a sweep has many runs.

        Raises:
            NotStoredError: there is none of this name.
            DamagedError: it is not as it was written.
        """
        with self._named(name):
            return sweep_files.read_definition(self.storage, name)

    def sweep_digest(self, name: str) -> str:
        """Tells what the sweep asks for from what it asked for before.

        Raises:
            NotStoredError: there is none of this name.
        """
        with self._named(name):
            return hashlib.sha256(sweep_files.read_bytes(self.storage, name)).hexdigest()

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            hint = did_you_mean(name, self.sweeps(), "`basin sweep list` lists them")
            raise NotStoredError(f"no sweep {name!r}", self.location, hint) from None

    def bundle(self, run_key: str) -> Bundle:
        """The bundle of a stored run.

        Raises:
            NotStoredError: the run is not stored.
            StoreError: its bundle is damaged.
        """
        try:
            return bundles.read(self.storage, run_key)
        except FileNotFoundError:
            remedy = "its run was not stored, or the bundle was deleted"
            raise NotStoredError(f"no bundle {run_key}", self.location, remedy) from None
