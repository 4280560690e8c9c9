"""Measurements: what was measured at a stored run, one immutable folder each, as the tables can be rebuilt from it.

rows.parquet          rows for all tables
rows.parquet.sha256   their SHA-256, as `sha256sum -c` reads it
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from models.result import Measurement
from services.bundles import DamagedError
from services.errors import StoreError
from services.files import folder_aside, sha256
from services.provenance import Provenance

ROWS = "rows.parquet"
SEAL = "rows.parquet.sha256"


@dataclass(frozen=True)
class MeasurementRecord:
    """A measurement as it is kept.

    Attributes:
        sweep: the name under which it was asked for.
    """

    measurement: Measurement
    sweep: str
    provenance: Provenance
    stored_at: datetime


def write(folder: Path, key: str, rows: pl.DataFrame) -> bool:
    """Write a measurement into `folder`; `rows` are its rows for all tables, as `services.rows.join` makes them.

    Returns False, and keeps the first, when there is one of this key already.

    Raises:
        StoreError: the disk is full or not writable; nothing is left behind.
    """
    target = folder / key
    if target.exists():
        return False
    try:
        with folder_aside(target) as aside:
            rows.write_parquet(aside / ROWS)
            (aside / SEAL).write_text(f"{sha256(aside / ROWS)}  {ROWS}\n", encoding="utf-8")
    except (OSError, pl.exceptions.ComputeError) as error:
        raise StoreError(
            f"cannot keep measurement {key} in {folder}: {error}; free some space or make the folder writable, "
            "then run the command again: what is measured is kept"
        ) from error
    return True


def read(path: Path) -> pl.DataFrame:
    """The rows of the measurement in the folder `path`.

    Raises:
        DamagedError: it is not as it was written.
    """
    try:
        seal = (path / SEAL).read_text(encoding="utf-8")
        if sha256(path / ROWS) == seal.partition(" ")[0]:
            return pl.read_parquet(path / ROWS)
        what = f"{ROWS} is not as it was written"
    except (OSError, UnicodeDecodeError, pl.exceptions.ComputeError) as error:
        what = str(error)
    raise DamagedError(
        f"measurement {path} is damaged ({what}): `basin store rebuild` sets it aside, and it is measured again"
    )
