import json
import math

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from services.comparison.document import Document, gather_warnings
from services.rendering.records import Estimate
from tests.support.documents import digits_document, real_document


@pytest.mark.parametrize("document", [digits_document(), real_document()], ids=["classes", "real"])
def test_what_is_written_agrees_with_the_schema_and_reads_back_equal(document):
    text = document.model_dump_json(indent=2)
    schema = Document.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(text), schema)
    assert Document.model_validate_json(text) == document


def test_the_schema_refuses_what_the_document_does_not_have():
    data = json.loads(digits_document().model_dump_json())
    data["learners"][0]["kind"] = "oracle"
    with pytest.raises(jsonschema.ValidationError, match="oracle"):
        jsonschema.validate(data, Document.model_json_schema())


def test_the_promised_keys_are_there():
    data = json.loads(digits_document().model_dump_json())
    assert {"schema_version", "dataset", "task", "learners", "comparisons", "verdict", "warnings"} < data.keys()
    assert (data["schema_version"], data["fitted"], data["reused"]) == (1, 24, 3)
    by_name = {each["name"]: each for each in data["learners"]}
    learner = by_name["bnn-nuts"]
    for part in ("train", "validation", "test"):
        for metric in ("log_score", "accuracy", "brier", "calibration_error"):
            assert {"value", "standard_error"} <= learner["parts"][part][metric].keys()
    for estimate in (learner["gap"], learner["effective_parameters"], *learner["geometry"].values()):
        assert {"value", "standard_error"} <= estimate.keys()
    assert learner["geometry"].keys() == {"hessian_top_eigenvalue", "hessian_trace"}
    assert learner["posterior"].keys() == {"r_hat_max", "ess_min", "divergences", "n_chains", "n_draws"}
    assert by_name["svm"]["posterior"] is None
    assert by_name["svm"]["geometry"]["hessian_trace"]["value"] is None
    promised = {"a", "b", "metric", "difference", "standard_error", "p_better", "p_equivalent", "p_worse"}
    assert promised < data["comparisons"][0].keys()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("-inf"), None])
def test_numbers_that_json_does_not_have_become_null(value):
    assert json.loads(Estimate(value=value, standard_error=value).model_dump_json()) == {
        "value": None,
        "standard_error": None,
    }


def test_a_text_is_no_number():
    with pytest.raises(ValidationError, match="value"):
        Estimate(value="high", standard_error=0.1)


def test_learners_are_sorted_best_first_and_those_without_a_score_come_last():
    document = digits_document()
    shuffled = digits_document(learners=document.learners[::-1])
    scores = [each.parts.test.log_score.value for each in shuffled.learners]
    assert shuffled.learners == document.learners
    assert scores[-1] is None
    assert scores[:-1] == sorted(scores[:-1], reverse=True)
    assert shuffled.best is not None
    assert shuffled.best.name == "svm"


def test_there_is_no_best_learner_when_none_has_a_score():
    diverged = tuple(each for each in digits_document().learners if each.name == "convnet")
    assert digits_document(learners=diverged, comparisons=()).best is None


def test_comparisons_against_a_learner_are_all_told_from_the_others_side():
    document = digits_document()
    pairs = document.against("bnn-nuts", "accuracy")
    assert [pair.a for pair in pairs] == [
        each.name for each in document.learners if each.name not in ("bnn-nuts", "convnet")
    ]
    accuracy = {each.name: each.parts.test.accuracy.value for each in document.learners}
    for pair in pairs:
        assert pair.b == "bnn-nuts"
        assert pair.difference == pytest.approx(accuracy[pair.a] - accuracy["bnn-nuts"])
        assert (pair.p_better > pair.p_worse) == (pair.difference > 0)
        assert pair.swapped().swapped() == pair
    svm = next(pair for pair in document.against("boosted-trees", "log_score") if pair.a == "svm")
    assert (svm.outcome, svm.swapped().outcome) == ("better", "worse")


def test_every_warning_of_a_learner_is_gathered_under_its_name():
    document = digits_document()
    gathered = gather_warnings(document.learners, ["one more"])
    assert "convnet: 3 of 3 runs diverged to NaN: lower inference.learning_rate" in gathered
    assert len(gathered) == sum(len(each.warnings) for each in document.learners) + 1
