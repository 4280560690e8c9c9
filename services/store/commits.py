"""Rows appended to the tables exactly once, with several writers at work and any of them killed.

Each owner of rows, a bundle or a measurement, is put by one writer, which appends its rows. When that one is killed
before, the next to open the store does so, and cannot know that it is dead. So nobody trusts what it knew: a commit
goes through only as the very next version of the table that it was made for (optimistic concurrency). Otherwise the
table is read again, rows whose owner has some there are left out, and the commit is tried again.

The log is never cleaned up by a commit, which goes by its writer's clock alone: one that was ahead took from the others
the commits that they had yet to read.
"""

import random
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from services.store import tables
from services.store.objects import Storage
from services.store.schemas import INDICES, OWNERS, SCHEMAS

COMPACT_EVERY = 100
KEEP_HOURS = 168
LONGEST_PAUSE = 2.0
FRESH_SECONDS = 3600.0
CLOCKS_AGREE = timedelta(hours=1)
CLAIMS = "compactions"
CLAIM_LASTS = timedelta(hours=1)

# Files that are full are left alone by the next compaction, and readers skip groups of rows that they do not want.
FILE_BYTES = 2**25
IN_GROUPS = WriterProperties(max_row_group_size=2**14)

NEXT_VERSION_ONLY: Mapping[str, Any] = {
    "commit_properties": CommitProperties(max_commit_retries=0),
    "post_commithook_properties": PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
}


