"""The names of a file's columns, without its rows."""

import random
from pathlib import Path

import polars as pl
import pytest

from models.data.dataset import DataError
from services.datasets.readers import read_columns, read_frame

FRAME = pl.DataFrame({"a, b": [1, 2], "": ["x", "y"], "größe": [0.5, None]})
WRITERS = {
    "t.csv": FRAME.write_csv,
    "t.tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    "bar.csv": lambda path: FRAME.write_csv(path, separator="|"),
    "marked.csv": lambda path: FRAME.write_csv(path, include_bom=True),
    "t.parquet": FRAME.write_parquet,
    "t.arrow": FRAME.write_ipc,
    "t.feather": FRAME.write_ipc,
}


@pytest.mark.parametrize("name", WRITERS)
def test_columns_are_those_of_the_whole_table(name: str, tmp_path: Path):
    WRITERS[name](tmp_path / name)
    assert read_columns(tmp_path / name) == read_frame(tmp_path / name).frame.columns


def test_a_file_that_ends_with_its_header_has_columns_too(tmp_path: Path):
    (tmp_path / "line.csv").write_text("a;b")
    assert read_columns(tmp_path / "line.csv") == ["a", "b"]


def test_only_the_start_of_a_text_is_read(tmp_path: Path):
    # The megabyte ends within a letter of two bytes, and what comes after it is no text.
    (tmp_path / "large.csv").write_bytes(b"a,b\n" + "1,öö\n".encode() * 200_000 + b"\xff\x00")
    assert read_columns(tmp_path / "large.csv") == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.json", b"a,b\n", "is no table that can be read"),
        ("t.csv", b" \n", "is empty"),
        ("t.csv", b"a,a\n1,2\n", "several columns named 'a'"),
        ("t.csv", b"1,2\n3,4\n", "has no header"),
        ("t.csv", b"a,\x81\n", "is no UTF-8 text"),
        ("t.parquet", b"PAR1", "cannot be read as parquet"),
        ("t.arrow", b"ARROW1", "cannot be read as arrow"),
    ],
)
def test_what_has_no_columns_is_refused(name: str, content: bytes, said: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_columns(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_no_file_and_a_folder_are_refused(suffix: str, tmp_path: Path):
    with pytest.raises(DataError, match=f"none{suffix}"):
        read_columns(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(DataError, match=f"folder{suffix}"):
        read_columns(tmp_path / f"folder{suffix}")


def test_damaged_tables_of_columns_are_refused_without_a_word_of_the_library(tmp_path: Path, capfd):
    chance = random.Random(0)
    for name in ("t.parquet", "t.arrow"):
        WRITERS[name](tmp_path / name)
        good = (tmp_path / name).read_bytes()
        for _ in range(60):
            content = bytearray(good)
            content[chance.randrange(len(good))] = chance.randrange(256)
            (tmp_path / name).write_bytes(content)
            _read_or_refused(tmp_path / name)
    assert capfd.readouterr().err == ""


def _read_or_refused(path: Path) -> None:
    try:
        read_columns(path)
        read_frame(path)
    except DataError as error:
        if "\n" in str(error):
            raise


def test_codes_and_types_of_columns_survive(tmp_path: Path):
    frame = pl.DataFrame(
        {"id": pl.Series([2**63 + 5, 2**63 + 6], dtype=pl.UInt64), "zip": ["007", "08"], "x": [0.1, None]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ipc(tmp_path / "t.arrow")
    assert read_frame(tmp_path / "t.parquet").frame.equals(frame)
    assert read_frame(tmp_path / "t.arrow").frame.equals(frame)
