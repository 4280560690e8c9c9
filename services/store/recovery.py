"""What killed writers left without rows in the tables, found and appended; what is damaged, set aside."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import batched

from services.store import bundles, measurements, pairs, tables
from services.store.archive import DamagedError, object_name
from services.store.commits import Committer
from services.store.objects import Storage
from services.store.rows import Rows, rows_of_bundle, split, stacked
from services.store.schemas import OWNERS

READERS = 16
BATCH = 500
INDEX_OF = {measurements.FOLDER: "measurements", bundles.FOLDER: "runs", pairs.FOLDER: "comparisons"}


@dataclass
class Mended:
    """What was done.

    Attributes:
        runs: how many runs were appended.
        set_aside: names of bundles, measurements and comparisons that were moved to `damaged/`.
    """

    runs: int = 0
    set_aside: list[str] = field(default_factory=list)


def append_missing(storage: Storage, committer: Committer, stored: Mapping[str, set[str]]) -> Mended:
    """Append the rows of those archives that their index lacks, and set damaged ones aside.

    Args:
        storage: of the store.
        committer: appends to its tables.
        stored: names of bundles, measurements and comparisons, by folder.

    Raises:
        StoreError: the store cannot be written to, or a bundle is of another version.
    """
    mended = Mended()
    for folder, index in INDEX_OF.items():
        known = tables.collect(storage, index, [OWNERS[index]])[OWNERS[index]]
        for batch in batched(sorted(stored[folder] - set(known)), BATCH):
            found = read_all(storage, folder, batch)
            for name in (name for name, rows in found.items() if rows is None):
                _set_aside(storage, committer, folder, name)
                mended.set_aside.append(name)
            whole = [rows for rows in found.values() if rows is not None]
            committer.append_missing(stacked(whole))
            mended.runs += len(whole) if folder == bundles.FOLDER else 0
    return mended


def read_all(storage: Storage, folder: str, wanted: tuple[str, ...]) -> dict[str, Rows | None]:
    """Rows of bundles, measurements or comparisons by name; None for damaged ones, none for those that are gone.

    Raises:
        StoreError: a bundle is of another version.
    """

    def read(name: str) -> Rows | None:
        try:
            if folder == measurements.FOLDER:
                return split(measurements.read(storage, name))
            if folder == pairs.FOLDER:
                return {INDEX_OF[folder]: pairs.read(storage, name)}
            return rows_of_bundle(bundles.read(storage, name))
        except DamagedError:
            return None
        except FileNotFoundError:  # another writer set it aside
            return {}

    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(wanted, pool.map(read, wanted), strict=True))


def _set_aside(storage: Storage, committer: Committer, folder: str, name: str) -> None:
    """Make room for a run, or measurement, to be put again: none of its rows may stay."""
    committer.delete(name)
    storage.move(folder, object_name(name), "damaged")