class Committer:
    """What one writer knows of the tables, and appends to them."""

    def __init__(self, storage: Storage) -> None:
        """Look at all tables.

        Raises:
            StoreError: one is missing or damaged.
        """
        self._storage = storage
        self._known: dict[str, frozenset[str]] = {}
        self._open()

    def _open(self) -> None:
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda table: tables.opened(self._storage, table), SCHEMAS)
        self._tables: dict[str, DeltaTable] = dict(zip(SCHEMAS, found, strict=True))
        self._opened_at = time.monotonic()

    def look(self) -> None:
        """Know what is in the tables now. Rows of owners that are put later, by this writer, are not among that."""
        self._known = {table: frozenset(tables.files(self._storage, delta)) for table, delta in self._tables.items()}

    def append(self, rows: Mapping[str, pl.DataFrame]) -> None:
        """Append rows by table, the indices last. Their owners were put by this writer after it looked last.

        Raises:
            StoreError: the store cannot be written to. The same rows can be given again.
        """
        self._append_all(rows, self._known)

    def append_missing(self, rows: Mapping[str, pl.DataFrame]) -> None:
        """Append rows by table, the indices last, of whatever owners: what a table has already is left out.

        Raises:
            StoreError: the store cannot be written to. The same rows can be given again.
        """
        self._append_all(rows, dict.fromkeys(rows, frozenset()))

    def delete(self, owner: str) -> None:
        """Delete all rows of an owner, in all tables.

        Raises:
            StoreError: the store cannot be written to.
        """
        for table in SCHEMAS:
            quoted = owner.replace("'", "''")
            predicate = f"{OWNERS[table]} = '{quoted}'"
            self._commit(table, lambda delta, where=predicate: delta.delete(where, **NEXT_VERSION_ONLY))

    def delete_all(self, table: str, owners: Collection[str]) -> None:
        """Delete all rows of these owners in a table that is small.

        Raises:
            StoreError: the store cannot be written to, or the table cannot be read.
        """

        def replace(delta: DeltaTable) -> None:
            rows = tables.evaluate(self._storage, table, tables.rows(self._storage, table, delta))
            kept = rows.filter(~pl.col(OWNERS[table]).is_in(list(owners)))
            if len(kept) < len(rows):
                write_deltalake(delta, kept, mode="overwrite", **NEXT_VERSION_ONLY)

        self._commit(table, replace)

    def clear(self, wanted: Iterable[str]) -> None:
        """Delete all rows of these tables.

        Raises:
            StoreError: the store cannot be written to.
        """
        for table in wanted:
            empty = pl.DataFrame(schema=SCHEMAS[table])
            self._commit(
                table,
                lambda delta, empty=empty: write_deltalake(delta, empty, mode="overwrite", **NEXT_VERSION_ONLY),
            )

    def _append_all(self, rows: Mapping[str, pl.DataFrame], known: Mapping[str, frozenset[str]]) -> None:
        self._storage.exists("", "store.json")  # says what is waited for, where the server is away
        if time.monotonic() - self._opened_at > FRESH_SECONDS:
            # A commit in the place of one that was cleaned up would be below the last checkpoint, and lost.
            self._open()
        for table in sorted(rows, key=lambda name: name in INDICES):
            self._append(table, rows[table], known[table])

    def _append(self, table: str, rows: pl.DataFrame, known: frozenset[str]) -> None:
        """Append rows whose owner has none in the table; files that are known cannot have any."""

        def append(delta: DeltaTable) -> None:
            new = [file for file in tables.files(self._storage, delta) if file not in known]
            missing = rows.join(self._owners(table, new, rows), on=OWNERS[table], how="anti", maintain_order="left")
            if len(missing):
                write_deltalake(delta, missing, mode="append", **NEXT_VERSION_ONLY)

        assert rows.schema == SCHEMAS[table], f"rows for {table!r} do not have its schema"
        self._commit(table, append)
        delta = self._tables[table]
        if delta.version() and delta.version() % COMPACT_EVERY == 0:
            self._tidy(table)

    def _owners(self, table: str, files: list[str], rows: pl.DataFrame) -> pl.DataFrame:
        """Those owners of the rows that have some in these files."""
        wanted = rows.select(OWNERS[table]).unique()
        if not files:
            return wanted.clear()
        present = pl.scan_parquet(files, glob=False, storage_options=self._storage.polars_options).select(OWNERS[table])
        return tables.evaluate(self._storage, table, wanted.lazy().join(present, on=OWNERS[table], how="semi"))

    def _commit(self, table: str, change: Callable[[DeltaTable], object]) -> None:
        """Make a change to the table as it is now: until no other writer is faster, or until it fails."""
        delta, pause = self._tables[table], 0.02
        while True:
            version, files = delta.version(), frozenset(tables.files(self._storage, delta))
            try:
                self._storage.patiently(lambda: change(delta))
                tables.flush(self._storage, table, delta, version, files)
                return
            except CommitFailedError as error:
                self._storage.patiently(delta.update_incremental)
                if delta.version() == version:
                    raise self._storage.refusal("write to", error) from error
            except (OSError, DeltaError) as error:
                raise self._storage.refusal("write to", error) from error
            time.sleep(random.uniform(0.0, pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _tidy(self, table: str) -> None:
        """Put small files together, and remove what no reader or writer can be at any more, unless another writer does.

        What is old enough is told by this process's clock, and so is left to those whose clock the store's agrees with.
        """
        now = self._storage.clock()
        if abs(now - datetime.now(UTC)) > CLOCKS_AGREE:
            return
        delta = self._tables[table]
        with claimed(self._storage, table, now) as alone, suppress(OSError, DeltaError):
            if not alone:
                return
            self._storage.patiently(delta.update_incremental)
            version, files = delta.version(), frozenset(tables.files(self._storage, delta))
            delta.optimize.compact(target_size=FILE_BYTES, writer_properties=IN_GROUPS, **NEXT_VERSION_ONLY)
            tables.flush(self._storage, table, delta, version, files)
            delta.vacuum(retention_hours=KEEP_HOURS, dry_run=False, full=True)
            delta.cleanup_metadata()


@contextmanager
def claimed(storage: Storage, table: str, now: datetime) -> Iterator[bool]:
    """Whether this writer alone may put a table's files together, until the block ends.

    Deltalake lets several do so at once: it tries a compaction again by itself, after another one of the same files,
    and every row is there twice. A claim of a writer that was killed ends after `CLAIM_LASTS`, by the store's clock;
    the next one has the next number, so that one writer alone takes over. Deletions need no claim: a compaction that
    read what was deleted meanwhile is refused, and a deletion goes through as the very next version or not at all.
    """
    numbers = sorted(int(name.rpartition(".")[2]) for name in storage.names(CLAIMS) if name.startswith(f"{table}."))
    if numbers and now - _made_at(storage, f"{table}.{numbers[-1]}", now) < CLAIM_LASTS:
        yield False
        return
    mine = numbers[-1] + 1 if numbers else 0
    alone = storage.create(CLAIMS, f"{table}.{mine}", f"{now.isoformat()} {secrets.token_hex(8)}".encode())
    try:
        yield alone
    finally:
        if alone:
            for number in (*numbers, mine):  # this one last: until then none can be made
                storage.remove(CLAIMS, f"{table}.{number}")


def _made_at(storage: Storage, name: str, now: datetime) -> datetime:
    try:
        return datetime.fromisoformat(storage.read(CLAIMS, name).decode().split()[0]).astimezone(UTC)
    except FileNotFoundError:  # its writer is done by now: the next time will do
        return now
    except (ValueError, IndexError):  # damaged: nobody can tell when it would end
        return now - CLAIM_LASTS
