import io
import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services.errors import QueryError
from services.store import results
from services.store.results import query
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store")
    with writing(path) as writer:
        for seed in range(4):
            writer.put(factories.record(factories.request(seed, split=seed % 2)))
        lost = factories.request(9)
        writer.put(factories.record(lost, factories.failed(lost)))
        writer.put(factories.record(lost, factories.diverged(lost)))
    return Store(path)


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        ([], [0, 1, 2, 3, 9]),
        (["learner=mlp-sgd"], [0, 1, 2, 3, 9]),
        (["learner = mlp-sgd", "split=1"], [1, 3]),
        (["seed>=2", "seed<9"], [2, 3]),
        (["seed!=0"], [1, 2, 3, 9]),
        (["learning_rate<=0.1", "seed>3"], [9]),
        (["learning_rate>0.1"], []),
        (["status=diverged"], [9]),
        (["status=failed"], []),
        (["status!=failed", "seed>2"], [3, 9]),
        (["status=unheard-of"], []),
        (["error!=null"], [9]),
        (["compile_seconds<1"], [9]),
        (["compile_seconds=nan"], [0, 1, 2, 3]),
        (["git_dirty=false"], [0, 1, 2, 3, 9]),
        (["git_dirty=true"], []),
        (["warnings=Vorsicht: β ≠ 0"], [0, 1, 2, 3]),
        (["stored_at>2026-01-02"], [0, 1, 2, 3, 9]),
        (["stored_at>2026-01-02T04:00:00+00:00"], []),
    ],
)
def test_conditions_choose_runs(store: Store, where: list[str], seeds: list[int]) -> None:
    assert sorted(query(store, "runs", where)["seed"]) == seeds


def test_runs_are_shown_by_their_last_attempt(store: Store) -> None:
    assert query(store, "runs", ["seed=9"], ["status", "attempt"]).rows() == [("diverged", 1)]


def test_other_tables_can_be_asked_by_what_was_run(store: Store) -> None:
    found = query(store, "metrics", ["seed=2", "metric=accuracy"], ["learner", "split", "value"])
    expected = factories.result(factories.request(2, split=0)).metrics[1].value
    assert found.rows() == [("mlp-sgd", 0, expected)]


def test_nan_meets_no_inequality(store: Store) -> None:
    assert query(store, "metrics", ["value>0.0"])["value"].is_nan().sum() == 0
    assert len(query(store, "metrics", ["value=nan"])) == 1


def test_answers_are_sorted_with_missing_values_last_and_cut(store: Store) -> None:
    for sort in ("value", "-value"):
        values = query(store, "metrics", ["metric=accuracy"], ["value"], [sort])["value"]
        assert values.is_nan().to_list() == [False] * 4 + [True]
        assert values[:4].is_sorted(descending=sort == "-value")
    assert query(store, "runs", select=["seed"], sort=["-split", "seed"], limit=3)["seed"].to_list() == [1, 3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "metricz"}, "no table 'metricz': did you mean 'metrics'?"),
        ({"table": "xxxx"}, "there are runs, metrics, curves"),
        ({"where": ["lerner=a"]}, "table 'runs' has no column 'lerner': did you mean 'learner'"),
        ({"select": ["sed"]}, "did you mean 'seed'"),
        ({"sort": ["-lerner"]}, "did you mean 'learner'"),
        ({"where": ["learner"]}, "cannot read the condition 'learner': write a column"),
        ({"where": ["seed=one"]}, "expected a whole number, got 'one'"),
        ({"where": ["wall_seconds<fast"]}, "expected a number, got 'fast'"),
        ({"where": ["git_dirty=perhaps"]}, "expected true or false, got 'perhaps'"),
        ({"where": ["stored_at>yesterday"]}, "expected a date such as"),
        ({"where": ["error>null"]}, "null goes with = and !="),
        ({"where": ["warnings>a"]}, "warnings is a list"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(store: Store, arguments: dict, message: str) -> None:
    with pytest.raises(QueryError) as fault:
        query(store, **({"table": "runs"} | arguments))
    assert message in str(fault.value)


def written(frame: pl.DataFrame, form: results.Format, width: int = 120) -> bytes:
    out = io.BytesIO()
    results.write(frame, form, out, width)
    return out.getvalue()


@pytest.fixture
def answer(store: Store) -> pl.DataFrame:
    return query(store, "runs", sort=["seed"])


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
        results.write(answer, "parquet", Terminal())


def test_an_empty_answer_is_a_table_of_no_rows(store: Store) -> None:
    assert written(query(store, "runs", ["seed=77"]), "table").decode().splitlines()[-1] == "0 rows"
    assert json.loads(written(query(store, "comparisons"), "json")) == []
