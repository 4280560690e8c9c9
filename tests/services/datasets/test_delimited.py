"""Text tables of every layout: read with a note of what was assumed, or refused with the line and what helps."""

import random
import string
from pathlib import Path

import polars as pl
import pytest

from models.data.dataset import DataError
from services.datasets.delimited import Table
from services.datasets.readers import read_columns, read_frame
from services.datasets.reading import Reading

ROWS = [(f"{1.5 + k / 4:.2f}", f"{k * k % 7}", ["north", "south"][k % 2]) for k in range(30)]
NAMES = ["area", "rooms", "side"]


def lines(rows=ROWS, separator=",", end=""):
    return [separator.join(row) + end for row in rows]


def written(tmp_path: Path, text: str | list[str], name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(("\n".join(text) + "\n" if isinstance(text, list) else text).encode(encoding))
    return path


def check(path: Path, reading: Reading | None = None, columns: list[str] = NAMES, rows: list = ROWS) -> Table:
    table = read_frame(path, reading or Reading())
    assert table.frame.columns == columns
    assert table.frame.rows() == rows
    assert set(table.frame.dtypes) == {pl.String}
    assert read_columns(path, reading or Reading()) == columns
    return table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (["area,rooms,side", *lines()], ""),
        (["area;rooms;side", *lines(separator=";")], "separated by ';'"),
        (["area\trooms\tside", *lines(separator="\t")], "separated by tabs"),
        (["area|rooms|side", *lines(separator="|")], "separated by '|'"),
        (["  area   rooms side", *(f"  {a}    {b}\t{c}  " for a, b, c in ROWS)], "separated by spaces"),
        (["sep=;", "area;rooms;side", *lines(separator=";")], "as its first line says"),
        (['"area","rooms","side"', *(f'"{k}",{line}' for k, line in enumerate(lines()))], "as R writes it"),
        (['"area" "rooms" "side"', *(f'"{k}" {a} {b} "{c}"' for k, (a, b, c) in enumerate(ROWS))], "as R writes it"),
        (["area,rooms,side", *(f"{k},{line}" for k, line in enumerate(lines()))], "as R writes it"),
        (["area,rooms,side", *lines(), "\x1a"], ""),
        (["area,rooms,side,", *lines(end=",")], "number 4 of each line"),
        (["area,rooms,side", *lines(end=",")], "number 4 of each line"),
        (["area,,rooms,side", *(f"{a},,{b},{c}" for a, b, c in ROWS)], "number 2 of each line"),
        (["# made by me", "#", "area,rooms,side", *lines()], ""),
        (["# area,rooms,side", *lines()], ""),
        (["A survey of flats", "", "area,rooms,side", *lines()], "'A survey of flats'"),
        (["A survey,,", "area,rooms,side", *lines()], "'A survey,,'"),
        (["Survey, 2021", "area,rooms,side", *lines()], "'Survey, 2021'"),
        (["area,rooms,side", *lines()[:9], "# half of them", "", ",,", *lines()[9:]], "comments (#) in line 11"),
        (["area,rooms,side", *lines()[:9], lines()[9] + ",,", *lines()[10:]], ""),
        (['area, "rooms", side', *(f'{a}, "{b}", {c}' for a, b, c in ROWS)], ""),
    ],
)
def test_every_layout_gives_the_same_table(text: list[str], said: str, tmp_path: Path):
    for end in ("\n", "\r\n", "\r"):
        table = check(written(tmp_path, end.join(text) + end))
        assert said in " ".join(table.notes)
        assert said or not table.notes


def test_a_file_of_tabs_is_read_by_tabs_whatever_its_names_have(tmp_path: Path):
    names = ["length, cm", "width, cm", "side, a"]
    text = ["\t".join(names), *("\t".join((a.replace(".", ","), b, c)) for a, b, c in ROWS)]
    rows = [(a.replace(".", ","), b, c) for a, b, c in ROWS]
    assert not check(written(tmp_path, text, "t.tsv"), columns=names, rows=rows).notes


def test_decimal_commas_and_quoted_separators_do_not_count(tmp_path: Path):
    rows = [(a.replace(".", ","), f"{b},5", c) for a, b, c in ROWS]
    check(written(tmp_path, ["area;rooms;side", *lines(rows, ";")]), rows=rows)
    quoted = [(a, b, f"{c}; far, far") for a, b, c in ROWS]
    text = ["area,rooms,side", *(f'{a},{b},"{c}"' for a, b, c in quoted)]
    assert not check(written(tmp_path, text), rows=quoted).notes


def test_what_is_stated_holds(tmp_path: Path):
    rows = [(f"{a},x", b) for a, b, _ in ROWS]
    text = ["a:b", *(f"{a},x:{b}" for a, b, _ in ROWS)]
    check(written(tmp_path, text), Reading(separator=":"), columns=["a", "b"], rows=rows)


