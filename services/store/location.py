"""Whether a location has a store, of which version, and how one is made."""

import json
from pathlib import Path

from models.spec.settings import SCHEMA_VERSION
from services.errors import StoreError
from services.store import tables
from services.store.objects import Storage

VERSION = "store.json"
LEDGER = "ledger"


def exists(location: str | Path) -> bool:
    """Whether there is a store at a location."""
    return Storage(location).exists("", VERSION)


def make(storage: Storage) -> None:
    """Make a store where there is none.

    Raises:
        StoreError: it is no place for a store, cannot be written to, or holds other files.
    """
    storage.make()
    # A ledger may come before the store, and tables before the version: without it they are from a writer that was
    # killed here, or is making them now.
    others = {name for name in storage.top() if not name.startswith(".")} - {tables.FOLDER, LEDGER}
    if storage.exists("", VERSION):
        return
    if others:
        raise StoreError(
            f"{storage.location} is not a store, and holds other files ({min(others)}): name a new or empty folder by "
            "--store or BASIN_STORE"
        )
    tables.create(storage)
    storage.create("", VERSION, json.dumps({"schema_version": SCHEMA_VERSION}).encode() + b"\n")
    storage.flush("", [VERSION])


def check_version(storage: Storage) -> None:
    """See that there is a store of this version.

    Raises:
        StoreError: there is none, or one of another schema version.
    """
    try:
        text = storage.read("", VERSION)
    except FileNotFoundError:
        raise StoreError(
            f"no store in {storage.location}: `basin compare` makes one; or name another by --store or BASIN_STORE"
        ) from None
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{storage.where('', VERSION)} does not say a schema version: is {storage.location} a Basin store?"
        ) from None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"the store in {storage.location} has schema version {version}, and this Basin reads {SCHEMA_VERSION}: "
            "name another store by --store or BASIN_STORE, or use the Basin that wrote it"
        )
