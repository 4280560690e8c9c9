"""Files as people have them, read through the command's own door, and held against pandas that is told how."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.data.dataset import DataError
from services.datasets.readers import read_columns, read_frame
from services.datasets.registry import load
from tests.support.cases import case

READ: dict[str, tuple[str, dict[str, Any]]] = {
    "decimal-comma/deccomma.csv": ("separated by ';'", {"sep": ";"}),
    "decimal-comma/deccomma_feat.csv": ("separated by ';'", {"sep": ";"}),
    "delimiter/tabhdr.tsv": ("", {"sep": "\t"}),
    "delimiter/tie.csv": ("separated by ';'", {"sep": ";"}),
    "delimiter/hdr_commas.csv": ("separated by ';'", {"sep": ";"}),
    "unhelpful-csv-errors/comment.csv": ("", {"comment": "#"}),
    "unhelpful-csv-errors/cr.csv": ("", {}),
    "unhelpful-csv-errors/r_rownames.csv": ("for a row's name, as R writes it, and left out", {"index_col": 0}),
    "unhelpful-csv-errors/sep_line.csv": ("as its first line says", {"sep": ";", "skiprows": 1}),
    "unhelpful-csv-errors/spacequote.csv": ("", {"skipinitialspace": True}),
    "unhelpful-csv-errors/title.csv": ("before the header, in line 3, skipped: 'Housing survey'", {"skiprows": 2}),
    "unhelpful-csv-errors/trailing.csv": ("number 4 of each line", {"usecols": [0, 1, 2], "index_col": False}),
    "unhelpful-csv-errors/dup_trail.csv": ("number 4, 6 of each line", {"usecols": [0, 1, 2, 4]}),
    "compressed-and-sheets/z.csv.gz": ("", {}),
    "compressed-and-sheets/plain.txt": ("", {}),
    "compressed-and-sheets/latin1.csv": ("read as Windows-1252 (Latin-1); 'größe'", {"encoding": "latin-1"}),
    "messy/utf16.csv": ("read as UTF-16", {"encoding": "utf-16"}),
    "messy/quoted_newlines.csv": ("", {}),
    "messy/euro.csv": ("separated by ';'", {"sep": ";"}),
}
REFUSED = {
    "messy/ragged.csv": "line 52: 4 fields, expected 3 as in other lines",
    "messy/noheader.csv": "holds numbers only",
    "messy/onecol.csv": "has one column only",
    "messy/dupcols.csv": "several columns named 'x' in line 1",
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_pandas_reads_it_when_told_how(name: str):
    said, options = READ[name]
    folder, file = name.split("/")
    path = case(folder) / file
    table = read_frame(path)
    compression = "gzip" if path.suffix == ".gz" else None
    content = BytesIO(path.read_bytes())
    expected = pd.read_csv(content, dtype=str, keep_default_na=False, compression=compression, **options)
    assert table.frame.columns == [str(column).strip() for column in expected.columns]
    assert table.frame.rows() == list(expected.itertuples(index=False, name=None))
    assert said in " ".join(table.notes)
    assert read_columns(path) == table.frame.columns


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_place(name: str):
    folder, file = name.split("/")
    with pytest.raises(DataError, match=REFUSED[name]):
        read_frame(case(folder) / file)


def test_every_messy_table_is_read_or_refused_in_one_sentence(tmp_path: Path):
    for path in sorted(case("messy").glob("*sv")):
        said = _made_of(path, tmp_path)
        assert "columns used" in said or "\n" not in said


def _made_of(path: Path, cache: Path) -> str:
    """The notes on a file, a line each, or why it is refused."""
    try:
        columns = read_columns(path)
        return "\n".join(load(str(path), cache=cache, target="y" if "y" in columns else columns[-1]).notes)
    except DataError as error:
        return str(error)


def test_channels_that_come_first_are_noticed(tmp_path: Path):
    dataset = load(str(case("channels-first") / "xcf.npz"), cache=tmp_path)
    assert any("3 x 8 pixels with 8 channels" in note and "transpose" in note for note in dataset.notes)
