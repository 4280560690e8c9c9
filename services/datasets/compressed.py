"""Compressed files of one table: unpacked in memory, and never to more than so many bytes."""

import gzip
import io
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import NamedTuple

from models.data.dataset import DataError, listed

MOST_BYTES = 2**29
SUFFIXES = (".gz", ".zip")


class Unpacked(NamedTuple):
    """What was in a file: its name there, its content, and what to tell of it."""

    name: str
    content: bytes
    notes: tuple[str, ...] = ()


def unpack(path: str, content: bytes, known: tuple[str, ...], most: int | None = None) -> Unpacked:
    """Unpack a `.gz` file, or a `.zip` file that holds one table.

    Args:
        path: the file's name.
        content: its bytes.
        known: suffixes of tables.
        most: bytes that are wanted; None for all.

    Raises:
        DataError: damaged, encrypted, with several tables or none, or larger than what is unpacked here.
    """
    try:
        if path.lower().endswith(".gz"):
            name = PurePosixPath(path).stem
            return Unpacked(name, _read(gzip.GzipFile(fileobj=io.BytesIO(content)), path, most))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner = _only_table(archive, path, known)
            with archive.open(inner) as file:
                return Unpacked(inner, _read(file, path, most), (f"read {inner!r} in it",))
    except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): unpack it, and name the file that was in it") from None


def check_size(path: str, content: bytes) -> None:
    """Refuse a workbook, which is a ZIP file, that would be unpacked to too much.

    Raises:
        DataError: it would, or is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no workbook ({error}): save the sheet as CSV in UTF-8") from None
    if size > MOST_BYTES:
        raise _too_large(path)


def _only_table(archive: zipfile.ZipFile, path: str, known: tuple[str, ...]) -> str:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    tables = [
        name
        for name in names
        if name.lower().endswith(known)
        and not name.startswith("__MACOSX/")
        and not PurePosixPath(name).name.startswith(".")
    ]
    if len(tables) != 1:
        raise DataError(
            f"{path} holds {len(tables) or 'no'} tables, of {listed(tables or names) or 'no files'}: expected one; "
            f"unpack it, and name one file"
        )
    return tables[0]


def _read(file, path: str, most: int | None) -> bytes:
    content = file.read(MOST_BYTES + 1 if most is None else most)
    if len(content) > MOST_BYTES:
        raise _too_large(path)
    return content


def _too_large(path: str) -> DataError:
    return DataError(f"{path} unpacks to more than {MOST_BYTES // 2**20} MiB: unpack it, and name the file in it")
