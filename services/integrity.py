"""What is wrong with a store: archives, tables, sweeps and leftovers, looked at without changing anything."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import batched
from typing import Literal

import polars as pl

from models.spec.settings import Settings
from services.execution.rung_losses import RUNGS, parse_losses
from services.execution.status import STATE, parse_standing
from services.ledger import file
from services.store import bundles, measurements, pairs, sweep_files, table_files, tables
from services.store.archive import DamagedError, names, unpack_arrays
from services.store.digests import DIGESTS, added, digests
from services.store.objects import Storage
from services.store.recovery import BATCH, INDEX_OF, read_all
from services.store.rows import stacked
from services.store.schemas import INDICES, OWNERS, SCHEMAS

Kind = Literal[
    "table missing or damaged",
    "bundle damaged",
    "measurement damaged",
    "comparison damaged",
    "not in the tables yet",
    "rows missing",
    "rows doubled",
    "rows changed",
    "rows of nothing stored",
    "sweep damaged",
    "checkpoint damaged",
    "ledger damaged",
    "leftover",
    "not covered",
]

REBUILD = "basin store rebuild"
NEXT_COMMAND = "the next command that writes to the store mends it, unless one is at work now"

START_OVER = "nothing: its run starts over when it is fitted"
SAID_ANEW = "nothing: the next command that works on the sweep says it anew"
NEW_LEDGER = "end schedulers and servers, move it away, and add schedules and tokens again: no run is lost"
NO_SEAL = "nothing: an earlier Basin wrote it without a checksum, and nothing is known to be wrong with it"

DAMAGED: Mapping[str, Kind] = {
    bundles.FOLDER: "bundle damaged",
    measurements.FOLDER: "measurement damaged",
    pairs.FOLDER: "comparison damaged",
}
SAID: Mapping[str, Callable[[bytes, str], tuple[object, bool]]] = {STATE: parse_standing, RUNGS: parse_losses}


class Problem(Settings):
    """One thing that is wrong.

    Attributes:
        kind: what is wrong.
        name: of the table, bundle, measurement, sweep, checkpoint or file.
        remedy: what to do about it.
    """

    kind: Kind
    name: str
    remedy: str

    @property
    def harmless(self) -> bool:
        """Whether nothing is known to be wrong: it cannot be told."""
        return self.kind == "not covered"


def check(storage: Storage) -> list[Problem]:
    """Everything that is wrong with a store. Reads all of it.

    Raises:
        StoreError: the store cannot be read, or a bundle is of another version.
    """
    stored = {folder: names(storage, folder) for folder in INDEX_OF}
    found, problems = _digest_tables(storage)
    # Read after the tables, so that whatever is appended meanwhile is not thought to have no owner.
    expected = []
    for folder, archives in stored.items():
        wanted, damaged = _digest_archives(storage, folder, archives)
        expected.append(wanted)
        problems += [Problem(kind=DAMAGED[folder], name=name, remedy=REBUILD) for name in damaged]
        found = found.filter(~pl.col("owner").is_in(damaged))
    readable = set(SCHEMAS) - {problem.name for problem in problems}
    wanted = pl.concat(expected).filter(pl.col("table").is_in(list(readable)))
    now = {folder: names(storage, folder) for folder in INDEX_OF}
    old = found.filter(pl.col("table") == "comparisons", ~pl.col("owner").is_in(now[pairs.FOLDER]))
    problems += _compare(wanted, found.join(old, on=["table", "owner"], how="anti"), set().union(*now.values()))
    if len(old):
        problems.append(Problem(kind="not covered", name=f"{len(old):,} rows of comparisons", remedy=NO_SEAL))
    problems += _check_sweeps(storage)
    problems += _check_said(storage)
    problems += _check_ledger(storage)
    problems += _check_checkpoints(storage)
    problems += _leftovers(storage, stored[bundles.FOLDER])
    return problems


def _digest_tables(storage: Storage) -> tuple[pl.DataFrame, list[Problem]]:
    """What each owner has in each table, and which tables cannot be read."""
    found, problems = [pl.DataFrame(schema=DIGESTS)], []
    for table in OWNERS:
        try:
            found += [digests(table, rows) for rows in table_files.read_all(storage, table)]
        except tables.TableError:
            problems.append(Problem(kind="table missing or damaged", name=table, remedy=REBUILD))
    return added(pl.concat(found)), problems


def _digest_archives(storage: Storage, folder: str, archives: Iterable[str]) -> tuple[pl.DataFrame, list[str]]:
    """What each bundle or measurement has for each table, and which are damaged."""
    wanted, damaged = [pl.DataFrame(schema=DIGESTS)], []
    for batch in batched(sorted(archives), BATCH):
        found = read_all(storage, folder, batch)
        damaged += [name for name, rows in found.items() if rows is None]
        rows = stacked(rows for rows in found.values() if rows is not None)
        wanted += [digests(table, frame) for table, frame in rows.items()]
    return added(pl.concat(wanted)), damaged


def _compare(wanted: pl.DataFrame, found: pl.DataFrame, stored: set[str]) -> Iterator[Problem]:
    """Problems with owners whose rows are not those that each table should have."""
    both = wanted.join(found, on=["table", "owner"], how="full", coalesce=True, suffix="_found")
    n, n_found = pl.col("n").fill_null(0), pl.col("n_found").fill_null(0)
    owners = both.group_by("owner", maintain_order=True).agg(
        unknown=(n == 0).all(),
        doubled=(n_found > n).any(),
        missing=(n_found < n).any(),
        waiting=((n_found < n) & pl.col("table").is_in(INDICES)).any(),
        changed=pl.col("table").filter((n == n_found) & (pl.col("digest") != pl.col("digest_found"))).sort(),
    )
    for owner, unknown, doubled, missing, waiting, changed in owners.sort("owner").iter_rows():
        if unknown:
            if owner not in stored:  # or it was stored while this looked at the tables
                yield Problem(kind="rows of nothing stored", name=owner, remedy=REBUILD)
        elif doubled:
            yield Problem(kind="rows doubled", name=owner, remedy=REBUILD)
        elif waiting:
            yield Problem(kind="not in the tables yet", name=owner, remedy=NEXT_COMMAND)
        elif missing:
            yield Problem(kind="rows missing", name=owner, remedy=REBUILD)
        if changed:
            yield Problem(kind="rows changed", name=f"{', '.join(changed)}: {owner}", remedy=REBUILD)


def _check_sweeps(storage: Storage) -> Iterator[Problem]:
    """Sweeps whose files cannot be read, or are not as they were written."""
    for name in sweep_files.names(storage):
        try:
            *_, sealed = sweep_files.read_checked(storage, name)
        except DamagedError:
            yield Problem(kind="sweep damaged", name=storage.where(sweep_files.FOLDER, name), remedy=sweep_files.REMEDY)
        except FileNotFoundError:  # removed meanwhile
            continue
        else:
            if not sealed:
                yield Problem(kind="not covered", name=storage.where(sweep_files.FOLDER, name), remedy=NO_SEAL)


def _check_said(storage: Storage) -> Iterator[Problem]:
    """Standings and losses at rungs, beside the sweeps, that are not as they were written."""
    for name in storage.names(sweep_files.FOLDER):
        parse = next((parse for end, parse in SAID.items() if name.endswith(end)), None)
        where = storage.where(sweep_files.FOLDER, name)
        with suppress(FileNotFoundError):
            try:
                if parse and not parse(storage.read(sweep_files.FOLDER, name), name)[1]:
                    yield Problem(kind="not covered", name=where, remedy=NO_SEAL)
            except DamagedError:
                yield Problem(kind="sweep damaged", name=where, remedy=SAID_ANEW)


def _check_ledger(storage: Storage) -> Iterator[Problem]:
    """The ledger, where it is a file of the store."""
    path = file.path_in(storage.location)
    if not storage.remote and path.exists() and (what := file.damage(path)):
        yield Problem(kind="ledger damaged", name=f"{path}: {what}", remedy=NEW_LEDGER)


def _check_checkpoints(storage: Storage) -> Iterator[Problem]:
    """Checkpoints that are not as they were written."""
    for name in storage.names("checkpoints"):
        with suppress(FileNotFoundError):  # its run has ended
            try:
                unpack_arrays(storage.read("checkpoints", name), name)
            except (DamagedError, ValueError):
                yield Problem(kind="checkpoint damaged", name=storage.where("checkpoints", name), remedy=START_OVER)


def _leftovers(storage: Storage, stored: set[str]) -> Iterator[Problem]:
    """What killed writers left behind."""
    for path in storage.leftovers(datetime.now(UTC)):
        yield Problem(kind="leftover", name=str(path), remedy=NEXT_COMMAND)
    for name in storage.names("checkpoints"):
        if name.removesuffix(".npz") in stored:
            yield Problem(kind="leftover", name=storage.where("checkpoints", name), remedy=NEXT_COMMAND)
