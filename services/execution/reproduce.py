"""A stored run fitted again, and held against what is stored of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cluster.executor import InProcessExecutor
from cluster.packing import Item
from cluster.resources import Resources
from models.data.dataset import DataError, Dataset
from models.fitting.dispatch import cost, program_key
from models.runs.result import RunRequest
from services.datasets.registry import load
from services.errors import ServiceError
from services.execution.runner import run
from services.store.archive import DamagedError
from services.store.bundles import Bundle, Manifest
from services.store.rows import rows_of_bundle
from services.store.store import Store
from services.store.writer import Writer
from services.sweeps.definition import parse_sweep

# What is of the time and the place, not of the run.
_PASSING = (
    *("bundle", "attempt", "stored_at", "sweep", "dataset", "wall_seconds", "compile_seconds", "device_seconds"),
    *("device", "git_commit", "git_dirty", "python", "versions"),
)


class Difference(NamedTuple):
    """A column of a table whose values differ.

    Attributes:
        rows: in how many rows.
        largest: absolute difference of two numbers; None where they are no numbers.
    """

    table: str
    column: str
    rows: int
    largest: float | None


class Reproduced(NamedTuple):
    """A run as it is stored, and as it came out again."""

    stored: Bundle
    again: Bundle
    differences: tuple[Difference, ...]


def reproduce(store: Store, run_key: str, writer: Writer, cache: Path) -> Reproduced:
    """Fit a stored run again in this process, and compare every number that the tables have of it.

    Args:
        store: that has the run, and a sweep that it is of, which says where its data are.
        run_key: of the run.
        writer: another store, for the run as it comes out.
        cache: folder of data that were fetched.

    Raises:
        NotStoredError: the run is not stored, or never came to an end.
        DataError: its data cannot be read any more, or are not what they were.
        ServiceError: no sweep of the store says where its data are, or the run failed this time.
        StoreError: a store cannot be read, or written to.
    """
    stored = store.bundle(run_key)
    manifest = stored.manifest
    dataset = _dataset(store, manifest, cache)
    request = RunRequest(manifest.learner, manifest.partition, manifest.seed, manifest.fingerprint)
    item = Item(
        run_key,
        request,
        program_key(request, dataset),
        dataset.fingerprint,
        cost(request, dataset),
        Resources(),
    )
    with InProcessExecutor() as executor:
        outcome = run([item], {dataset.fingerprint: dataset}, writer, executor, sweep=manifest.sweep)
    if outcome.failed:
        raise ServiceError(f"run {run_key} failed this time: {outcome.failed[run_key]}")
    again = writer.bundle(run_key)
    return Reproduced(stored, again, tuple(_differences(stored, again)))


def _dataset(store: Store, manifest: Manifest, cache: Path) -> Dataset:
    """The run's dataset, by the sweeps that it is of."""
    changed = False
    for name in dict.fromkeys([manifest.sweep, *store.sweeps()]):
        if name not in store.sweeps():
            continue
        try:
            definition, members = store.sweep(name)
        except DamagedError:  # another may have the run, too
            continue
        if manifest.run_key not in members["run_key"]:
            continue
        for data in parse_sweep(json.loads(definition), f"sweep {name!r}").datasets:
            dataset = load(data.data, cache=cache, target=data.target, task=data.task, reading=data)
            if dataset.fingerprint == manifest.fingerprint:
                return dataset
        changed = True
    if changed:
        raise DataError(
            f"the data of run {manifest.run_key}, {manifest.dataset!r}, changed since it was fitted: put them back as "
            "they were"
        )
    raise ServiceError(
        f"no sweep of {store.location} has run {manifest.run_key}, so nothing says where {manifest.dataset!r} is"
    )


def _differences(stored: Bundle, again: Bundle) -> Iterator[Difference]:
    ours, theirs = rows_of_bundle(stored), rows_of_bundle(again)
    for table in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(table, pl.DataFrame()), theirs.get(table, pl.DataFrame())
        if len(a) != len(b):
            yield Difference(table, "rows", abs(len(a) - len(b)), None)
            continue
        for name in a.columns:
            differ = ~a[name].eq_missing(b[name])
            if name not in _PASSING and differ.any():
                yield Difference(table, name, int(differ.sum()), _largest(a[name], b[name]))


def _largest(a: pl.Series, b: pl.Series) -> float | None:
    if not a.dtype.is_numeric():
        return None
    largest: Any = (a - b).abs().drop_nans().max()
    return largest
