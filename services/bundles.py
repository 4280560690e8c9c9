"""Bundles: one immutable folder per run, the source of truth that the tables can be rebuilt from.

    run.json          settings, provenance, timings, outcome, and the SHA-256 of every other part
    run.json.sha256   the SHA-256 of run.json, as `sha256sum -c` reads it
    params.npz        point estimates
    predictions.npz   arrays of the test part
    posterior.nc      the posterior, an ArviZ DataTree as netCDF
    tables.parquet    the run's rows for all tables

Parts that would be empty are absent. A bundle is filled aside and renamed, so it is whole or not there, whenever its
writer is killed. A loss of power may harm those that were not yet flushed, and reading finds it out.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import ConfigDict, Field, ValidationError

from models.dataset import Partition
from models.result import RunRequest, RunResult, Status
from models.spec import SCHEMA_VERSION, Learner, Settings
from services.errors import StoreError
from services.files import ASIDE, folder_aside, load_arrays, save_arrays, sha256
from services.provenance import Provenance

MANIFEST = "run.json"
SEAL = "run.json.sha256"
PARAMETERS = "params.npz"
PREDICTIONS = "predictions.npz"
POSTERIOR = "posterior.nc"
ROWS = "tables.parquet"


class DamagedError(StoreError):
    """A bundle that is not as it was written."""


@dataclass(frozen=True)
class Record:
    """One run as it is kept.

    Attributes:
        dataset: the dataset's name.
        sweep: the sweep's name, empty for a run of its own.
        attempt: how often the run failed before.
    """

    request: RunRequest
    result: RunResult
    dataset: str
    sweep: str
    provenance: Provenance
    stored_at: datetime
    attempt: int = 0

    @property
    def name(self) -> str:
        """The bundle's name: the run key, for failures with the attempt, so that a later attempt has room."""
        failed = self.result.status == "failed"
        return f"{self.request.run_key}.failed-{self.attempt}" if failed else self.request.run_key


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
    warnings: tuple[str, ...]
    checksums: dict[str, str] = Field(description="SHA-256 of each other part, by file name")


def write(folder: Path, record: Record, rows: pl.DataFrame) -> bool:
    """Write a run's bundle into `folder`; `rows` are its rows for all tables.

    Returns False, and keeps the first, when the folder has a bundle of this name already.

    Raises:
        StoreError: the disk is full or not writable; nothing is left behind.
    """
    target = folder / record.name
    if target.exists():
        return False
    try:
        with folder_aside(target) as aside:
            _write_parts(aside, record.result, rows)
            text = _manifest(record, {part.name: sha256(part) for part in aside.iterdir()}).model_dump_json(indent=1)
            (aside / MANIFEST).write_text(text, encoding="utf-8")
            (aside / SEAL).write_text(f"{sha256(aside / MANIFEST)}  {MANIFEST}\n", encoding="utf-8")
    except (OSError, pl.exceptions.ComputeError) as error:
        raise StoreError(
            f"cannot keep run {record.name} in {folder}: {error}; free some space or make the folder writable, "
            "then run the command again: finished runs are kept"
        ) from error
    return True


def _write_parts(folder: Path, result: RunResult, rows: pl.DataFrame) -> None:
    rows.write_parquet(folder / ROWS)
    if result.parameters:
        save_arrays(folder / PARAMETERS, result.parameters)
    if result.predictions:
        save_arrays(folder / PREDICTIONS, result.predictions)
    if result.posterior is not None:
        result.posterior.to_netcdf(folder / POSTERIOR, engine="h5netcdf")


def _manifest(record: Record, checksums: dict[str, str]) -> Manifest:
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
        warnings=result.warnings,
        checksums=checksums,
    )


def names(folder: Path) -> Iterator[str]:
    """Names of the bundles in `folder`."""
    return (path.name for path in folder.iterdir() if not path.name.startswith(ASIDE))


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Each part is checked against its checksum before it is read.

    All of its methods raise DamagedError when their part is missing or differs from what was written.
    """

    path: Path
    manifest: Manifest

    def rows(self) -> pl.DataFrame:
        """The run's rows for all tables, as `services.rows.join` made them."""
        return pl.read_parquet(self._checked(ROWS))

    def parameters(self) -> dict[str, np.ndarray]:
        """Point estimates by name; empty where there are none."""
        return load_arrays(self._checked(PARAMETERS)) if PARAMETERS in self.manifest.checksums else {}

    def predictions(self) -> dict[str, np.ndarray]:
        """Arrays of the test part by name; empty where there are none."""
        return load_arrays(self._checked(PREDICTIONS)) if PREDICTIONS in self.manifest.checksums else {}

    def posterior(self) -> Any | None:
        """The posterior as an xarray DataTree in ArviZ's layout, read into memory; None where there is none."""
        if POSTERIOR not in self.manifest.checksums:
            return None
        import xarray

        return xarray.load_datatree(self._checked(POSTERIOR), engine="h5netcdf")

    def verify(self) -> None:
        """Check every part."""
        for part in self.manifest.checksums:
            self._checked(part)

    def _checked(self, part: str) -> Path:
        path = self.path / part
        if not path.is_file():
            raise _damaged(self.path, f"{part} is missing")
        if sha256(path) != self.manifest.checksums[part]:
            raise _damaged(self.path, f"{part} is not as it was written")
        return path


def read(path: Path) -> Bundle:
    """Open the bundle in the folder `path` and check its run.json.

    Raises:
        DamagedError: it is not as it was written.
        StoreError: there is none, or it is of another version.
    """
    if not path.is_dir():
        raise StoreError(f"no bundle {path.name} in {path.parent}: its run was not stored, or the bundle was deleted")
    try:
        text, seal = (path / MANIFEST).read_bytes(), (path / SEAL).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if hashlib.sha256(text).hexdigest() != seal.partition(" ")[0]:
        raise _damaged(path, f"{MANIFEST} is not as it was written")
    try:
        return Bundle(path, Manifest.model_validate_json(text))
    except ValidationError as error:
        raise StoreError(
            f"bundle {path} was written by another version of Basin ({error.error_count()} keys differ): "
            "use that version, or another store"
        ) from error


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"bundle {path} is damaged ({what}): `basin store rebuild` sets it aside, and its run is fitted again"
    )
