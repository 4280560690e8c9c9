"""One row per run, against a loop over attempts."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.store.tables import FITTED, fitted, latest

ROW = {"run_key": pl.String, "attempt": pl.Int64, "status": pl.String, "sweep": pl.String}
Row = tuple[str, int, str, str]


def last_attempts(rows: Sequence[Row]) -> dict[str, Row]:
    """The plainly right twin: by run key, the success where there is one, else the attempt with the largest number."""
    found: dict[str, Row] = {}
    for row in rows:
        key, attempt, status, _ = row
        before = found.get(key)
        if before is None or status in FITTED or (before[2] not in FITTED and attempt > before[1]):
            found[key] = row
    return found


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows of runs: failed and stopped attempts under numbers of their own, and one success at most, in any order.

    The success's number may be that of a failure: two writers may have been at the run at once.
    """
    sweeps = st.sampled_from(["first", "second"])
    rows: list[Row] = []
    for key in draw(st.lists(st.sampled_from("abcdef"), unique=True)):
        unfinished = draw(st.lists(st.sampled_from(["failed", "stopped"]), max_size=3))
        rows += [(key, attempt, status, draw(sweeps)) for attempt, status in enumerate(unfinished)]
        if not unfinished or draw(st.booleans()):
            rows.append((key, draw(st.integers(0, 3)), draw(st.sampled_from(FITTED)), draw(sweeps)))
    return draw(st.permutations(rows))


def lazy(rows: Sequence[Row]) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema=ROW, orient="row")


@given(tables())
def test_each_run_has_its_success_or_else_its_last_attempt(rows: list[Row]):
    found = latest(lazy(rows)).collect().rows()
    assert sorted(found) == sorted(last_attempts(rows).values())


@given(tables(), st.sampled_from(["failed", "stopped", *FITTED]), st.sampled_from(["first", "second"]))
def test_conditions_apply_to_last_attempts_alone(rows: list[Row], status: str, sweep: str):
    asked = latest(lazy(rows)).filter(pl.col("status") == status).filter(pl.col("sweep") == sweep)
    expected = [row for row in last_attempts(rows).values() if row[2:] == (status, sweep)]
    assert sorted(asked.collect().rows()) == sorted(expected)


@given(tables())
def test_fitted_runs_are_those_of_the_last_attempts_that_need_no_fit(rows: list[Row]):
    found = fitted(lazy(rows)).collect().rows()
    assert sorted(found) == sorted(row for row in last_attempts(rows).values() if row[2] in FITTED)


@pytest.fixture
def file(tmp_path) -> pl.LazyFrame:
    rows = [("a", 0, "failed", "first"), ("a", 1, "finished", "first"), ("b", 0, "failed", "second")]
    lazy(rows).sink_parquet(tmp_path / "runs.parquet")
    return pl.scan_parquet(tmp_path / "runs.parquet")


def test_conditions_on_fitted_runs_reach_the_files(file: pl.LazyFrame):
    plan = latest(file).filter(pl.col("sweep") == "first").select("attempt").explain()
    of_fitted = plan[: plan.index("PLAN 1")]
    assert "SELECTION: " in of_fitted and 'col("sweep")' in of_fitted.partition("SELECTION: ")[2]
    assert "CACHE" not in plan
    assert latest(file).filter(pl.col("sweep") == "first").collect()["run_key"].to_list() == ["a"]
