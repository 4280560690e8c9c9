"""Workbooks and the files of statistics packages to data frames, by libraries of their own."""

import importlib.util
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import polars as pl

from models.dataset import DataError, listed
from services.ingest.compressed import check_size
from services.ingest.delimited import Table


def read_excel(path: str, content: bytes) -> Table:
    """Read the cells of a workbook's first sheet as text, without taking one of its rows for a header.

    Raises:
        DataError: the library is not installed, or the file is damaged.
    """
    _need("fastexcel", path, "save the sheet as CSV in UTF-8")
    import fastexcel

    check_size(path, content)
    try:
        book = fastexcel.read_excel(content)
        sheets = book.sheet_names
        frame = book.load_sheet(0, header_row=None, dtypes="string").to_polars()
    except fastexcel.FastExcelError as error:
        raise DataError(f"{path} cannot be read as a workbook: {str(error).splitlines()[0]}") from None
    note = f"read the sheet {sheets[0]!r}"
    if len(sheets) > 1:
        note += f", the first of {len(sheets)}; the others were left alone: {listed(sheets[1:])}"
    return Table(frame, (note,))


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
        raise _damaged(path, "Stata file", error) from None


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
        raise _damaged(path, "SPSS file", error) from None


def _need(library: str, path: str, otherwise: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise DataError(
            f"{path} needs the library {library}, which is not installed: pip install {library}, or {otherwise}"
        )


def _damaged(path: str, kind: str, error: Exception) -> DataError:
    first = (str(error).splitlines() or ["no reason given"])[0]
    return DataError(f"{path} cannot be read as {kind}: {first[:200]}: save it anew, or as CSV")
