"""Compressed files, workbooks and the files of statistics packages."""

import gzip
import importlib.util
import zipfile
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from models.data.dataset import DataError
from services.datasets import compressed
from services.datasets.readers import read_columns, read_frame
from services.datasets.registry import load

ROWS = [((k - 3) / 7e9, k, ["north", "south"][k % 2]) for k in range(30)]
FRAME = pd.DataFrame(ROWS, columns=["area", "rooms", "side"])
TEXT = FRAME.to_csv(index=False)


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def workbook(path: Path, rows: list[tuple], sheets: tuple[str, ...] = ("Flats",)) -> Path:
    """As little of a workbook as programs read."""
    of = "http://schemas.openxmlformats.org/"
    cells = "".join(f"<row>{''.join(_cell(value) for value in row)}</row>" for row in rows)
    sheet = f'<worksheet xmlns="{of}spreadsheetml/2006/main"><sheetData>{cells}</sheetData></worksheet>'
    numbers = range(1, len(sheets) + 1)
    types = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    relations = f"{of}officeDocument/2006/relationships"
    names = zip(sheets, numbers, strict=True)
    return zipped(
        path,
        {
            "[Content_Types].xml": f'<Types xmlns="{of}package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{types}.sheet.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{of}package/2006/relationships"><Relationship Id="r" '
            f'Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{of}spreadsheetml/2006/main" xmlns:r="{relations}"><sheets>'
            + "".join(f'<sheet name="{name}" sheetId="{k}" r:id="r{k}"/>' for name, k in names)
            + "</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{of}package/2006/relationships">'
            + "".join(
                f'<Relationship Id="r{k}" Type="{relations}/worksheet" Target="worksheets/sheet{k}.xml"/>'
                for k in numbers
            )
            + "</Relationships>",
            **{f"xl/worksheets/sheet{k}.xml": sheet for k in numbers},
        },
    )


def _cell(value) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def text_of(frame: pl.DataFrame) -> list[tuple]:
    return [(float(a), float(b), str(c)) for a, b, c in frame.rows()]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv.gz", "t.zip", "t.xlsx", "t.dta", "t.sav", "t.parquet.gz"])
def test_every_kind_gives_the_same_table(name: str, tmp_path: Path):
    path = tmp_path / name
    match path.suffix:
        case ".zip":
            zipped(path, {"folder/": "", "__MACOSX/t.csv": "x", "folder/t.csv": TEXT, "readme.md": "a,b"})
        case ".xlsx":
            pytest.importorskip("python_calamine")
            workbook(path, [("area", "rooms", "side"), *ROWS])
        case ".dta":
            FRAME.to_stata(path, write_index=False)
        case ".sav":
            pytest.importorskip("pyreadstat").write_sav(FRAME, path)
        case _ if ".parquet" in name:
            pl.from_pandas(FRAME).write_parquet(tmp_path / "t.parquet")
            path.write_bytes(gzip.compress((tmp_path / "t.parquet").read_bytes()))
        case _:
            text = TEXT.replace(",", "\t") if ".tsv" in name else TEXT
            path.write_bytes(gzip.compress(text.encode()))
    table = read_frame(path)
    assert table.frame.columns == ["area", "rooms", "side"]
    assert text_of(table.frame) == ROWS
    assert read_columns(path) == table.frame.columns
    dataset = load(str(path), cache=tmp_path, target="area")
    assert dataset.factors["side"].tolist() == [side for *_, side in ROWS]


def test_a_sheet_with_a_title_gaps_and_other_sheets_is_read(tmp_path: Path):
    pytest.importorskip("python_calamine")
    rows = [("A survey of flats",), (), ("area", None, "rooms", "side"), *((a, None, b, c) for a, b, c in ROWS)]
    table = read_frame(workbook(tmp_path / "t.xlsx", rows, ("Flats", "Notes")))
    assert text_of(table.frame) == ROWS
    said = " ".join(table.notes)
    assert "read the sheet 'Flats', the first of 2; the others were left alone: 'Notes'" in said
    assert "'A survey of flats" in said
    assert "number 2 of each line" in said


def test_a_lone_cell_far_off_is_told_and_takes_no_room(tmp_path: Path):
    path = workbook(tmp_path / "t.xlsx", [("a", "b"), (1, 2)])
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["xl/worksheets/sheet1.xml"] = files["xl/worksheets/sheet1.xml"].replace(
        b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    )
    with pytest.raises(DataError, match="reaches to row 1,048,576 and column 16,384"):
        read_frame(zipped(path, files))


def test_labels_of_values_are_text_in_spss_and_stata(tmp_path: Path):
    frame = pd.DataFrame({"side": [1.0, 2.0] * 15, "area": FRAME["area"]})
    pytest.importorskip("pyreadstat").write_sav(
        frame, tmp_path / "t.sav", variable_value_labels={"side": {1: "north", 2: "south"}}
    )
    frame.to_stata(tmp_path / "t.dta", write_index=False, value_labels={"side": {1: "north", 2: "south"}})
    for name in ("t.sav", "t.dta"):
        dataset = load(str(tmp_path / name), cache=tmp_path, target="area")
        assert dataset.factors["side"].tolist() == ["north", "south"] * 15


@pytest.mark.parametrize(("name", "library"), [("t.xlsx", "python-calamine"), ("t.sav", "pyreadstat")])
def test_a_library_that_is_not_installed_is_named(name: str, library: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    zipped(tmp_path / name, {"a": "b"})
    with pytest.raises(DataError, match=f"needs the library {library}, which is not installed: pip install {library}"):
        read_frame(tmp_path / name)


def test_archives_that_hold_no_single_table_are_refused(tmp_path: Path):
    for files, said in (
        ({"a.csv": TEXT, "b.tsv": TEXT}, r"holds 2 tables, of 'a.csv', 'b.tsv': expected one"),
        ({"a.json": "{}"}, r"holds no tables, of 'a.json': expected one"),
        ({}, "holds no tables, of no files"),
        ({"a.csv": ""}, "is empty"),
    ):
        with pytest.raises(DataError, match=said):
            read_frame(zipped(tmp_path / "t.zip", files))
    content = zipped(tmp_path / "t.zip", {"a.csv": TEXT}).read_bytes()
    for damaged in (content[:60], content[:30] + b"????" + content[34:], content.replace(b"PK\x01\x02", b"PK\x01\x03")):
        (tmp_path / "t.zip").write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be unpacked .*unpack it, and name"):
            read_frame(tmp_path / "t.zip")
    (tmp_path / "t.gz").write_bytes(gzip.compress(TEXT.encode()))
    with pytest.raises(DataError, match="no table that can be read"):
        read_frame(tmp_path / "t.gz")


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(compressed, "MOST_BYTES", 2**20)
    bomb = b"a,b\n" + b"1,2\n" * 2**19
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(bomb))
    zipped(tmp_path / "t.zip", {"t.csv": bomb})
    zipped(tmp_path / "t.xlsx", {"xl/workbook.xml": bomb})
    for name in ("t.csv.gz", "t.zip", "t.xlsx"):
        with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
            read_frame(tmp_path / name)
    assert read_columns(tmp_path / "t.csv.gz") == ["a", "b"]  # by its start
