"""What is wrong with a store: archives, tables and leftovers, looked at without changing anything."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import polars as pl

from models.spec import Settings
from services import bundles, measurements, tables
from services.archive import DamagedError, names
from services.rows import rows_of_bundle, split
from services.schemas import INDICES, OWNERS, SCHEMAS
from services.storage import Storage
from services.store import READERS

Kind = Literal[
    "table missing or damaged",
    "bundle damaged",
    "measurement damaged",
    "not in the tables yet",
    "rows missing",
    "rows doubled",
    "rows of nothing stored",
    "leftover",
]

REBUILD = "basin store rebuild"
NEXT_COMMAND = "the next command that writes to the store mends it, unless one is at work now"

_COUNTS = pl.Schema({"table": pl.String, "owner": pl.String, "n": pl.UInt32})


class Problem(Settings):
    """One thing that is wrong.

    Attributes:
        kind: what is wrong.
        name: of the table, bundle, measurement, checkpoint or file.
        remedy: what to do about it.
    """

    kind: Kind
    name: str
    remedy: str


def check(storage: Storage) -> list[Problem]:
    """Everything that is wrong with a store. Reads all of its bundles and measurements.

    Raises:
        StoreError: the store cannot be read, or a bundle is of another version.
    """
    stored = {folder: names(storage, folder) for folder in (measurements.FOLDER, bundles.FOLDER)}
    found, problems = _count_tables(storage)
    # Read after the tables, so that whatever is appended meanwhile is not thought to have no owner.
    expected = []
    for folder, archives in stored.items():
        counts, damaged = _count_archives(storage, folder, archives)
        expected += counts
        problems += [Problem(kind=_damaged(folder), name=name, remedy=REBUILD) for name in damaged]
        found = found.filter(~pl.col("owner").is_in(damaged))
    readable = set(SCHEMAS) - {problem.name for problem in problems}
    wanted = pl.concat([pl.DataFrame(schema=_COUNTS), *expected]).filter(pl.col("table").is_in(list(readable)))
    problems += _compare(wanted, found, names(storage, bundles.FOLDER) | names(storage, measurements.FOLDER))
    problems += _leftovers(storage, stored[bundles.FOLDER])
    return problems


def _count_tables(storage: Storage) -> tuple[pl.DataFrame, list[Problem]]:
    """How many rows each owner has in each table, and which tables cannot be read."""
    counts, problems = [pl.DataFrame(schema=_COUNTS)], []
    for table, owner in OWNERS.items():
        try:
            found = tables.evaluate(
                storage, table, tables.scan(storage, table).group_by(pl.col(owner).alias("owner")).agg(n=pl.len())
            )
        except tables.TableError:
            problems.append(Problem(kind="table missing or damaged", name=table, remedy=REBUILD))
        else:
            if table != "comparisons":  # nothing to compare them with
                counts.append(found.select(pl.lit(table).alias("table"), "owner", pl.col("n").cast(pl.UInt32)))
    return pl.concat(counts), problems


def _count_archives(storage: Storage, folder: str, archives: Iterable[str]) -> tuple[list[pl.DataFrame], list[str]]:
    """How many rows each bundle or measurement has for each table, and which are damaged."""

    def count(name: str) -> pl.DataFrame | None:
        try:
            if folder == bundles.FOLDER:
                rows = rows_of_bundle(bundles.read(storage, name))
            else:
                rows = split(measurements.read(storage, name))
        except DamagedError:
            return None
        except FileNotFoundError:  # set aside meanwhile
            return pl.DataFrame(schema=_COUNTS)
        return pl.DataFrame([(table, name, len(frame)) for table, frame in rows.items()], schema=_COUNTS, orient="row")

    archives = sorted(archives)
    with ThreadPoolExecutor(READERS) as pool:
        counts = dict(zip(archives, pool.map(count, archives), strict=True))
    return [c for c in counts.values() if c is not None], [name for name, c in counts.items() if c is None]


def _compare(wanted: pl.DataFrame, found: pl.DataFrame, stored: set[str]) -> Iterator[Problem]:
    """Problems with owners whose rows are not as many in each table as they should be."""
    both = wanted.join(found, on=["table", "owner"], how="full", coalesce=True, suffix="_found")
    n, n_found = pl.col("n").fill_null(0), pl.col("n_found").fill_null(0)
    owners = both.group_by("owner", maintain_order=True).agg(
        unknown=(n == 0).all(),
        doubled=(n_found > n).any(),
        missing=(n_found < n).any(),
        waiting=((n_found < n) & pl.col("table").is_in(INDICES)).any(),
    )
    for owner, unknown, doubled, missing, waiting in owners.sort("owner").iter_rows():
        if unknown:
            if owner not in stored:  # or it was stored while this looked at the tables
                yield Problem(kind="rows of nothing stored", name=owner, remedy=REBUILD)
        elif doubled:
            yield Problem(kind="rows doubled", name=owner, remedy=REBUILD)
        elif waiting:
            yield Problem(kind="not in the tables yet", name=owner, remedy=NEXT_COMMAND)
        elif missing:
            yield Problem(kind="rows missing", name=owner, remedy=REBUILD)


def _leftovers(storage: Storage, stored: set[str]) -> Iterator[Problem]:
    """What killed writers left behind."""
    for path in storage.leftovers():
        yield Problem(kind="leftover", name=str(path), remedy=NEXT_COMMAND)
    for name in storage.names("checkpoints"):
        if name.removesuffix(".npz") in stored:
            yield Problem(kind="leftover", name=storage.where("checkpoints", name), remedy=NEXT_COMMAND)


def _damaged(folder: str) -> Kind:
    return "bundle damaged" if folder == bundles.FOLDER else "measurement damaged"
