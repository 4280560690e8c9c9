"""Workbooks and the files of statistics packages to data frames, by libraries of their own."""

import csv
import importlib.util
import io
import re
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from models.data.dataset import DataError, listed
from services.datasets.compressed import check_size
from services.datasets.delimited import Table

_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]{0,3})(\d{1,9})["']""")
_MOST_CELLS = 20_000_000


class Sheet(NamedTuple):
    """A sheet's cells as a text table with commas, and what to tell of it."""

    text: str
    notes: tuple[str, ...]


def read_sheet(path: str, content: bytes) -> Sheet:
    """Read the cells of a workbook's first sheet as text, from which every number can be had again.

    Raises:
        DataError: the library is not installed, or the file is damaged, protected or too large.
    """
    _need("python-calamine", path, "save the sheet as CSV in UTF-8")
    import python_calamine

    _check_extent(path, content)
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = book.sheet_names
        rows = book.get_sheet_by_index(0).to_python()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # what Rust raises
            raise
        raise _damaged(path, "a workbook", error) from None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_written(cell) for cell in row] for row in rows)
    note = f"read the sheet {sheets[0]!r}"
    if len(sheets) > 1:
        note += f", the first of {len(sheets)}; the others were left alone: {listed(sheets[1:])}"
    return Sheet(text.getvalue(), (note,))


def _written(cell: object) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    return str(cell)


def _check_extent(path: str, content: bytes) -> None:
    """Refuse a sheet with a lone cell far off: the library makes room for all the cells between."""
    check_size(path, content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            places = [
                place
                for name in archive.namelist()
                if name.startswith("xl/worksheets/") and name.endswith(".xml")
                for place in set(_PLACE.findall(archive.read(name)))
            ]
    except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise _damaged(path, "a workbook", error) from None
    rows = max((int(row) for _, row in places), default=0)
    columns = max((_column(letters) for letters, _ in places), default=0)
    if rows * columns > _MOST_CELLS:
        raise DataError(
            f"{path} has a sheet that reaches to row {rows:,} and column {columns:,}: delete what is far from the "
            "table, or save the sheet as CSV in UTF-8"
        )


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number


def read_stata(path: str, content: bytes) -> Table:
    """Read a Stata file; labelled values are text.

    Raises:
        DataError: the file is damaged.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame: Any = pd.read_stata(io.BytesIO(content))
        return Table(pl.from_pandas(frame))
    except Exception as error:  # noqa: BLE001 - a damaged file makes it fail in any way
        raise _damaged(path, "a Stata file", error) from None


def read_spss(path: str, content: bytes) -> Table:
    """Read an SPSS file; labelled values are text.

    Raises:
        DataError: the library is not installed, or the file is damaged.
    """
    _need("pyreadstat", path, "save it as CSV")
    import pyreadstat

    try:
        with tempfile.TemporaryDirectory(prefix="basin-") as folder:  # the library reads places only
            place = Path(folder) / "table.sav"
            place.write_bytes(content)
            frame: Any = pyreadstat.read_sav(place, apply_value_formats=True)[0]
        return Table(pl.from_pandas(frame))
    except Exception as error:  # noqa: BLE001 - a damaged file makes it fail in any way
        raise _damaged(path, "an SPSS file", error) from None


def _need(library: str, path: str, otherwise: str) -> None:
    if importlib.util.find_spec(library.replace("-", "_")) is None:
        raise DataError(
            f"{path} needs the library {library}, which is not installed: pip install {library}, or {otherwise}"
        )


def _damaged(path: str, kind: str, error: BaseException) -> DataError:
    first = (str(error).splitlines() or ["no reason given"])[0]
    return DataError(f"{path} cannot be read as {kind}: {first[:200]}: save it anew, or as CSV")
