"""The ledger: what outlives any scheduler, in SQL. SQLite in a file, or Postgres by a URL."""

import contextlib
import importlib.util
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from services.errors import LedgerError
from services.ledger.file import path_in
from services.ledger.tables import VERSION, ledgers, metadata

BUSY_SECONDS = 30.0  # how long a SQLite ledger is waited for while others write to it
_CREATION = 0x62617369  # key of the Postgres advisory lock under which tables are made
_DRIVERS = {"sqlite": "sqlite:////whole/path/ledger.sqlite", "postgresql": "postgresql+psycopg://USER@HOST/DATABASE"}


class Ledger:
    """A ledger that is open. Any number of processes may have it open at once.

    Attributes:
        name: its URL without the password, for messages.
        identity: tells it from other ledgers; part of the ids of its launches.
        folder: of its file; None where it is no file.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Open the ledger at a URL.

        Args:
            url: of SQLAlchemy: `sqlite:////whole/path` or `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`.
            create: make the ledger where there is none; otherwise that is refused.

        Raises:
            LedgerError: a URL that is wrong, a database that cannot be had, no ledger, or one of another version.
        """
        parsed = _parse(url)
        self.name = parsed.render_as_string()
        self.folder = _folder(parsed)
        if self.folder and not create and not Path(parsed.database or "").exists():
            raise LedgerError(f"no ledger at {self.name}: `basin schedule add` makes one")
        if self.folder:
            _make(self.folder)
        self._engine = _engine(parsed)
        self._reader = self._engine.execution_options(reading=True)
        try:
            if create or self._is_older():
                with self.transaction() as connection:
                    _create(connection)
            self.identity = self._identity()
        except LedgerError:
            self.close()
            raise

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write: all of it is done, or none.

        Raises:
            LedgerError: the database cannot be had, or was busy for longer than `BUSY_SECONDS`.
        """
        with self._told(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read what is committed, without waiting for those who write.

        Raises:
            LedgerError: the database cannot be had.
        """
        with self._told(), self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
            raise LedgerError(f"the ledger {self.name} cannot be used: {reason[0]}") from error

    def _is_older(self) -> bool:
        """Whether it is a ledger that lacks tables of this Basin."""
        with self.reading() as connection:
            there = set(inspect(connection).get_table_names())
        return ledgers.name in there and not there.issuperset(metadata.tables)

    def _identity(self) -> str:
        with self.reading() as connection:
            if not inspect(connection).has_table("ledger"):
                raise LedgerError(f"no ledger at {self.name}: `basin schedule add` makes one")
            version, identity = connection.execute(select(ledgers.c.version, ledgers.c.identity)).one()
        if version != VERSION:
            raise LedgerError(
                f"the ledger {self.name} has schema version {version}, and this Basin reads {VERSION}: name another by "
                "--ledger or BASIN_LEDGER, or use the Basin that made it"
            )
        return identity


def default_url(store: Path | str, cache: Path) -> str:
    """The URL of the ledger that goes with a store: in its folder, or, for one that is no folder, in the cache's."""
    folder = cache if "://" in str(store) else Path(store)
    return URL.create("sqlite", database=str(path_in(folder.resolve()))).render_as_string()


def insert_new(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert the rows whose primary keys are not there yet; the others stay as they are. Returns how many are new."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    return sum(len(connection.execute(statement.values(**row)).all()) for row in rows)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        known = parsed.get_backend_name() in _DRIVERS
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        known, parsed = False, None
    if parsed is None or not known:
        raise LedgerError(f"the ledger's URL is not understood: expected {' or '.join(_DRIVERS.values())}")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_driver_name() not in ("pysqlite", "psycopg"):
        raise LedgerError(f"the ledger's driver {parsed.drivername!r} is not known: use {_DRIVERS['postgresql']}")
    if parsed.get_driver_name() == "psycopg" and importlib.util.find_spec("psycopg") is None:
        raise LedgerError("a ledger on Postgres needs psycopg, which is not installed: pip install 'basin[postgres]'")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise LedgerError(f"a ledger must outlive its process: expected the path of a file, {_DRIVERS['sqlite']}")
    return parsed


def _folder(url: URL) -> Path | None:
    return Path(url.database).resolve().parent if url.get_backend_name() == "sqlite" and url.database else None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"cannot make the ledger's folder {folder}: {error.strerror}; name another by --ledger or BASIN_LEDGER"
        ) from error


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions: the next listener does
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma foreign_keys = on")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # At once as a writer: one that reads first and then writes could not wait for another, only fail.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("begin" if reading else "begin immediate")

    return engine


def _create(connection: Connection) -> None:
    """Make the tables that are not there; several processes may try at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _CREATION})
    is_new = not inspect(connection).has_table(ledgers.name)
    metadata.create_all(connection)
    if is_new:
        insert_new(connection, ledgers, [{"version": VERSION, "identity": uuid.uuid4().hex}])
