"""Files to tables or arrays; whatever is wrong with a file becomes one plain sentence."""

import gzip
import io
import stat
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from models.data.dataset import DataError, listed
from models.spelling import did_you_mean
from services.datasets import compressed
from services.datasets.delimited import Table, read_names, read_text
from services.datasets.encoding import decode
from services.datasets.reading import UNSTATED, Reading
from services.datasets.sheets import read_sheet, read_spss, read_stata

_START_BYTES = 2**20


def read_frame(path: Path, reading: Reading = UNSTATED) -> Table:
    """Read a table by its suffix, unpacked if it is compressed.

    The columns of text files (CSV and the like) and workbooks are text, and whatever is in a cell stays as it is.

    Raises:
        DataError: the file is missing, a folder, unreadable, empty, damaged or of another kind.
    """
    opened = _open(path)
    table = opened.kind.read(opened.where, opened.content, reading)
    if table.frame.is_empty():
        raise DataError(f"{path} has no rows: expected a table with a row per example")
    return Table(table.frame, (*opened.notes, *table.notes))


def read_columns(path: Path, reading: Reading = UNSTATED) -> list[str]:
    """The names of a table's columns, by the start of the file or what it says of itself.

    Raises:
        DataError: the file is missing, a folder or of another kind; or that start is unreadable, empty or damaged.
    """
    if (schema := _SCHEMAS.get(path.suffix.lower())) is not None:
        _bytes(path, 1)  # refuses what is no file
        try:
            return schema(path).names
        except _DAMAGES as error:
            raise _damaged(str(path), path.suffix[1:], error) from None
    opened = _open(path, is_start=True)
    if opened.kind.names is not None:
        return opened.kind.names(opened.where, opened.content, reading)
    return opened.kind.read(opened.where, _open(path).content, reading).frame.columns


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


class _Kind(NamedTuple):
    """How a kind of file is read, and how its columns' names are by its start, where that suffices."""

    read: Callable[[str, bytes, Reading], Table]
    names: Callable[[str, bytes, Reading], list[str]] | None = None


class _Opened(NamedTuple):
    where: str
    content: bytes
    kind: _Kind
    notes: tuple[str, ...]


def _open(path: Path, *, is_start: bool = False) -> _Opened:
    """The content of a table's file, or at least the start of it, unpacked if it is compressed."""
    suffix = path.suffix.lower()
    if suffix in compressed.SUFFIXES:
        most = _START_BYTES if is_start else None
        unpacked = compressed.unpack(str(path), _bytes(path), tuple(_KINDS), most)
        if (kind := _KINDS.get(Path(unpacked.name).suffix.lower())) is None:
            raise _no_table(path)
        return _Opened(str(path), _filled(path, unpacked.content), kind, unpacked.notes)
    kind = _KINDS.get(suffix)
    if kind is None:
        _bytes(path, 1)  # a folder, or nothing at all, is told before
        raise _no_table(path)
    return _Opened(str(path), _bytes(path, _START_BYTES if is_start else -1), kind, ())


def _no_table(path: Path) -> DataError:
    return DataError(
        f"{path} is no table that can be read: expected one of {', '.join(SUFFIXES)}; from other programs, save it as "
        "CSV in UTF-8"
    )


def _bytes(path: Path, most: int = -1) -> bytes:
    """The whole content, or at most so many bytes of it."""
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is no ordinary file: write the table to one")
        with path.open("rb") as file:
            content = file.read(most)
    except FileNotFoundError:
        raise DataError(f"no file {path}{_nearest(path)}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return _filled(path, content)


def _filled(path: Path, content: bytes) -> bytes:
    if not content.strip():
        raise DataError(f"{path} is empty: expected a table with a row per example")
    return content


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    hint = did_you_mean(path.name, (p.name for p in path.parent.iterdir() if p.is_file()), "")
    return f": {hint}" if hint else f" in {path.parent.resolve()}"


def _text(where: str, content: bytes, reading: Reading, preferred: str) -> Table:
    text, notes = decode(content, where)
    table = read_text(text, where, reading, preferred)
    return Table(table.frame, (*notes, *table.notes))


def _text_names(where: str, content: bytes, reading: Reading, preferred: str) -> list[str]:
    is_start = len(content) >= _START_BYTES
    return read_names(decode(content, where, is_start=is_start).text, where, reading, preferred)


def _binary(
    where: str, content: bytes, _reading: Reading, *, read: Callable[[io.BytesIO], pl.DataFrame], kind: str
) -> Table:
    try:
        return Table(read(io.BytesIO(content)))
    except _DAMAGES as error:
        raise _damaged(where, kind, error) from None


def _damaged(where: str, kind: str, error: BaseException) -> DataError:
    # Only the first line says what is wrong; the rest advises on the reader's options.
    return DataError(f"{where} cannot be read as {kind}: {(str(error).splitlines() or ['damaged'])[0]}")


def _arrow(file: io.BytesIO) -> pl.DataFrame:
    with pyarrow.ipc.open_file(file) as opened:
        return _checked(opened.read_all())


def _parquet(file: io.BytesIO) -> pl.DataFrame:
    with pyarrow.parquet.ParquetFile(file) as opened:
        return _checked(opened.read())


def _checked(table: pyarrow.Table) -> pl.DataFrame:
    """A table of pyarrow, which checks what it reads: polars prints a stack trace where a file is damaged."""
    table.validate(full=True)
    plain = pyarrow.schema([pyarrow.field(field.name, field.type) for field in table.schema])  # without metadata
    frame = pl.DataFrame(table.cast(plain))
    frame.columns = table.column_names  # it would give a name to a column without one
    return frame


def _arrow_schema(path: Path) -> pyarrow.Schema:
    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_file(file) as opened:
        return opened.schema


def _workbook(where: str, content: bytes, reading: Reading) -> Table:
    """A sheet is laid out as a text table may be: with titles above, gaps, and columns without names."""
    sheet = read_sheet(where, content)
    table = read_text(sheet.text, where, reading.model_copy(update=_COMMA), ",")
    return Table(table.frame, (*sheet.notes, *table.notes))


_DAMAGES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pyarrow.ArrowException, OSError, ValueError)
_SCHEMAS: dict[str, Callable[[Path], pyarrow.Schema]] = {
    ".parquet": pyarrow.parquet.read_schema,
    ".arrow": _arrow_schema,
    ".feather": _arrow_schema,
}
_COMMA = {"separator": ","}
_COMMAS = _Kind(partial(_text, preferred=","), partial(_text_names, preferred=","))
_TABS = _Kind(partial(_text, preferred="\t"), partial(_text_names, preferred="\t"))
_ARROW = _Kind(partial(_binary, read=_arrow, kind="arrow"))
_WORKBOOK = _Kind(_workbook)
_KINDS: dict[str, _Kind] = {
    ".csv": _COMMAS,
    ".tsv": _TABS,
    ".tab": _TABS,
    ".txt": _COMMAS,
    ".data": _COMMAS,
    ".dat": _COMMAS,
    ".parquet": _Kind(partial(_binary, read=_parquet, kind="parquet")),
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".xlsx": _WORKBOOK,
    ".xlsm": _WORKBOOK,
    ".dta": _Kind(lambda where, content, _: read_stata(where, content)),
    ".sav": _Kind(lambda where, content, _: read_spss(where, content)),
}
SUFFIXES = (*_KINDS, ".npz", *compressed.SUFFIXES)
