"""Bundles: one immutable archive per run, the source of truth that the tables can be rebuilt from.

    run.json          settings, provenance, timings and outcome
    params.npz        point estimates
    predictions.npz   arrays of the test part
    posterior.nc      the posterior, an ArviZ DataTree as netCDF
    tables.arrows     the run's rows for all tables but `runs`, whose row is in run.json; an Arrow IPC stream

Parts that would be empty are absent. A bundle is one object, so it is whole or not there, whenever its writer is
killed. What a loss of power or a failing disk does to it is found when it is read.
"""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from pydantic import ConfigDict, ValidationError

from models.data.dataset import Partition
from models.runs.result import RunRequest, RunResult, Status
from models.spec.learner import Learner
from models.spec.settings import SCHEMA_VERSION, Settings
from services.errors import StoreError
from services.provenance import Provenance
from services.store import archive
from services.store.archive import Archive, pack_arrays, pack_rows, unpack_arrays, unpack_rows
from services.store.objects import Storage

FOLDER = "bundles"
REPLACEABLE = ("failed", "stopped")  # a later attempt takes their place
MANIFEST = "run.json"
PARAMETERS = "params.npz"
PREDICTIONS = "predictions.npz"
POSTERIOR = "posterior.nc"
ROWS = "tables.arrows"


@dataclass(frozen=True)
class Record:
    """One run as it is kept.

    Attributes:
        dataset: the dataset's name.
        sweep: the sweep's name, empty for a run of its own.
        attempt: how often the run failed, or was stopped early, before.
    """

    request: RunRequest
    result: RunResult
    dataset: str
    sweep: str
    provenance: Provenance
    stored_at: datetime
    attempt: int = 0


class Manifest(Settings):
    """What `run.json` says. Infinities and NaN are written as strings, for JSON has none."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    schema_version: int
    run_key: str
    status: Status
    error: str | None
    attempt: int
    stored_at: datetime
    dataset: str
    sweep: str
    learner: Learner
    partition: Partition
    seed: int
    fingerprint: str
    provenance: Provenance
    n_parameters: int
    wall_seconds: float
    compile_seconds: float
    device_seconds: float
    device: str
    summary: dict[str, float] | None
    improper: str | None
    warnings: tuple[str, ...]

    @property
    def bundle(self) -> str:
        """The bundle's name: the run key, for what a later attempt replaces with its number, so that it has room."""
        return f"{self.run_key}.{self.status}-{self.attempt}" if self.status in REPLACEABLE else self.run_key


def manifest_of(record: Record) -> Manifest:
    """What a run's bundle says of it."""
    request, result = record.request, record.result
    return Manifest(
        schema_version=SCHEMA_VERSION,
        run_key=request.run_key,
        status=result.status,
        error=result.error,
        attempt=record.attempt,
        stored_at=record.stored_at.astimezone(UTC),
        dataset=record.dataset,
        sweep=record.sweep,
        learner=request.learner,
        partition=request.partition,
        seed=request.seed,
        fingerprint=request.fingerprint,
        provenance=record.provenance,
        n_parameters=result.n_parameters,
        wall_seconds=result.seconds.wall,
        compile_seconds=result.seconds.compile,
        device_seconds=result.seconds.device,
        device=result.device,
        summary=None if result.summary is None else {name: float(value) for name, value in result.summary.items()},
        improper=result.improper,
        warnings=result.warnings,
    )


def write(storage: Storage, manifest: Manifest, result: RunResult, rows: pl.DataFrame) -> bool:
    """Put a run's bundle into the store, with its rows for all tables but `runs`, as `services.store.rows.join`
    makes them.

    Returns False, and keeps the first, when there is a bundle of this name already.

    Raises:
        StoreError: the store cannot be written to; nothing is left behind.
        ValueError: the result has an array of Python objects.
    """
    parts: dict[str, bytes | memoryview] = {MANIFEST: manifest.model_dump_json(indent=1).encode()}
    if result.parameters:
        parts[PARAMETERS] = pack_arrays(result.parameters)
    if result.predictions:
        parts[PREDICTIONS] = pack_arrays(result.predictions)
    if result.posterior is not None:
        parts[POSTERIOR] = result.posterior.to_netcdf(engine="h5netcdf")
    if len(rows):
        parts[ROWS] = pack_rows(rows)
    return archive.create(storage, FOLDER, manifest.bundle, parts)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and found whole."""

    _archive: Archive
    manifest: Manifest

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what it has."""
        return tuple(self._archive.names)

    def rows(self) -> pl.DataFrame:
        """The run's rows for all tables but `runs`, as `services.store.rows.join` made them."""
        if ROWS not in self._archive:
            return pl.DataFrame(schema={"table": pl.String})
        return unpack_rows(self._archive.read(ROWS))

    def parameters(self) -> dict[str, np.ndarray]:
        """Point estimates by name; empty where there are none."""
        return self._arrays(PARAMETERS)

    def predictions(self) -> dict[str, np.ndarray]:
        """Arrays of the test part by name; empty where there are none."""
        return self._arrays(PREDICTIONS)

    def posterior(self) -> Any | None:
        """The posterior as an xarray DataTree in ArviZ's layout, read into memory; None where there is none."""
        if POSTERIOR not in self._archive:
            return None
        import xarray

        return xarray.load_datatree(io.BytesIO(self._archive.read(POSTERIOR)), engine="h5netcdf")

    def _arrays(self, part: str) -> dict[str, np.ndarray]:
        return unpack_arrays(self._archive.read(part), self._archive.where) if part in self._archive else {}


def read(storage: Storage, name: str) -> Bundle:
    """Read the bundle of this name, and check all of it.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
        StoreError: it is of another version.
    """
    found = archive.read(storage, FOLDER, name)
    try:
        return Bundle(found, Manifest.model_validate_json(found.read(MANIFEST)))
    except ValidationError as error:
        raise StoreError(
            f"bundle {found.where} was written by another version of Basin ({error.error_count()} keys differ): "
            "use that version, or another store"
        ) from error
