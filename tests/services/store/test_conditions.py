"""Conditions in the spelling of the command, and questions whose answer is wanted at once."""

import pytest
from polars.testing import assert_frame_equal

from services.errors import QueryError
from services.store.queries import Query, rows, scan
from services.store.store import Store
from tests.support import factories
from tests.support.factories import five_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return five_runs(tmp_path_factory.mktemp("store"))


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
    assert sorted(rows(store, "runs", where)["seed"]) == seeds


def test_runs_are_shown_by_their_last_attempt(store: Store) -> None:
    assert rows(store, "runs", ["seed=9"], ["status", "attempt"]).rows() == [("diverged", 1)]


def test_other_tables_can_be_asked_by_what_was_run(store: Store) -> None:
    found = rows(store, "metrics", ["seed=2", "metric=accuracy"], ["learner", "split", "value"])
    expected = factories.result(factories.request(2, split=0)).metrics[1].value
    assert found.rows() == [("mlp-sgd", 0, expected)]


def test_nan_meets_no_condition_but_that_it_is_missing(store: Store) -> None:
    for sign in (">", "<", "!=", "="):
        assert rows(store, "metrics", [f"value{sign}0.0"])["value"].is_nan().sum() == 0
    assert len(rows(store, "metrics", ["value=nan"])) == 1


def test_answers_are_sorted_with_missing_values_last_and_cut(store: Store) -> None:
    for sort in ("value", "-value"):
        values = rows(store, "metrics", ["metric=accuracy"], ["value"], [sort])["value"]
        assert values.is_nan().to_list() == [False] * 4 + [True]
        assert values[:4].is_sorted(descending=sort == "-value")
    assert rows(store, "runs", select=["seed"], sort=["-split", "seed"], limit=3)["seed"].to_list() == [1, 3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "metricz"}, "no table 'metricz': did you mean 'metrics'?"),
        ({"table": "xxxx"}, "there are runs, metrics, curves"),
        ({"where": ["lerner=a"]}, "table 'runs' has no column 'lerner'; did you mean 'learner'"),
        ({"select": ["sed"]}, "did you mean 'seed'"),
        ({"sort": ["-lerner"]}, "did you mean 'learner'"),
        ({"where": ["learner"]}, "cannot read the condition 'learner': write column:operator:value"),
        ({"where": ["seed=one"]}, "expected a whole number"),
        ({"where": ["wall_seconds<fast"]}, "expected a number"),
        ({"where": ["git_dirty=perhaps"]}, "expected true or false"),
        ({"where": ["stored_at>yesterday"]}, "expected a moment such as"),
        ({"where": ["error>null"]}, "null goes with = and !="),
        ({"where": ["warnings>a"]}, "warnings is a list"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(store: Store, arguments: dict, message: str) -> None:
    with pytest.raises(QueryError) as fault:
        rows(store, **({"table": "runs"} | arguments))
    assert message in str(fault.value)


SPELLINGS = [
    ("runs", "learner=mlp-sgd", "learner:eq:mlp-sgd"),
    ("runs", "learner!=mlp-sgd", "learner:ne:mlp-sgd"),
    ("runs", "learner>m", "learner:gt:m"),
    ("runs", "learner<m", "learner:lt:m"),
    ("runs", "learner>=mlp-sgd", "learner:ge:mlp-sgd"),
    ("runs", "learner<=mlp-sgd", "learner:le:mlp-sgd"),
    ("runs", "learner=null", "learner:is_null:true"),
    ("runs", "learner!=null", "learner:is_null:false"),
    ("runs", "dataset=Ziffern", "dataset:eq:Ziffern"),
    ("runs", "seed=2", "seed:eq:2"),
    ("runs", "seed!=2", "seed:ne:2"),
    ("runs", "seed<2", "seed:lt:2"),
    ("runs", "seed<=2", "seed:le:2"),
    ("runs", "seed>2", "seed:gt:2"),
    ("runs", "seed>=2", "seed:ge:2"),
    ("runs", "seed=+2", "seed:eq:+2"),
    ("runs", "seed>=-1", "seed:ge:-1"),
    ("runs", " seed  =  9 ", "seed:eq:9"),
    ("runs", "status=diverged", "status:eq:diverged"),
    ("runs", "status!=diverged", "status:ne:diverged"),
    ("runs", "status=failed", "status:eq:failed"),
    ("runs", "attempt=1", "attempt:eq:1"),
    ("runs", "error=null", "error:is_null:true"),
    ("runs", "error!=null", "error:is_null:false"),
    ("runs", "compile_seconds=nan", "compile_seconds:is_null:true"),
    ("runs", "compile_seconds!=nan", "compile_seconds:is_null:false"),
    ("runs", "compile_seconds=null", "compile_seconds:is_null:true"),
    ("runs", "compile_seconds<1", "compile_seconds:lt:1"),
    ("runs", "compile_seconds!=1e9", "compile_seconds:ne:1e9"),
    ("runs", "wall_seconds<inf", "wall_seconds:lt:inf"),
    ("runs", "wall_seconds>-inf", "wall_seconds:gt:-inf"),
    ("runs", "git_dirty=false", "git_dirty:eq:false"),
    ("runs", "git_dirty!=false", "git_dirty:ne:false"),
    ("runs", "git_dirty=true", "git_dirty:eq:true"),
    ("runs", "warnings=Vorsicht: β ≠ 0", "warnings:contains:Vorsicht: β ≠ 0"),
    ("runs", "warnings!=Vorsicht: β ≠ 0", "warnings:lacks:Vorsicht: β ≠ 0"),
    ("runs", "warnings=null", "warnings:is_null:true"),
    ("runs", "device=a:b:c", "device:eq:a:b:c"),
    ("runs", "device!=a=b", "device:ne:a=b"),
    ("runs", "stored_at>2026-01-02", "stored_at:gt:2026-01-02"),
    ("runs", "stored_at<2026-01-02T03:04:06+00:00", "stored_at:lt:2026-01-02T03:04:06+00:00"),
    ("runs", "stored_at<=2026-01-02T05:04:06+02:00", "stored_at:le:2026-01-02T03:04:06"),
    ("metrics", "metric=accuracy", "metric:eq:accuracy"),
    ("metrics", "part!=test", "part:ne:test"),
    ("metrics", "value>0.5", "value:gt:0.5"),
    ("metrics", "value<=0.5", "value:le:0.5"),
    ("metrics", "value=nan", "value:is_null:true"),
    ("metrics", "value!=0.5", "value:ne:0.5"),
    ("metrics", "seed=2", "seed:eq:2"),
    ("metrics", "kind=deterministic", "kind:eq:deterministic"),
]


@pytest.mark.parametrize(("table", "signed", "named"), SPELLINGS)
def test_both_spellings_of_a_condition_choose_the_same_rows(store: Store, table: str, signed: str, named: str) -> None:
    found = rows(store, table, [signed], sort=["run_key"])
    assert_frame_equal(found, rows(store, table, [named], sort=["run_key"]))
    asked = Query(table=table, where=(signed,), select=tuple(found.columns), sort=("run_key",))
    assert_frame_equal(found, store.collect(scan(store, asked)))


def test_some_of_the_conditions_choose_some_rows_and_not_all(store: Store) -> None:
    of = {table: len(rows(store, table)) for table in ("runs", "metrics")}
    partly = [each for each in SPELLINGS if 0 < len(rows(store, each[0], [each[1]])) < of[each[0]]]
    assert len(partly) > 20
