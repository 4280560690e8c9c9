"""Archives: named parts in one sealed object, so that a run or a measurement is whole or absent.

An archive is an uncompressed ZIP, which any program can list and read by range. Its comment is its seal: the SHA-256,
in hexadecimal, of all bytes before it. Whatever is flipped or cut off, wherever, is found when it is read.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from typing import IO

import numpy as np
import polars as pl

from services.errors import StoreError
from services.store.objects import Storage

_SUFFIX = ".zip"
SEAL_BYTES = 64


class DamagedError(StoreError):
    """An object of the store that is not as it was written."""


def damaged(where: str) -> DamagedError:
    """What a person is told of an archive that is not as it was written."""
    return DamagedError(f"{where} is damaged: `basin store rebuild` sets it aside, and what it held is done again")


class Archive:
    """An archive that was read and found whole."""

    def __init__(self, data: bytes, where: str) -> None:
        """Open `data`, which came from `where`.

        Raises:
            DamagedError: it is not as it was written.
        """
        self.where = where
        body, seal = memoryview(data)[:-SEAL_BYTES], data[-SEAL_BYTES:]
        if hashlib.sha256(body).hexdigest().encode() != seal:
            raise damaged(where)
        self._zip = zipfile.ZipFile(io.BytesIO(data))

    def __contains__(self, name: str) -> bool:
        return name in self._zip.namelist()

    @property
    def names(self) -> list[str]:
        """Names of the parts."""
        return self._zip.namelist()

    def read(self, name: str) -> bytes:
        """The bytes of a part."""
        return self._zip.read(name)


def create(storage: Storage, folder: str, name: str, parts: Mapping[str, bytes | memoryview]) -> bool:
    """Put an archive into a folder of the store. Returns False, and keeps the first, where there is one of this name.

    Raises:
        StoreError: the store cannot be written to; nothing is left behind.
    """
    return storage.create(folder, object_name(name), pack(parts))


def read(storage: Storage, folder: str, name: str) -> Archive:
    """Read an archive, and check all of it.

    Raises:
        DamagedError: it is not as it was written.
        FileNotFoundError: there is none.
    """
    return Archive(storage.read(folder, object_name(name)), storage.where(folder, object_name(name)))


def names(storage: Storage, folder: str) -> set[str]:
    """Names of the archives in a folder."""
    return {name.removesuffix(_SUFFIX) for name in storage.names(folder) if name.endswith(_SUFFIX)}


def object_name(name: str) -> str:
    """What an archive's object is called."""
    return name + _SUFFIX


def pack_rows(rows: pl.DataFrame) -> bytes:
    """Rows as an Arrow IPC stream: a tenth of a run's cost in the store, where Parquet would be the most of it."""
    rows.write_ipc_stream(buffer := io.BytesIO(), compression="zstd")
    return buffer.getvalue()


def unpack_rows(data: bytes) -> pl.DataFrame:
    """The rows that `pack_rows` packed."""
    return pl.read_ipc_stream(io.BytesIO(data))


def pack(parts: Mapping[str, bytes | memoryview]) -> bytes:
    """An archive of these parts."""
    return _packed({name: lambda file, data=data: file.write(data) for name, data in parts.items()})


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An archive of arrays, which is an NPZ file as well. Unlike with `numpy.savez`, any name will do, "file" included.

    Raises:
        ValueError: an array of Python objects, which would take a pickle.
    """

    def writer(array: np.ndarray) -> Callable[[IO[bytes]], object]:
        return lambda file: np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)

    return _packed({f"{name}.npy": writer(array) for name, array in arrays.items()})


def unpack_arrays(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays that `pack_arrays` packed; pickles are refused.

    Raises:
        DamagedError: it is not as it was written.
        ValueError: it has a pickle.
    """
    archive = Archive(data, where)
    return {
        name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
        for name in archive.names
    }


def _packed(writers: Mapping[str, Callable[[IO[bytes]], object]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, write in writers.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16  # how `unzip` makes the file readable
            with archive.open(member, "w", force_zip64=True) as file:
                write(file)
        archive.comment = bytes(SEAL_BYTES)
    with buffer.getbuffer() as view:
        view[-SEAL_BYTES:] = hashlib.sha256(view[:-SEAL_BYTES]).hexdigest().encode()
    return buffer.getvalue()
