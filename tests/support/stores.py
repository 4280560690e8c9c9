"""What a store holds, told exactly, and how to harm what it holds."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from services.integrity import check
from services.store import bundles
from services.store.archive import names
from services.store.bundles import Record, manifest_of
from services.store.objects import Storage
from services.store.schemas import OWNERS, RUN_TABLES, SCHEMAS
from services.store.store import Store
from tests.support.factories import rows_of


def assert_holds_exactly(location: str | Path, records: Iterable[Record]) -> None:
    """Bundles and tables hold these runs, each once and complete, and nothing is wrong."""
    found, records = Store(location), list(records)
    assert names(found.storage, "bundles") == {manifest_of(record).bundle for record in records}
    for table in RUN_TABLES:
        expected = pl.concat(
            [r[table] for r in map(rows_of, records) if table in r] or [pl.DataFrame(schema=SCHEMAS[table])]
        )
        columns = [name for name, dtype in SCHEMAS[table].items() if not isinstance(dtype, pl.List)]
        assert_frame_equal(found.scan(table).collect().sort(columns), expected.sort(columns))
    assert check(found.storage) == []


def assert_whole(location: str | Path) -> list[str]:
    """Each bundle's rows are in each table as often as the bundle has them. Returns the bundles' names."""
    found = Store(location)
    assert check(found.storage) == []
    stored = sorted(names(found.storage, "bundles"))
    for table in RUN_TABLES:
        owners = found.scan(table).select(OWNERS[table]).unique().collect()
        assert set(owners.to_series()) <= set(stored)
    assert sorted(found.scan("runs").collect()["bundle"]) == stored
    return stored


def flip(storage: Storage, folder: str, name: str) -> None:
    """Flip one bit in the middle of an object."""
    data = bytearray(storage.read(folder, name))
    data[len(data) // 2] ^= 1
    storage.replace(folder, name, bytes(data))


def cut(storage: Storage, folder: str, name: str) -> None:
    """Cut the second half of an object off."""
    data = storage.read(folder, name)
    storage.replace(folder, name, data[: len(data) // 2])


def bundle_of(storage: Storage, record: Record) -> bundles.Bundle:
    """The stored bundle of a run."""
    return bundles.read(storage, manifest_of(record).bundle)
