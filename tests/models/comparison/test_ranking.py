import numpy as np
import pytest
from scipy import stats

from models.comparison.ranking import compare_all, holm
from tests.support.simulated import errors_of, random_feature_scores, random_splits, smooth_task, values_of

NAN = np.nan


def row_errors(values, error=0.001):
    names = list(values)
    return {(a, b): np.full(values[a].shape, error) for i, a in enumerate(names) for b in names[i + 1 :]}


def outcome(values, metric="log_score", **settings):
    return {(c.a, c.b): c for c in compare_all(values, row_errors(values), 60, 20, metric, **settings)}


def test_holm_gives_the_textbook_adjustment():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).size == 0


def test_holm_never_reverses_the_order_and_lies_between_the_raw_and_bonferroni_values():
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    adjusted = holm(p)
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 12 * p)).all()


def test_pairs_come_in_the_order_given_with_p_values_corrected_for_their_number():
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=(5, 1)) for name in "cab"}
    found = compare_all(values, row_errors(values), 60, 20, "log_score")
    assert [(c.a, c.b) for c in found] == [("c", "a"), ("c", "b"), ("a", "b")]
    assert [c.p_adjusted for c in found] == holm(np.array([c.p_value for c in found])).tolist()


def test_each_outcome_is_reached_by_its_case():
    jitter = np.array([[0.0], [0.001], [-0.001], [0.0005], [-0.0005]])
    values = {
        "top": np.zeros((5, 1)),
        "near": jitter + 0.0,
        "far": jitter - 0.5,
        "loose": np.array([[0.5], [-0.4], [0.2], [-0.3], [0.1]]),
    }
    found = outcome(values)
    assert found["top", "near"].outcome == "equivalent"
    assert found["top", "far"].outcome == "better"
    assert found["top", "far"].swapped().outcome == "worse"
    assert found["top", "loose"].outcome == "not shown"
    assert [c.shown for c in (found["top", "near"], found["top", "far"], found["top", "loose"])] == [False, True, False]


def test_significant_difference_too_small_to_matter_is_equivalent():
    values = {"a": np.full((5, 1), 0.005), "b": np.zeros((5, 1))}
    assert outcome(values)["a", "b"].p_adjusted < 0.05
    assert outcome(values)["a", "b"].outcome == "equivalent"
    assert outcome(values, rope=0.001)["a", "b"].outcome == "better"


def test_lower_rmse_is_better_and_its_rope_is_a_share_of_the_better_one():
    values = {"a": np.full((5, 1), 2.0), "b": np.full((5, 1), 4.0)}
    found = outcome(values, "rmse")["a", "b"]
    assert found.outcome == "better"
    assert found.difference == -2
    assert found.rope == pytest.approx(0.02)


def test_learner_without_common_runs_is_left_out_of_the_correction():
    values = {"a": np.full((3, 1), 1.0), "b": np.zeros((3, 1)), "failed": np.full((3, 1), NAN)}
    found = compare_all(values, row_errors(values, 0.4), 60, 20, "log_score")
    assert [(c.a, c.b) for c in found] == [("a", "b")]
    assert found[0].p_adjusted == found[0].p_value


def test_zero_density_is_shown_to_be_worse():
    values = {"bad": np.array([[-np.inf], [-1.0]]), "good": np.array([[-1.0], [-1.0]])}
    assert outcome(values)["bad", "good"].outcome == "worse"


def test_the_same_learner_under_four_names_is_rarely_told_apart_anywhere():
    any_shown = 0
    for dataset in range(50):
        rng = np.random.default_rng(dataset)
        x, y = smooth_task(120, rng)
        splits = random_splits(120, 3, 72, 24, rng)
        rows = {name: random_feature_scores(x, y, splits, 1, 8, rng) for name in "abcd"}
        values = {name: values_of(r) for name, r in rows.items()}
        errors = {(a, b): errors_of(rows[a] - rows[b]) for a in "abcd" for b in "abcd" if a < b}
        any_shown += any(c.shown for c in compare_all(values, errors, 72, 24, "log_score"))
    assert any_shown <= stats.binom.ppf(0.999, 50, 0.05)


def test_missing_pair_unknown_metric_and_impossible_level_are_refused():
    values = {"a": np.zeros((1, 1)), "b": np.zeros((1, 1))}
    with pytest.raises(ValueError, match=r"row_errors: expected the pair \('a', 'b'\), received \[\]"):
        compare_all(values, {}, 60, 20, "log_score")
    with pytest.raises(ValueError, match="received 'brier'"):
        compare_all(values, row_errors(values), 60, 20, "brier")
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1, received 5"):
        compare_all(values, row_errors(values), 60, 20, "log_score", level=5)
