import io
import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services.errors import QueryError
from services.rendering import rows
from services.store import queries
from services.store.store import Store
from tests.support.factories import five_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return five_runs(tmp_path_factory.mktemp("store"))


def written(frame: pl.DataFrame, form: rows.Format, width: int = 120) -> bytes:
    out = io.BytesIO()
    rows.write(frame, form, out, width)
    return out.getvalue()


@pytest.fixture
def answer(store: Store) -> pl.DataFrame:
    return queries.rows(store, "runs", sort=["seed"])


def test_parquet_gives_the_same_frame(answer: pl.DataFrame) -> None:
    assert_frame_equal(pl.read_parquet(written(answer, "parquet")), answer)


def test_json_is_a_list_of_records_without_nan(answer: pl.DataFrame) -> None:
    rows = json.loads(written(answer, "json"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["seed"] for row in rows] == [0, 1, 2, 3, 9]
    assert rows[0]["compile_seconds"] is None
    assert rows[0]["device"] == "Gerät „0“"
    assert rows[0]["warnings"] == ["Vorsicht: β ≠ 0", ""]


def test_csv_has_a_header_and_one_line_per_row(answer: pl.DataFrame) -> None:
    found = pl.read_csv(written(answer, "csv"))
    assert found.columns == answer.columns
    assert found["warnings"][0] == "Vorsicht: β ≠ 0; "
    assert found["seed"].to_list() == [0, 1, 2, 3, 9]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_fits_and_says_what_it_leaves_out(answer: pl.DataFrame, width: int) -> None:
    lines = written(answer, "table", width).decode().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[-1] == "5 rows"
    assert "not shown for want of room" in "\n".join(lines)
    assert "versions" in "\n".join(lines)


def test_a_table_cannot_move_the_cursor(answer: pl.DataFrame) -> None:
    hostile = answer.select("seed").head(1).with_columns(device=pl.lit("a\x1b[2Jb\n[red]c"))
    text = written(hostile, "table").decode()
    assert "\x1b" not in text
    assert "[red]c" in text


def test_no_text_of_a_csv_is_a_formula_to_a_spreadsheet() -> None:
    names = ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "iris", None, "a=b"]
    frame = pl.DataFrame({"dataset": names, "value": [-1.5] * 8, "notes": [["=1", "b"]] * 8})
    read = pl.read_csv(io.BytesIO(written(frame, "csv")))
    assert read["dataset"].to_list() == [*("'" + name for name in names[:5] if name), *names[5:]]
    assert read["value"].to_list() == [-1.5] * 8
    assert read["notes"].to_list() == ["'=1; b"] * 8


def test_an_unknown_format_is_refused_by_name(answer: pl.DataFrame) -> None:
    with pytest.raises(QueryError, match="no format 'jsn': did you mean 'json'"):
        written(answer, "jsn")  # pyright: ignore[reportArgumentType]


def test_parquet_does_not_go_to_a_terminal(answer: pl.DataFrame) -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(QueryError, match="Parquet is binary"):
        rows.write(answer, "parquet", Terminal())


def test_an_empty_answer_is_a_table_of_no_rows(store: Store) -> None:
    assert written(queries.rows(store, "runs", ["seed=77"]), "table").decode().splitlines()[-1] == "0 rows"
    assert json.loads(written(queries.rows(store, "comparisons"), "json")) == []
