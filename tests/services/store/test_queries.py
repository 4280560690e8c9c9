"""Questions to the tables against a twin that reads all rows and filters them in Python."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import NotStoredError, QueryError
from services.store.queries import KEYS, Query, answer, columns_of, scan
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories

TABLE = "profiles"
NUMBERS = st.sampled_from([None, math.nan, -math.inf, math.inf, -1.5, -0.0, 0.0, 1e-300, 2.0, 3.0])
TEXTS = st.sampled_from(["", "a", "b", "Ä,", "b:c", "null"])
RUNS = {"r": ("Ziffern", 0), "s": ("iris", 1)}


class Held(Store):
    """A store whose tables are in memory."""

    def __init__(self, storage: Any, rows: Sequence[dict]) -> None:
        self.storage, self.location, self.rows = storage, "memory", list(rows)

    def scan(self, table: str) -> pl.LazyFrame:
        assert table == TABLE
        return pl.LazyFrame(self.rows, schema=SCHEMAS[TABLE])

    def runs(self) -> pl.LazyFrame:
        known = [{"run_key": key, "dataset": dataset, "split": split} for key, (dataset, split) in RUNS.items()]
        return pl.LazyFrame(known, schema=SCHEMAS["runs"])


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def place(row: dict) -> tuple:
    return tuple(None if missing(row[name]) else row[name] for name in KEYS[TABLE])


@st.composite
def row(draw: st.DrawFn) -> dict:
    return {
        "run_key": draw(st.sampled_from(list(RUNS))),
        "measurement": "m",
        "draw": draw(st.integers(-1, 2)),
        "measure": draw(TEXTS),
        "settings": "{}",
        "x": draw(NUMBERS),
        "y": draw(NUMBERS),
        "value": draw(NUMBERS),
        "standard_error": draw(NUMBERS),
    }


rows_of_profiles = st.lists(row(), unique_by=place, max_size=25)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    column, values = draw(
        st.sampled_from(
            [
                ("value", st.sampled_from(["-inf", "-1.5", "0", "-0.0", "2", "3.0", "1e-300"])),
                ("draw", st.sampled_from(["-1", "0", "+1", "2"])),
                ("measure", st.sampled_from(["", "a", "b", "Ä", "b:c", "null"])),
                ("dataset", st.sampled_from(["Ziffern", "iris"])),
            ]
        )
    )
    operators = ["eq", "ne", "lt", "le", "gt", "ge", "in", "is_null"] + ["contains"] * (column == "measure")
    operator = draw(st.sampled_from(operators))
    if operator == "is_null":
        return f"{column}:is_null:{draw(st.sampled_from(['true', 'false']))}"
    if operator == "in":
        return f"{column}:in:{','.join(draw(st.lists(values, min_size=1, max_size=3)))}"
    return f"{column}:{operator}:{draw(values)}"


sorts = st.lists(
    st.sampled_from(["value", "x", "draw", "measure", "dataset", "split"]).flatmap(
        lambda name: st.sampled_from([name, f"-{name}"])
    ),
    unique_by=lambda text: text.removeprefix("-"),
    max_size=3,
)
questions = st.builds(
    lambda where, sort, limit: Query(table=TABLE, where=tuple(where), sort=tuple(sort), limit=limit),
    st.lists(conditions(), max_size=2),
    sorts,
    st.integers(1, 7),
)


def holds(condition: str, row: dict) -> bool:
    name, operator, text = condition.split(":", 2)
    value, read = row[name], {"value": float, "draw": int, "split": int}.get(name, str)
    if operator == "is_null":
        return missing(value) == (text == "true")
    if missing(value):
        return False
    if operator == "in":
        return value in [read(part) for part in text.split(",")]
    if operator == "contains":
        return text in value
    other = read(text)
    return {
        "eq": value == other,
        "ne": value != other,
        "lt": value < other,
        "le": value <= other,
        "gt": value > other,
        "ge": value >= other,
    }[operator]


def twin(rows: Sequence[dict], query: Query) -> list[dict]:
    """Filtered and sorted, missing values last."""
    labelled = [row | dict(zip(("dataset", "split"), RUNS[row["run_key"]], strict=True)) for row in rows]
    met = [row for row in labelled if all(holds(condition, row) for condition in query.where)]

    def compare(a: dict, b: dict) -> int:
        for text in (*query.sort, *KEYS[TABLE]):
            name, sign = text.removeprefix("-"), -1 if text.startswith("-") else 1
            if missing(a[name]) or missing(b[name]):
                if missing(a[name]) != missing(b[name]):
                    return 1 if missing(a[name]) else -1
            elif a[name] != b[name]:
                return sign * (1 if a[name] > b[name] else -1)
        return 0

    return sorted(met, key=functools.cmp_to_key(compare))


def told(rows: Sequence[dict]) -> list[str]:
    """Rows so that NaN is like itself, and a negative zero is not like a positive one."""
    return [repr([row[name] for name in SCHEMAS[TABLE]]) for row in rows]


@pytest.fixture(scope="module")
def storage(store: Store) -> Any:
    return store.storage


@given(rows=rows_of_profiles, query=questions)
@settings(max_examples=150, deadline=None)
def test_pages_together_are_the_whole_answer(storage: Any, rows: list[dict], query: Query) -> None:
    held, found, sizes = Held(storage, rows), [], []
    while True:
        page = answer(held, query)
        found += page.rows.to_dicts()
        sizes.append(len(page.rows))
        if page.next_cursor is None:
            break
        query = query.model_copy(update={"cursor": page.next_cursor})
    assert told(found) == told(twin(rows, query))
    assert all(size == query.limit for size in sizes[:-1])
    assert sizes[-1] > 0 or sizes == [0]
    assert told(scan(held, query).collect().to_dicts()) == told(found)


@given(rows=rows_of_profiles, later=st.lists(row(), max_size=12), query=questions)
@settings(max_examples=75, deadline=None)
def test_rows_that_are_there_all_the_time_are_given_once_while_others_are_added(
    storage: Any, rows: list[dict], later: list[dict], query: Query
) -> None:
    held, found = Held(storage, rows), []
    later = [row for i, row in enumerate(later) if place(row) not in map(place, [*rows, *later[:i]])]
    first, whole = told(twin(rows, query)), told(twin([*rows, *later], query))
    while True:
        page = answer(held, query)
        found += told(page.rows.to_dicts())
        if page.next_cursor is None:
            break
        query = query.model_copy(update={"cursor": page.next_cursor})
        held.rows += later[:2]
        later = later[2:]
    assert [row for row in found if row in first] == first
    assert len(set(found)) == len(found)
    assert found == [row for row in whole if row in found]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store")
    asked = [factories.request(seed, split=seed % 2) for seed in range(5)]
    with writing(path) as writer:
        for each in asked:
            writer.put(factories.record(each))
        lost = factories.request(9)
        writer.put(factories.record(lost, factories.failed(lost)))
        members = pl.DataFrame({"run_key": [each.run_key for each in asked[1:3]]})
        writer.put_sweep("two", "{}", members)
    return Store(path)


@pytest.mark.parametrize("table", KEYS)
def test_every_table_is_answered_with_its_own_columns(store: Store, table: Any) -> None:
    page = answer(store, Query(table=table, limit=3))
    assert dict(page.rows.schema) == dict(SCHEMAS[table])
    assert set(KEYS[table]) <= set(SCHEMAS[table])


def test_tables_of_runs_can_be_asked_by_what_was_run(store: Store) -> None:
    query = Query(table="metrics", where=("seed:eq:2", "metric:eq:accuracy"), select=("learner", "split", "value"))
    expected = factories.result(factories.request(2, split=0)).metrics[1].value
    assert answer(store, query).rows.rows() == [("mlp-sgd", 0, expected)]


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        (["status:eq:failed"], [9]),
        (["warnings:contains:Vorsicht: β ≠ 0"], [0, 1, 2, 3, 4]),
        (["warnings:contains:Vorsicht"], []),
        (["device:contains:Gerät „"], [0, 1, 2, 3, 4]),
        (["device:contains:G.*t"], []),
        (["git_dirty:eq:false", "seed:in:0,3,9"], [0, 3, 9]),
        (["compile_seconds:is_null:true"], [0, 1, 2, 3, 4, 9]),
        (["stored_at:ge:2026-01-02T03:04:05.678901Z", "seed:lt:2"], [0, 1]),
        (["stored_at:gt:2026-01-02T04:04:05.678901+01:00"], []),
        (["seed:lt:9223372036854775807"], [0, 1, 2, 3, 4, 9]),
    ],
)
def test_conditions_choose_runs(store: Store, where: list[str], seeds: list[int]) -> None:
    found = answer(store, Query(table="runs", where=tuple(where), select=("seed",), sort=("seed",)))
    assert found.rows["seed"].to_list() == seeds


def test_a_sweep_has_the_rows_of_its_runs_whichever_sweep_fitted_them(store: Store) -> None:
    runs = answer(store, Query(table="runs", sweep="two", select=("seed",), sort=("seed",)))
    assert runs.rows["seed"].to_list() == [1, 2]
    metrics = answer(store, Query(table="metrics", sweep="two", where=("metric:eq:accuracy",)))
    assert len(metrics.rows) == 2
    with pytest.raises(NotStoredError, match="no sweep 'twoo'"):
        answer(store, Query(table="runs", sweep="twoo"))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"where": ["lerner:eq:a"]}, "has no column 'lerner'; did you mean 'learner'"),
        ({"where": ["x" * 5000 + ":eq:1"]}, "has no column"),
        ({"where": ["learner"]}, "write column:operator:value"),
        ({"where": ["learner:is:a"]}, "'learner' goes with eq, ne"),
        ({"where": ["learner:contain:a"]}, "did you mean 'contains'"),
        ({"where": ["warnings:eq:a"]}, "'warnings' goes with contains, lacks, is_null"),
        ({"where": ["git_dirty:gt:true"]}, "'git_dirty' goes with eq, ne, in, is_null"),
        ({"where": ["seed:eq:one"]}, "expected a whole number"),
        ({"where": ["seed:eq:1_0"]}, "expected a whole number"),
        ({"where": ["seed:eq:9223372036854775808"]}, "expected a whole number"),
        ({"where": ["seed:in:1,,2"]}, "expected a whole number"),
        ({"where": [f"seed:in:{','.join(['1'] * 1001)}"]}, "1000 values at most"),
        ({"where": ["wall_seconds:lt:nan"]}, "expected a number"),
        ({"where": ["wall_seconds:is_null:maybe"]}, "expected true or false"),
        ({"where": ["stored_at:gt:yesterday"]}, "expected a moment"),
        ({"where": ["stored_at:gt:0001-01-01T00:00:00+23:59"]}, "expected a moment"),
        ({"select": ["sed"]}, "did you mean 'seed'"),
        ({"sort": ["-lerner"]}, "did you mean 'learner'"),
        ({"sort": ["warnings"]}, "lists have no order"),
        ({"sort": ["seed", "-seed"]}, "named twice"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(store: Store, parts: dict, message: str) -> None:
    query = Query(table="runs", **{name: tuple(value) for name, value in parts.items()})
    with pytest.raises(QueryError) as fault:
        answer(store, query)
    assert message in str(fault.value)
    assert len(str(fault.value)) < 1500


def test_a_cursor_goes_with_its_own_question_alone(store: Store) -> None:
    query = Query(table="runs", where=("seed:lt:9",), sort=("-wall_seconds",), limit=2)
    cursor = answer(store, query).next_cursor
    assert cursor is not None
    assert len(answer(store, query.model_copy(update={"cursor": cursor, "limit": 10, "select": ("seed",)})).rows) == 3
    foreign = [{"where": ()}, {"sort": ("wall_seconds",)}, {"table": "measurements"}, {"sweep": "two"}]
    swapped = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
    damaged = ["", "x", "=", "🙂", "W10", cursor[:-1], cursor + "A", swapped, cursor.swapcase(), "W" * 10_000]
    for change in [*foreign, *({"cursor": text} for text in damaged)]:
        with pytest.raises(QueryError, match="the cursor is not one of this question"):
            answer(store, query.model_copy(update={"cursor": cursor, **change}))


def test_conditions_and_columns_reach_the_files(store: Store) -> None:
    query = Query(table="pointwise", where=("log_score:gt:0.5",), select=("row",))
    plan = scan(store, query).explain()
    assert "SELECTION" in plan and "log_score" in plan.partition("SELECTION")[2]
    assert "PROJECT 3/5" in plan or "PROJECT 3/" in plan


@pytest.mark.parametrize("table", KEYS)
def test_lent_columns_are_those_that_the_table_does_not_have(table: Any) -> None:
    own, named = SCHEMAS[table], columns_of(table)
    assert list(named)[: len(own)] == list(own)
    assert set(named) - set(own) == (
        {"dataset", "split", "learner", "kind", "seed"} - set(own) if "run_key" in own else set()
    )
