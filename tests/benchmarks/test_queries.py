"""The rows that are asked are like stored ones, and the answers are those of SQLite."""

import polars as pl
import pytest

from benchmarks import queries, runs_table
from services.store.schemas import SCHEMAS
from services.store.tables import latest


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return runs_table.make(20_000)


def test_every_run_is_there_once_among_the_last_attempts(rows: pl.DataFrame):
    assert rows.schema == SCHEMAS["runs"]
    last = latest(rows.lazy()).collect()
    assert len(last) == last["run_key"].n_unique() == 20_000
    assert rows["bundle"].is_unique().all()


def test_some_runs_failed_before_they_were_fitted_and_some_did_nothing_else(rows: pl.DataFrame):
    n_failed = (rows["status"] == "failed").sum()
    last = latest(rows.lazy()).collect()["status"].value_counts()
    never_fitted = dict(last.iter_rows())["failed"]
    assert 0 < never_fitted < n_failed < 0.02 * len(rows)
    attempts = rows.filter(pl.col("run_key").is_duplicated()).group_by("run_key").agg(pl.col("attempt").sort())
    assert attempts["attempt"].to_list() == [[0, 1]] * len(attempts)


def test_every_sweep_has_all_datasets_and_learners(rows: pl.DataFrame):
    groups = rows.group_by("sweep", "dataset", "learner").len()
    assert len(groups) == runs_table.SWEEPS * len(runs_table.DATASETS) * len(runs_table.LEARNERS)
    assert rows["run_key"].str.len_chars().unique().to_list() == [32]


def test_each_question_is_answered_as_by_sqlite_and_timed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queries, "SMALL_COMMITS", 2)
    monkeypatch.setattr(queries, "PEER_REPEATS", 2)
    found = queries.measure(runs=10_000, repeats=2)  # compares the answers
    assert found["rows"] > found["runs"] > 9_900
    assert found["files_before_compaction"] == found["files"] + 2
    questions, _ = queries.tables(found)
    assert [row[0] for row in questions.rows] == [question.words for question in queries.QUESTIONS]
    assert "–" not in questions.rows[0]
