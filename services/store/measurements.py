"""Measurements: what was measured at a stored run, one immutable archive each, as the tables can be rebuilt from it.

tables.arrows   rows for all tables, an Arrow IPC stream
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from models.runs.result import Measurement
from services.provenance import Provenance
from services.store import archive
from services.store.archive import pack_rows, unpack_rows
from services.store.objects import Storage

FOLDER = "measurements"
ROWS = "tables.arrows"


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


def write(storage: Storage, key: str, rows: pl.DataFrame) -> bool:
    """Put a measurement into the store; `rows` are its rows for all tables, as `services.store.rows.join` makes them.

    Returns False, and keeps the first, when there is one of this key already.

    Raises:
        StoreError: the store cannot be written to; nothing is left behind.
    """
    return archive.create(storage, FOLDER, key, {ROWS: pack_rows(rows)})


def read(storage: Storage, key: str) -> pl.DataFrame:
    """The rows of the measurement of this key.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
    """
    return unpack_rows(archive.read(storage, FOLDER, key).read(ROWS))
