import numpy as np
import pytest

from models.comparison.criteria import criterion, default_rope, paired_row_error


def test_default_ropes_are_those_documented():
    assert default_rope("log_score", -1.0, -2.0) == 0.01
    assert default_rope("accuracy", 0.9, 0.8) == 0.01
    assert default_rope("rmse", 5.0, 3.0) == pytest.approx(0.03)


@pytest.mark.parametrize("metric", ["log_score", "accuracy"])
def test_error_of_a_mean_difference_is_that_of_the_row_differences(metric):
    a, b = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])
    assert paired_row_error(a, b, metric) == pytest.approx(np.std([1, 0, 0, 1], ddof=1) / 2)


def test_correct_flags_need_no_conversion():
    a, b = np.array([True, False, True]), np.array([True, True, False])
    assert paired_row_error(a, b, "accuracy") == pytest.approx(np.std([0, -1, 1], ddof=1) / np.sqrt(3))


def test_error_of_an_rmse_difference_is_its_spread_over_new_rows():
    rng = np.random.default_rng(0)
    differences, errors = [], []
    for _ in range(2000):
        shared = rng.normal(size=300)
        a, b = shared**2, (shared + 0.5 * rng.normal(size=300)) ** 2
        differences.append(np.sqrt(a.mean()) - np.sqrt(b.mean()))
        errors.append(paired_row_error(a, b, "rmse"))
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.06)


def test_perfect_learner_has_an_rmse_difference_with_the_other_ones_error():
    b = np.array([1.0, 4.0, 9.0])
    assert paired_row_error(np.zeros(3), b, "rmse") == pytest.approx(paired_row_error(b, np.zeros(3), "rmse"))
    assert paired_row_error(np.zeros(3), np.zeros(3), "rmse") == 0


def test_infinite_rows_have_no_error():
    assert np.isnan(paired_row_error(np.array([-np.inf, 0.0]), np.zeros(2), "log_score"))


def test_unknown_metric_and_unequal_rows_are_refused():
    with pytest.raises(ValueError, match="expected one of log_score, accuracy, rmse, received 'brier'"):
        criterion("brier")
    with pytest.raises(ValueError, match=r"received shapes \(2,\) and \(3,\)"):
        paired_row_error(np.zeros(2), np.zeros(3), "accuracy")
