"""Delta tables of a store: made, and read lazily. `services.store.commits` appends to them."""

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from services.errors import StoreError
from services.store.faults import is_away, is_refused, reason
from services.store.objects import Storage
from services.store.schemas import SCHEMAS

FOLDER = "tables"
# Whoever opens a table reads the commits since the last checkpoint one by one.
LOG = {"delta.checkpointInterval": "10"}
FITTED = ("finished", "diverged")
IS_FITTED = pl.col("status").is_in(FITTED)
# What a damaged file makes polars and deltalake raise. A panic is no Exception.
UNREADABLE = (OSError, DeltaError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
_REMEDY = "`basin store rebuild` makes it again from what is stored"


class TableError(StoreError):
    """A table that is missing or damaged."""


def create(storage: Storage, tables: Collection[str] = tuple(SCHEMAS)) -> None:
    """Make those of the tables that are not there yet, empty.

    Raises:
        StoreError: the store cannot be written to.
    """

    def make(table: str) -> None:
        uri, options = storage.table(table)
        empty = pl.DataFrame(schema=SCHEMAS[table])
        try:
            storage.patiently(
                lambda: write_deltalake(uri, empty, mode="ignore", storage_options=options, configuration=LOG)
            )
        except (OSError, DeltaError) as error:
            # Another writer may have been first. Not is_deltatable, which holds up all threads until a server answers.
            try:
                storage.patiently(lambda: DeltaTable(uri, storage_options=options))
            except (OSError, DeltaError):
                raise storage.refusal("write to", error) from error

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, tables))
    for table in tables:
        storage.flush(f"{FOLDER}/{table}/_delta_log", [f"{0:020}.json"])
    storage.flush(FOLDER, tables)
    storage.flush("", [FOLDER])


def opened(storage: Storage, table: str) -> DeltaTable:
    """One table as it was last committed.

    Raises:
        TableError: it is missing or damaged.
        StoreError: the store cannot be read.
    """
    uri, options = storage.table(table)
    try:
        return storage.patiently(lambda: DeltaTable(uri, storage_options=options))
    except (OSError, DeltaError) as error:
        raise unreadable(storage, table, error) from error


def flush(storage: Storage, table: str, delta: DeltaTable, version: int, known: Collection[str]) -> None:
    """Return when what was committed after a version, which had these files, would survive a loss of power.

    Raises:
        StoreError: the disk says no.
    """
    if storage.remote:
        return
    new = set(files(storage, delta)) - set(known)
    storage.flush(f"{FOLDER}/{table}", [Path(file).name for file in new])
    log = f"{FOLDER}/{table}/_delta_log"
    names = [
        f"{v:020}{end}" for v in range(version + 1, delta.version() + 1) for end in (".json", ".checkpoint.parquet")
    ]
    storage.flush(log, [*names, "_last_checkpoint"])


def mend(storage: Storage) -> None:
    """Make those tables again, empty, that are missing or damaged.

    Raises:
        StoreError: the store cannot be written to.
    """
    for table in SCHEMAS:
        try:
            opened(storage, table)
            if table == "comparisons":  # the others are filled again, whatever their files are like
                collect(storage, table, SCHEMAS[table].names())
        except TableError:
            storage.remove_folder(FOLDER, table)
    create(storage)


def scan(storage: Storage, table: str) -> pl.LazyFrame:
    """The rows of one table as it was last committed.

    Raises:
        TableError: it is missing or damaged.
        StoreError: the store cannot be read.
    """
    return rows(storage, table, opened(storage, table))


def rows(storage: Storage, table: str, delta: DeltaTable) -> pl.LazyFrame:
    """The rows of a table that is open.

    Raises:
        TableError: a file of it is missing, or longer or shorter than it was.
    """
    if not storage.remote:
        _check_sizes(storage, table, delta)
    if storage.remote or "%" not in delta.table_uri:
        return pl.scan_delta(delta, storage_options=storage.polars_options)
    # The path has a blank or the like, and polars 2.1 would look for it as it stands in a URL.
    found = files(storage, delta)
    return pl.scan_parquet(found, glob=False) if found else pl.LazyFrame(schema=SCHEMAS[table])


def _check_sizes(storage: Storage, table: str, delta: DeltaTable) -> None:
    """See that files are as long as the log says: where one is not, polars panics, and prints where."""
    said = pl.DataFrame(delta.get_add_actions()).select("path", "size_bytes")
    for path, size in said.iter_rows():
        try:
            there = Path(storage.table(table)[0], unquote(path)).stat().st_size
        except FileNotFoundError:
            raise damaged(storage, table, f"it lacks its file {path}") from None
        if there != size:
            raise damaged(storage, table, f"{path} has {there:,} bytes instead of {size:,}")


def files(storage: Storage, delta: DeltaTable) -> list[str]:
    """The files of a table, as polars finds them."""
    return delta.file_uris() if storage.remote else [unquote(uri) for uri in delta.file_uris()]


def fitted(runs: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of runs that need no fit, one for each."""
    return runs.filter(IS_FITTED)


def latest(runs: pl.LazyFrame) -> pl.LazyFrame:
    """One row per run key: that of the fitted run where there is one, else the last attempt.

    Rows of fitted runs are taken as they are, so that whatever is asked of them later reaches their files; last
    attempts are looked for among the few others.
    """
    # Selected first, or polars would take this for the same as the fitted rows and read these once, with all columns.
    keys = runs.select("run_key", "status").filter(IS_FITTED).select("run_key")
    others = runs.filter(~IS_FITTED).join(keys, on="run_key", how="anti")
    last = others.sort("attempt", "run_key").unique("run_key", keep="last", maintain_order=True)
    return pl.concat([fitted(runs), last])


def collect(storage: Storage, table: str, columns: Iterable[str | pl.Expr]) -> pl.DataFrame:
    """Some columns of a table.

    Raises:
        TableError: it is missing or damaged.
        StoreError: the store cannot be read.
    """
    return evaluate(storage, table, scan(storage, table).select(columns))


def evaluate(storage: Storage, table: str | None, query: pl.LazyFrame) -> pl.DataFrame:
    """The answer of a query to one table, or to several: None.

    Raises:
        TableError: it is missing or damaged.
        StoreError: the store cannot be read.
    """
    try:
        return storage.patiently(query.collect)
    except UNREADABLE as error:
        raise unreadable(storage, table, error) from error


def unreadable(storage: Storage, table: str | None, error: BaseException) -> StoreError:
    """What a person is told of a table that cannot be read."""
    if storage.remote and (is_away(error) or is_refused(error)):
        return storage.refusal("read", error)
    if table is None:
        return TableError(
            f"a table in {storage.where('', FOLDER)} is damaged ({reason(error)}): `basin store check` says which, and "
            "`basin store rebuild` makes it again from what is stored"
        )
    if isinstance(error, TableNotFoundError):
        return TableError(f"table {storage.where(FOLDER, table)} is missing: {_REMEDY}")
    return damaged(storage, table, reason(error))


def damaged(storage: Storage, table: str, what: str) -> TableError:
    """What a person is told of a table that is not as it was written."""
    return TableError(f"table {storage.where(FOLDER, table)} is damaged ({what}): {_REMEDY}")
