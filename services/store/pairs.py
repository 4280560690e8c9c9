"""Compared pairs of learners: one immutable archive each, as the table `comparisons` can be rebuilt from them.

row.arrows   the pair's row, an Arrow IPC stream
"""

from concurrent.futures import ThreadPoolExecutor

import polars as pl

from services.store import archive
from services.store.archive import object_name, pack_rows, unpack_rows
from services.store.objects import Storage

FOLDER = "comparisons"
ROW = "row.arrows"

_AT_ONCE = 16  # small objects, that object storage takes a while for each


def write(storage: Storage, rows: pl.DataFrame) -> pl.DataFrame:
    """Put pairs into the store, which then survive a loss of power. Returns the rows of those that were not there yet.

    Raises:
        StoreError: the store cannot be written to.
    """

    def put(row: pl.DataFrame) -> bool:
        return archive.create(storage, FOLDER, row["comparison_key"].item(), {ROW: pack_rows(row)})

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        new = rows.filter(list(pool.map(put, rows.iter_slices(1))))
    storage.flush(FOLDER, map(object_name, new["comparison_key"]))
    return new


def read(storage: Storage, key: str) -> pl.DataFrame:
    """The row of the pair of this key.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
    """
    return unpack_rows(archive.read(storage, FOLDER, key).read(ROW))