@pytest.mark.parametrize("value", ["", "ab", '"', "\n", "x", "1", "."])
def test_what_separates_nothing_is_refused(value: str):
    with pytest.raises(ValueError, match=r"separat|string"):
        Reading(separator=value)


def test_cells_stay_as_they_are(tmp_path: Path):
    rows = [("007", "9007199254740993", "1e5"), ("NA", "", "TRUE"), ("1_000", " x ", "2020-01-01")]
    table = read_frame(written(tmp_path, ["a,b,c", *(f'"{a}","{b}","{c}"' for a, b, c in rows)]))
    assert table.frame.rows() == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (["a,b", "1,2", "1,2,3", "1,2"], "line 3: 3 fields, expected 2 as in other lines, separated by ','"),
        (["a,b", "1,2", "1", "1,2"], "line 3: 1 field, expected 2 as in other lines, separated by ','"),
        (["a,b", '1,"x', "2,3", "4,5"], "line 2: a quotation mark that opens here is never closed"),
        (["a,b", '1,"x" y', "2,3"], "line 2: text follows a closing quotation mark"),
        (["a,b,a", "1,2,3"], "several columns named 'a' in line 1"),
        (["1,2", "3,4"], "has no header: its first line, 1, holds numbers only"),
        (["5.1,3.5,setosa", "4.9,3.0,setosa", "4.7,3.2,setosa"], "has no header: its first line, 1, holds numbers"),
        (["39, State-gov, 77516, 13", "50, Private, 83311, 9", "1, x, 2, 3"], "has no header"),
        (["x,y", *(f"{k},5,{k % 7}" for k in range(30))], "has 2 names for 3 fields: name every column"),
        (["x,y,z", *(f"{k}.5,{k},'north, far'" for k in range(30))], "has 3 names for 4 fields: name every column"),
        (["x,y,z", *(f"n{k},{k},Paris, France" for k in range(30))], "has 3 names for 4 fields: name every column"),
        (["a,b,c,d", "1,2,3", "4,5,6", "7,8,9"], "line 1: the header has 4 names, but most lines have 3 fields"),
        (["a,b,", *["1,2,"] * 1500, "1,2,x"], "line 1,502: field 3 is 'x', but line 1 has no name for it"),
        (["# a", "# b"], "all of its lines are comments"),
        (["y", "1", "2"], "has one column only, 'y', by commas, semicolons, tabs, bars or spaces"),
        ("a," * 3_000_000 + "b\n1,2\n", "longer than 4,194,304 characters"),
        ("a\tb\n" + "\t" * 30_000 + "x\n" + "\t" * 30_000 + "x\n", "has 30,001 columns, at most 20,000"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(text, said: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        read_frame(written(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_years_name_columns_and_this_is_said(tmp_path: Path):
    text = ["country,1990,1991,1992", *(f"c{k},{k},2,3" for k in range(30))]
    table = read_frame(written(tmp_path, text))
    assert table.frame.columns == ["country", "1990", "1991", "1992"]
    assert "numbers name columns in line 1" in table.notes[0]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", ""), ("utf-8-sig", ""), ("latin-1", "Windows-1252"), ("cp1252", "Windows-1252")]
    + [(each, "UTF-16") for each in ("utf-16", "utf-16-le", "utf-16-be")],
)
def test_encodings_are_told_apart(encoding: str, said: str, tmp_path: Path):
    rows = [(a, b, "süd" if c == "south" else c) for a, b, c in ROWS]
    table = check(written(tmp_path, ["area,rooms,side", *lines(rows)], encoding=encoding), rows=rows)
    assert said in " ".join(table.notes)
    assert ("'süd' should look right" in " ".join(table.notes)) == bool(said)


def test_bytes_and_changes_at_random_are_read_or_refused_in_one_sentence(tmp_path: Path):
    chance = random.Random(0)
    good = "\n".join(["area;rooms;side", *lines(separator=";")]).encode()
    letters = (string.printable + "äß€\x00\ufeff").encode()
    for trial in range(300):
        content = bytearray(good if trial % 3 else chance.randbytes(200))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(content))
            content[at : at + chance.randrange(3)] = bytes(chance.choices(letters, k=chance.randrange(3)))
        path = tmp_path / f"t.{chance.choice(['csv', 'tsv', 'txt', 'csv.gz', 'zip', 'xlsx', 'dta', 'sav', 'parquet'])}"
        path.write_bytes(content)
        assert "\n" not in _refusal(path)


def _refusal(path: Path) -> str:
    try:
        read_columns(path)
        read_frame(path)
    except DataError as error:
        return str(error)
    return ""
