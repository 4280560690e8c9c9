"""Where a store lives: named objects in folders, on a local path or below a prefix of S3-compatible object storage.

Objects are whole or absent, whenever their writer is killed. Several processes may write at once: `create` succeeds for
one of them alone. A server that is away is waited for. Objects on a local path survive a loss of power once they were
flushed; those on a server do when they are there.
"""

import logging
import os
import random
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from services.errors import StoreError
from services.store.faults import is_away, reason

PATIENCE_SECONDS = 180.0
QUIET_SECONDS = 2.0
LEFTOVER_SECONDS = 3600.0

_CONNECT_TIMEOUT = "5s"
_REQUEST_TIMEOUT = "60s"  # a large object on a slow line needs it
_S3 = re.compile(r"s3://[\w.-]+(/[\w.=+@-]+)*/?", re.ASCII)
_UNFIT = re.compile(r"[%^|\[\]\\]")
_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
_HALF_WRITTEN = re.compile(r"#\d+$|\.tmp$")  # how obstore and deltalake name what they have not finished
_log = logging.getLogger(__name__)


class Storage:
    """Objects at one location.

    Folders and names are of plain characters, without a slash; the folder "" is the location itself. Every method
    raises StoreError, with what to do about it, when the disk or the server says no, or is away for more than
    `patience` seconds.

    Attributes:
        location: a path, or `s3://bucket/prefix`.
        remote: whether that is on a server.
        patience: for how many seconds a server that is away is waited for; stated, or `PATIENCE_SECONDS`.
    """

    def __init__(self, location: str | Path, patience: float | None = None) -> None:
        """Name a location; nothing is made there.

        Raises:
            StoreError: it is neither a path nor on S3.
        """
        self.location = str(location)
        self.patience = PATIENCE_SECONDS if patience is None else patience
        self.remote = "://" in self.location
        if self.remote and not _S3.fullmatch(self.location):
            raise StoreError(
                f"cannot keep a store in {self.location}: name a folder, or s3://BUCKET/PREFIX of plain characters, by "
                "--store or BASIN_STORE"
            )
        if not self.remote and (odd := _UNFIT.search(str(Path(self.location).absolute()))):
            raise StoreError(
                f"cannot keep a store in {self.location}: deltalake cannot deal with a path that has {odd[0]!r} in it; "
                "name another by --store or BASIN_STORE"
            )

    def make(self) -> None:
        """Make the folder of a local location; a bucket must be there."""
        if not self.remote:
            with self._said("write to"):
                if Path(self.location).is_file():
                    raise StoreError(
                        f"{self.location} is a file: name a folder for the store by --store or BASIN_STORE"
                    )
                Path(self.location).mkdir(parents=True, exist_ok=True)

    def top(self) -> set[str]:
        """Names of the folders and objects at the location itself."""

        def list_top() -> set[str]:
            found = self._store.list_with_delimiter()
            return {*found["common_prefixes"], *(item["path"] for item in found["objects"])}

        with self._said("read"):
            return self.patiently(list_top) if self._there else set()

    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder, in any order."""

        def list_all() -> list[str]:
            return [item["path"] for chunk in self._store.list(folder, chunk_size=1000) for item in chunk]

        with self._said("read"):
            return [path.rpartition("/")[2] for path in self.patiently(list_all)] if self._there else []

    def exists(self, folder: str, name: str) -> bool:
        """Whether there is such an object."""
        with self._said("read"), suppress(FileNotFoundError):
            if self._there:
                self.patiently(lambda: self._store.head(_path(folder, name)))
                return True
        return False

    def read(self, folder: str, name: str) -> bytes:
        """The bytes of an object.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        if not self._there:
            raise FileNotFoundError(self.where(folder, name))
        with self._said("read"):
            return self.patiently(lambda: self._store.get(_path(folder, name)).bytes().to_bytes())

    def size(self, folder: str, name: str) -> int:
        """Bytes of an object.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        if not self._there:
            raise FileNotFoundError(self.where(folder, name))
        with self._said("read"):
            return self.patiently(lambda: self._store.head(_path(folder, name))["size"])

    def read_range(self, folder: str, name: str, start: int, end: int) -> bytes:
        """Bytes of an object, from `start` to before `end`, which is more.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        with self._said("read"):
            return self.patiently(lambda: self._store.get_range(_path(folder, name), start=start, end=end).to_bytes())

    def create(self, folder: str, name: str, data: bytes) -> bool:
        """Put an object where there is none of this name. Returns False, and changes nothing, where there is one."""
        path, tries = _path(folder, name), 0

        def put() -> bool:
            nonlocal tries
            tries += 1
            try:
                self._store.put(path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                # A try whose answer was lost may have been carried out: then the object is ours.
                return tries > 1 and self._store.get(path).bytes().to_bytes() == data
            return True

        with self._said("write to"):
            return self.patiently(put)

    def replace(self, folder: str, name: str, data: bytes) -> None:
        """Put an object, in place of one of this name if there is one."""
        with self._said("write to"):
            self.patiently(lambda: self._store.put(_path(folder, name), data, use_multipart=False))

    def remove(self, folder: str, name: str) -> None:
        """Remove an object, if it is there."""
        with self._said("write to"), suppress(FileNotFoundError):
            self.patiently(lambda: self._store.delete(_path(folder, name)))

    def move(self, folder: str, name: str, to: str) -> None:
        """Move an object to another folder, if nobody did so before."""
        with self._said("write to"), suppress(FileNotFoundError):
            self.patiently(lambda: self._store.rename(_path(folder, name), _path(to, name)))

    def remove_folder(self, *folders: str) -> None:
        """Remove a folder with all that is below it."""
        prefix = "/".join(folders)

        def remove_all() -> None:
            paths = [item["path"] for chunk in self._store.list(prefix, chunk_size=1000) for item in chunk]
            if paths:
                self._store.delete(paths)

        with self._said("write to"):
            if self.remote:
                self.patiently(remove_all)
            else:
                shutil.rmtree(Path(self.location, prefix), ignore_errors=True)

    def flush(self, folder: str, names: Iterable[str]) -> None:
        """Return when these objects would survive a loss of power.

        Local files are asked for at once, for a file system answers many as fast as one.
        """
        if self.remote:
            return
        parent = Path(self.location, folder)
        with self._said("write to"), ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(_flush, (*(parent / name for name in names), parent)))

    def clock(self) -> datetime:
        """The time by the file system's or the server's clock, to a second or so."""
        name = f".clock-{secrets.token_hex(8)}.tmp"  # as a leftover is named, should this be killed
        self.replace("", name, b"")
        with self._said("read"):
            now = self.patiently(lambda: self._store.head(name)["last_modified"])
        self.remove("", name)
        return now

    def leftovers(self, now: datetime) -> Iterator[Path]:
        """Files that killed writers left half-written: those so old at this time that no living one can be at them."""
        if not self.remote:
            oldest_living = now.timestamp() - LEFTOVER_SECONDS
            for folder, _, files in os.walk(self.location):
                for path in (Path(folder, name) for name in files if _HALF_WRITTEN.search(name)):
                    with suppress(FileNotFoundError):  # its writer finished it just now
                        if path.stat().st_mtime < oldest_living:
                            yield path

    def remove_leftovers(self) -> None:
        """Remove what killed writers left half-written."""
        if self.remote:
            return
        with self._said("write to"):
            for path in self.leftovers(self.clock()):
                path.unlink(missing_ok=True)

    def table(self, table: str) -> tuple[str, dict[str, str] | None]:
        """Where deltalake finds a table, and its storage options."""
        return self.where("tables", table), self._delta_options if self.remote else None

    @property
    def polars_options(self) -> dict[str, str | int] | None:
        """Storage options by which polars reads what deltalake wrote."""
        if not self.remote:
            return None
        return dict(_credentials()) | {"max_retries": 30, "retry_timeout_ms": int(1000 * self.patience)}

    def where(self, folder: str, name: str) -> str:
        """An object in words that a person can look it up by."""
        return f"{self.location.rstrip('/')}/{_path(folder, name)}"

    def patiently[T](self, action: Callable[[], T]) -> T:
        """What `action` returns. While the server is away, it is called again, and a line says what is waited for."""
        start, pause, said = time.monotonic(), 0.1, False
        while True:
            try:
                return action()
            except Exception as error:
                waited = time.monotonic() - start
                if not (self.remote and is_away(error)) or waited > self.patience:
                    raise
                if waited > QUIET_SECONDS and not said:
                    _log.warning("waiting for %s: %s", self._place, reason(error))
                    said = True
            time.sleep(random.uniform(0.5, 1.0) * pause)
            pause = min(2 * pause, 5.0)

    @property
    def _place(self) -> str:
        endpoint = os.environ.get("AWS_ENDPOINT_URL") if self.remote else None
        return f"{self.location} at {endpoint}" if endpoint else self.location

    @property
    def _there(self) -> bool:
        """Whether anything can be; obstore refuses to open a local folder that is missing."""
        return self.remote or Path(self.location).is_dir()

    @cached_property
    def _store(self) -> ObjectStore:
        if not self.remote:
            return LocalStore(self.location)
        # Tries again are ours, so that `create` knows of them, and a person is told.
        return S3Store.from_url(
            self.location,
            client_options={
                "connect_timeout": _CONNECT_TIMEOUT,
                "timeout": _REQUEST_TIMEOUT,
                "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1"),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        )

    @property
    def _delta_options(self) -> dict[str, str]:
        # Silent patience: a write that deltalake gives up ends in noise on stderr.
        return {
            **_credentials(),
            "connect_timeout": _CONNECT_TIMEOUT,
            "timeout": _REQUEST_TIMEOUT,
            "max_retries": "1000",
            "retry_timeout": f"{self.patience:.0f}s",
            "backoff_config.max_backoff": "5s",
        }

    @contextmanager
    def _said(self, verb: str) -> Iterator[None]:
        """Say in plain words why the location cannot be read, or written to."""
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self.refusal(verb, error) from error
            raise
        except (BaseError, OSError) as error:
            raise self.refusal(verb, error) from error

    def refusal(self, verb: str, error: BaseException) -> StoreError:
        """What a person is told when the location cannot be read, or written to."""
        if not self.remote:
            remedy = "make it readable" if verb == "read" else "free some space or make it writable"
            remedy += ", or name another store by --store or BASIN_STORE"
        elif is_away(error):
            remedy = "start the server, or correct AWS_ENDPOINT_URL"
        else:
            remedy = (
                "check the bucket's name, AWS_ENDPOINT_URL (with AWS_ALLOW_HTTP=true for http), AWS_REGION, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return StoreError(
            f"cannot {verb} the store in {self._place}: {reason(error)}; {remedy}; then run the command again: "
            "finished runs are kept"
        )


def _credentials() -> Mapping[str, str]:
    found = {name.lower(): os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    return {"aws_region": found.get("aws_default_region", "us-east-1"), **found}


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _flush(path: Path) -> None:
    with suppress(FileNotFoundError):  # set aside or removed meanwhile
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
