"""Parts of sealed archives, read by range: a large posterior is never whole in memory.

The seal of an archive is checked when it is first opened. It never changes after that, so that what its directory says
can be kept.
"""

import hashlib
import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.store.archive import SEAL_BYTES, damaged, object_name
from services.store.objects import Storage

CHUNK = 2**20
_SEALED_CHUNK = 2**23
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of name and extra field, which end it


@dataclass(frozen=True)
class Part:
    """Where a part lies in its archive."""

    start: int
    size: int


@dataclass(frozen=True)
class Directory:
    """What a sealed archive holds.

    Attributes:
        seal: SHA-256 of its content, in hexadecimal.
    """

    folder: str
    name: str
    seal: str
    parts: Mapping[str, Part]

    def __len__(self) -> int:
        return len(self.parts)


def directory(storage: Storage, folder: str, name: str) -> Directory:
    """The directory of an archive, all of which is checked.

    Raises:
        FileNotFoundError: there is none of this name.
        DamagedError: it is not as it was written.
        StoreError: the store cannot be read.
    """
    size = storage.size(folder, object_name(name))
    if size <= SEAL_BYTES:
        raise damaged(storage.where(folder, object_name(name)))
    body = hashlib.sha256()
    for start in range(0, size - SEAL_BYTES, _SEALED_CHUNK):
        end = min(start + _SEALED_CHUNK, size - SEAL_BYTES)
        body.update(storage.read_range(folder, object_name(name), start, end))
    seal = body.hexdigest()
    if storage.read_range(folder, object_name(name), size - SEAL_BYTES, size) != seal.encode():
        raise damaged(storage.where(folder, object_name(name)))
    with zipfile.ZipFile(_Object(storage, folder, object_name(name), size)) as archive:
        parts = {member.filename: _part(storage, folder, name, member) for member in archive.infolist()}
    return Directory(folder, name, seal, parts)


def chunks(storage: Storage, where: Directory, part: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a part from `start` to before `end`, some at a time.

    Raises:
        FileNotFoundError: the archive was removed since.
        StoreError: the store cannot be read.
    """
    first = where.parts[part].start
    for begin in range(start, end, CHUNK):
        yield storage.read_range(where.folder, object_name(where.name), first + begin, first + min(begin + CHUNK, end))


def _part(storage: Storage, folder: str, name: str, member: zipfile.ZipInfo) -> Part:
    header = storage.read_range(
        folder, object_name(name), member.header_offset, member.header_offset + _LOCAL_HEADER.size
    )
    return Part(member.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header)), member.file_size)


class _Object(io.RawIOBase):
    """An object of the store as a file that can be read and sought in."""

    def __init__(self, storage: Storage, folder: str, name: str, size: int) -> None:
        self._storage, self._folder, self._name, self._size = storage, folder, name, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset)
        return self._at

    def readinto(self, buffer) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._storage.read_range(self._folder, self._name, self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
