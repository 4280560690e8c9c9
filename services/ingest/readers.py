"""Files to data frames or arrays; whatever is wrong with a file becomes one plain sentence."""

import csv
import difflib
import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from models.dataset import DataError, listed
from services.ingest.reading import UNSTATED, Reading

_SEPARATORS = ",;\t|"
_HEADER_BYTES = 2**20


def read_frame(path: Path, reading: Reading = UNSTATED) -> pl.DataFrame:
    """Read a table by its suffix: CSV (comma, semicolon, tab or bar), Parquet, Arrow or Feather.

    Raises:
        DataError: the file is missing, a folder, unreadable, empty, damaged or of another kind.
    """
    content = _bytes(path)
    reader = _FRAMES.get(path.suffix.lower())
    if reader is None:
        raise _no_table(path)
    try:
        frame = reader(path, content)
    except (pl.exceptions.PolarsError, csv.Error, OSError) as error:
        raise _unreadable(path, error) from None
    if frame.is_empty():
        raise DataError(f"{path} has no rows: expected a table with a row per example")
    return frame


def read_columns(path: Path, reading: Reading = UNSTATED) -> list[str]:
    """The names of a table's columns, by the start of the file or what it says of itself.

    Raises:
        DataError: the file is missing, a folder or of another kind; or that start is unreadable, empty or damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in _FRAMES:
        raise _no_table(path)
    try:
        if suffix == ".parquet":
            return list(pl.read_parquet_schema(path))
        if suffix in (".arrow", ".feather"):
            return list(pl.read_ipc_schema(path))
        start = _bytes(path, _HEADER_BYTES)
        return _header(path, _text(path, start[: start.rfind(b"\n") + 1] or start)).names
    except (pl.exceptions.PolarsError, csv.Error, OSError) as error:
        raise _unreadable(path, error) from None


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read `x` and `y` from an NPZ file: (n, d) tables, (n, t, c) sequences or (n, h, w, c) images, and (n,) targets.

    Raises:
        DataError: the file is missing, damaged or holds pickled objects; an array is absent or of the wrong shape or
            type.
    """
    try:
        with np.load(io.BytesIO(_bytes(path)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as NPZ: write it by numpy.savez(path, x=..., y=...), without objects ({error})"
        ) from None
    for name in ("x", "y"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}: it holds {listed(arrays)}")
    x, y = arrays["x"], arrays["y"]
    if x.dtype.kind not in "biuf":
        raise DataError(f"x of {path} has type {x.dtype}: expected numbers")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise DataError(f"x of {path} has shape {x.shape}: expected (n, d), (n, t, c) or (n, h, w, c)")
    if y.shape != (len(x),):
        raise DataError(f"y of {path} has shape {y.shape}: expected ({len(x)},), one value per row of x")
    return x, y


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes, as MNIST is distributed: big-endian sizes, then the values.

    Raises:
        DataError: the file is missing, or is none such.
    """
    try:
        raw = gzip.decompress(_bytes(path))
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as gzip: {error}") from None
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is no IDX file of unsigned bytes")
    ndim = raw[3]
    sizes = tuple(np.frombuffer(raw, ">u4", count=ndim, offset=4).tolist())
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim)
    if values.size != np.prod(sizes):
        raise DataError(f"{path} is cut short: {values.size} bytes of {np.prod(sizes)}")
    return values.reshape(sizes)


def _no_table(path: Path) -> DataError:
    return DataError(f"{path} is no table that can be read: expected one of {', '.join(SUFFIXES)}")


def _unreadable(path: Path, error: Exception) -> DataError:
    # Only the first line says what is wrong; the rest advises on the reader's options.
    return DataError(f"{path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}")


def _bytes(path: Path, most: int = -1) -> bytes:
    """The whole content, or at most so many bytes of it."""
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    try:
        with path.open("rb") as file:
            content = file.read(most)
    except FileNotFoundError:
        raise DataError(f"no file {path}{_nearest(path)}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not content.strip():
        raise DataError(f"{path} is empty: expected a table with a row per example")
    return content


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir() if p.is_file()], n=3)
    return f": did you mean {listed(near)}?" if near else f" in {path.parent.resolve()}"


class _Header(NamedTuple):
    """The first line of a CSV file."""

    separator: str
    names: list[str]


def _csv(path: Path, content: bytes) -> pl.DataFrame:
    text = _text(path, content)
    separator, names = _header(path, text)
    frame = pl.read_csv(text.encode(), separator=separator, infer_schema=False)
    if len(names) != frame.width:
        raise DataError(f"{path} has a header that cannot be read: check the quotation marks in its first line")
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig").lstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no UTF-8 text (byte {error.start} is {content[error.start]:#04x}): save it as CSV in UTF-8"
        ) from None
    if "\x00" in text:
        raise DataError(f"{path} is no text: it holds zero bytes")
    return text


def _header(path: Path, text: str) -> _Header:
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    header = [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=separator))]
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{path} has several columns named {listed(repeated)}: give each column its own name")
    if all(_is_number(name) for name in header):
        raise DataError(f"{path} has no header: its first line holds numbers only, and must name the columns")
    return _Header(separator, [name or "unnamed" for name in header])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path, content: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(content))


def _arrow(path: Path, content: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(content))


_FRAMES: dict[str, Callable[[Path, bytes], pl.DataFrame]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
SUFFIXES = (*_FRAMES, ".npz")
