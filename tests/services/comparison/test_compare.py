"""The main job in this process: the plan, the document and the stored comparisons of a small table."""

import json
import math

import polars as pl
import pytest

from cluster.executor import InProcessExecutor
from cluster.resources import Resources
from models.runs.events import Result
from services.comparison.compare import compare
from services.comparison.document import Document
from services.store.store import Store
from services.store.writer import writing
from services.sweeps.definition import Data, comparison, parse_sweep
from services.sweeps.learners import presets
from services.sweeps.plan import plan
from tests.support.runs import table

PRESETS = presets("quick")
DATASET = table("classes", n=90)
BLACK_BOXES = [PRESETS["svm"], PRESETS["boosted-trees"]]


def planned(learners, splits, seeds, dataset=DATASET):
    sweep = comparison(Data(data=dataset.name), learners, "quick", splits=splits, seeds=seeds)
    return plan(sweep, [dataset])


def compared(path, learners=BLACK_BOXES, splits=2, seeds=1, on_event=lambda event: None, seconds=math.inf):
    asked = planned(learners, splits, seeds)
    with writing(path) as writer:
        return compare(asked, writer, InProcessExecutor(seconds=seconds), on_event, resources=Resources())


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The store, and the same command twice."""
    path, events = tmp_path_factory.mktemp("store"), []
    return path, compared(path, on_event=events.append), compared(path), events


def test_the_document_says_what_was_compared(twice):
    document = twice[1].document
    assert Document.model_validate_json(document.model_dump_json()) == document
    assert (document.dataset.name, document.dataset.rows, document.dataset.columns) == ("made-up-classes", 90, 3)
    assert document.dataset.classes == ("a", "b", "c")
    assert document.dataset.fingerprint == DATASET.fingerprint
    assert (document.task, document.invocation.budget) == ("classes", "quick")
    assert (document.invocation.splits, document.invocation.seeds) == (2, 1)
    assert [learner.name for learner in document.learners] == ["svm", "boosted-trees"]
    assert all(learner.runs.finished == 2 for learner in document.learners)
    assert [(c.a, c.b, c.metric) for c in document.comparisons] == [
        ("svm", "boosted-trees", "log_score"),
        ("svm", "boosted-trees", "accuracy"),
    ]
    assert document.verdict


def test_the_second_time_nothing_is_fitted_and_the_same_is_said(twice):
    _, first, second, _ = twice
    assert (first.document.fitted, first.document.reused) == (4, 0)
    assert (second.document.fitted, second.document.reused) == (0, 4)
    for name in ("learners", "comparisons", "verdict", "warnings"):
        assert getattr(first.document, name) == getattr(second.document, name)
    assert first.evidence.reliability.equals(second.evidence.reliability)


def test_a_comparison_is_kept_as_a_sweep(twice):
    store = Store(twice[0])
    assert store.sweeps() == ["compare-made-up-classes-quick"]
    definition, members = store.sweep("compare-made-up-classes-quick")
    assert parse_sweep(json.loads(definition)) == planned(BLACK_BOXES, 2, 1).sweep
    assert set(members["run_key"]) == set(store.runs().collect()["run_key"])
    assert set(store.runs().collect()["sweep"]) == {"compare-made-up-classes-quick"}


def test_every_result_is_told_once(twice):
    results = [event for event in twice[3] if isinstance(event, Result)]
    assert len({event.run_key for event in results}) == len(results) == 4


def test_pairs_are_stored_once_under_the_runs_they_come_from(twice):
    path, first, *_ = twice
    stored = Store(path).scan("comparisons").collect()
    assert len(stored) == 2
    for row, told in zip(
        stored.sort("metric", descending=True).iter_rows(named=True), first.document.comparisons, strict=True
    ):
        kept = told.model_dump(exclude={"n_splits"})
        assert {name: row[name] for name in kept} == kept
        assert (row["dataset"], row["sweep"]) == ("made-up-classes", "compare-made-up-classes-quick")


def test_more_splits_are_another_comparison_and_reuse_what_is_there(twice):
    path = twice[0]
    document = compared(path, splits=3).document
    assert (document.fitted, document.reused) == (2, 4)
    stored = Store(path).scan("comparisons").collect()
    assert len(stored) == 4
    assert stored.group_by("metric").agg(pl.len())["len"].to_list() == [2, 2]


def test_a_learner_by_itself_has_a_document_without_pairs(tmp_path):
    found = compared(tmp_path, BLACK_BOXES[:1], splits=1)
    assert found.document.comparisons == ()
    assert found.document.learners[0].parts.test.log_score.value is not None
    assert Store(tmp_path).scan("comparisons").collect().is_empty()


def test_a_learner_whose_runs_all_fail_is_told_and_kept_out(tmp_path):
    # The net fails by its first word, which comes too late; the SVM says none on its way.
    found = compared(tmp_path, [BLACK_BOXES[0], PRESETS["mlp-adam"]], splits=1, seconds=1e-9)
    late = found.document.learners[1]
    assert (late.runs.finished, late.runs.failed) == (0, 1)
    assert "it took more than" in late.warnings[0]
    assert any("mlp-adam" in warning for warning in found.document.warnings)
    assert found.document.comparisons == ()
    assert len(found.outcome.failed) == 1
