"""What is wrong with a store: archives, tables and leftovers, looked at without changing anything."""

from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Literal

import polars as pl

from models.spec import Settings
from services import bundles, measurements, tables
from services.archive import names
from services.mending import BATCH, read_all
from services.schemas import INDICES, OWNERS, SCHEMAS
from services.storage import Storage

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
    counts, damaged = [], []
    for batch in batched(sorted(archives), BATCH):
        found = read_all(storage, folder, batch)
        damaged += [name for name, rows in found.items() if rows is None]
        lengths = [(table, name, len(frame)) for name, rows in found.items() for table, frame in (rows or {}).items()]
        counts.append(pl.DataFrame(lengths, schema=_COUNTS, orient="row"))
    return counts, damaged


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
