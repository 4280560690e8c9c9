"""Black boxes through `models.fitting.dispatch.fit`: judged by their predictions alone, the same bits for the same
seed.
"""

import numpy as np
import pytest

from models.spec.inference import Library
from models.spec.learner import Learner
from models.spec.predictors import BoostedTrees, SupportVectors
from tests.support.runs import assert_same_bits, fit_all, request, table

LEARNERS = [
    Learner(name="svm", predictor=SupportVectors(), inference=Library()),
    Learner(name="boosted-trees", predictor=BoostedTrees(max_rounds=20, min_leaf=5), inference=Library()),
]
METRICS = {
    "classes": {"log_score", "accuracy", "brier", "calibration_error", "classwise_calibration_error"},
    "real": {"log_score", "rmse", "crps", "calibration_error"},
    "count": {"log_score", "rmse", "crps", "calibration_error"},
}


@pytest.mark.parametrize("task", METRICS)
@pytest.mark.parametrize("learner", LEARNERS, ids=lambda each: each.name)
def test_predictions_are_all_there_is(learner, task):
    dataset = table(task, n=90)
    asked = [request(learner, dataset, seed) for seed in (0, 1)]
    first, other = fit_all(asked, dataset)
    assert (first.status, first.summary, first.posterior, first.geometry) == ("finished", None, None, ())
    assert first.n_parameters > 0
    assert {(m.part, m.metric) for m in first.metrics} == {
        (part, metric) for part in ("train", "validation", "test") for metric in METRICS[task]
    }
    assert len(first.pointwise["log_score"]) == 18
    assert np.all(np.isfinite(first.pointwise["log_score"]))
    assert_same_bits(first, fit_all(asked[:1], dataset)[0])
    assert other.status == "finished"
