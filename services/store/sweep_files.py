"""What sweeps ask for: one Parquet file each, with a row for each run, the definition, and a seal over both."""

import hashlib
import io

import polars as pl

from services.store.archive import DamagedError
from services.store.objects import Storage

FOLDER = "sweeps"
REMEDY = "run the same sweep or comparison again, which writes it anew and fits nothing that is stored"

_SUFFIX = ".parquet"
_DEFINITION = "basin.sweep"
_SEALS = {"definition": "basin.sweep.sha256", "members": "basin.members.sha256"}


def names(storage: Storage) -> list[str]:
    """Names of the sweeps, sorted."""
    return sorted(name.removesuffix(_SUFFIX) for name in storage.names(FOLDER) if name.endswith(_SUFFIX))


def write(storage: Storage, name: str, definition: str, members: pl.DataFrame) -> None:
    """Put what a sweep asks for, in place of what it asked for before.

    Raises:
        StoreError: the store cannot be written to.
    """
    seals = {_SEALS["definition"]: _seal(definition), _SEALS["members"]: _seal(members.write_ndjson())}
    members.write_parquet(buffer := io.BytesIO(), metadata={_DEFINITION: definition, **seals})
    storage.replace(FOLDER, name + _SUFFIX, buffer.getvalue())
    storage.flush(FOLDER, [name + _SUFFIX])


def read(storage: Storage, name: str) -> tuple[str, pl.DataFrame]:
    """The definition, and the rows of the runs.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
    """
    return read_checked(storage, name)[:2]


def read_checked(storage: Storage, name: str) -> tuple[str, pl.DataFrame, bool]:
    """The same, and whether both are sealed: those of earlier versions are not.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
    """
    data = read_bytes(storage, name)
    said, definition = _read_metadata(storage, name, data)
    try:
        members = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _damaged(storage, name) from error
    if said.get(_SEALS["members"]) not in (None, _seal(members.write_ndjson())):
        raise _damaged(storage, name)
    return definition, members, all(seal in said for seal in _SEALS.values())


def read_definition(storage: Storage, name: str) -> str:
    """The definition, which takes a hundredth of the time where a sweep has many runs.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
    """
    return _read_metadata(storage, name, read_bytes(storage, name))[1]


def read_bytes(storage: Storage, name: str) -> bytes:
    """All of the file.

    Raises:
        FileNotFoundError: there is none.
    """
    return storage.read(FOLDER, name + _SUFFIX)


def _read_metadata(storage: Storage, name: str, data: bytes) -> tuple[dict[str, str], str]:
    try:
        said = pl.read_parquet_metadata(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _damaged(storage, name) from error
    definition = said.get(_DEFINITION)
    # Those of earlier versions have no seal.
    if definition is None or said.get(_SEALS["definition"]) not in (None, _seal(definition)):
        raise _damaged(storage, name)
    return said, definition


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(storage: Storage, name: str) -> DamagedError:
    return DamagedError(f"sweep {name!r} is damaged ({storage.where(FOLDER, name + _SUFFIX)}): {REMEDY}")
