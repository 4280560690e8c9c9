import numpy as np
import pytest
from scipy import stats

from models.generalisation.sign_error import MIN_PAIRS, robust_sign_error
from models.generalisation.sweep_runs import usable_runs
from tests.support.grids import grid, ranks, slow_sign_errors


def error_of(measure, gap, split, settings, gap_error=None, **options):
    return robust_sign_error(usable_runs(measure, gap, gap_error, split, settings), **options)


@pytest.mark.parametrize("noisy", [False, True])
def test_it_meets_the_double_loop(noisy):
    rng = np.random.default_rng(0)
    split, settings = grid(6, n_seeds=2)
    gap, measure = rng.normal(size=(2, split.size)) + ranks(settings["rate"])
    errors = rng.uniform(0.1, 1, split.size) if noisy else None

    def weight(i, k):
        return 2 * stats.norm.cdf(abs(gap[i] - gap[k]) / np.hypot(errors[i], errors[k])) - 1 if noisy else 1.0

    slow, pairs = slow_sign_errors(measure, gap, split, settings, weight)
    kept = [slow[e] for e in slow if pairs[e] >= MIN_PAIRS]
    found = error_of(measure, gap, split, settings, errors)
    assert 0 < found.n_environments == len(kept)
    assert (found.worst.value, found.mean) == pytest.approx((max(kept), np.mean(kept)))
    assert found.upper_decile == pytest.approx(np.quantile(kept, 0.9))


def test_the_gap_itself_is_never_wrong_and_its_negative_always():
    split, settings = grid(12)
    gap = np.random.default_rng(1).normal(size=split.size)
    for falling in (False, True):
        right, wrong = (
            error_of(s * gap, gap, split, settings, falling=falling) for s in ((-1, 1) if falling else (1, -1))
        )
        assert (right.worst.value, right.worst.lower, right.mean) == (0, 0, 0)
        assert (wrong.worst.value, wrong.worst.upper, wrong.mean) == (1, 1, 1)


def test_one_bad_environment_decides_and_is_named():
    split, settings = grid(20)
    gap = ranks(settings["rate"]) + 10 * ranks(settings["width"]) + 100 * ranks(settings["decay"])
    bad = (settings["rate"] == 0.4) & (settings["width"] == 16) & (settings["decay"] == "some")
    found = error_of(gap - 1.5 * bad, gap, split, settings)
    assert (found.worst.value, found.worst.lower > 0.5) == (1, True)
    assert found.environment == "rate 0.2 against 0.4, at width 16, decay some"
    assert found.mean < 0.1


def test_gaps_that_noise_may_have_ordered_hardly_count():
    """Half of the pairs lie within their noise, and there the measure is wrong."""
    n = 60
    split, settings = np.repeat(np.arange(n), 2), {"a": np.tile([0, 1], n)}
    near = np.arange(n) < n // 2
    gap = np.stack([np.zeros(n), np.where(near, 1e-3, 10.0)], axis=1).ravel()
    measure = np.stack([np.zeros(n), np.where(near, -1.0, 1.0)], axis=1).ravel()
    assert error_of(measure, gap, split, settings).worst.value == 0.5
    assert error_of(measure, gap, split, settings, np.ones(2 * n)).worst.value < 1e-3


def test_gaps_without_noise_are_told_apart_or_equal():
    split, settings = np.repeat(np.arange(20), 2), {"a": np.tile([0, 1], 20)}
    gap = np.tile([0.0, 1.0], 20)
    gap[:2] = 0.0
    found = error_of(gap, gap, split, settings, np.zeros(40))
    assert (found.worst.value, found.n_environments) == (0, 1)


def test_ties_of_the_measure_are_as_good_as_a_coin():
    split, settings = grid(12)
    gap = np.random.default_rng(2).normal(size=split.size)
    assert error_of(np.ones(split.size), gap, split, settings).worst.value == 0.5


def test_intervals_of_the_worst_environment_cover_it_at_their_nominal_rate():
    """One environment is far the worst: the maximum is its own error, 0.7."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        split, settings = grid(20, values={"a": (0, 1), "b": (0, 1)})
        gap = ranks(settings["a"]) + 10 * ranks(settings["b"])
        swapped = (rng.random(20) < 0.7)[split] & (settings["b"] == 1)
        found = error_of(gap - 2 * swapped * settings["a"], gap, split, settings).worst
        covered += found.lower <= 0.7 <= found.upper
    assert covered >= 88


def test_unrelated_measures_are_not_shown_to_fail_or_hold():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(100):
        split, settings = grid(15)
        measure, gap = rng.normal(size=(2, split.size))
        found = error_of(measure, gap, split, settings).worst
        covered += found.lower <= 0.5 <= found.upper
    assert covered >= 88


def test_corrected_value_is_that_of_environments_that_are_equally_bad():
    """A measure that is wrong in 27 % of the pairs everywhere: the largest error found is far above that."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(40):
        split, settings = grid(12, values={"a": (0, 1), "b": tuple(range(12))})
        gap = ranks(settings["a"]) + 10.0 * ranks(settings["b"])
        swapped = rng.random(split.size) < 0.27
        found.append(error_of(gap - 2 * swapped * settings["a"], gap, split, settings).worst)
    assert np.mean([each.value for each in found]) > 0.4
    corrected = np.array([each.corrected for each in found])
    assert abs(corrected.mean() - 0.27) < 4 * corrected.std() / np.sqrt(40) + 0.01


def test_where_it_has_no_meaning_the_reason_is_said():
    split, settings = grid(5)
    gap = np.random.default_rng(5).normal(size=split.size)
    few = error_of(gap, gap, split, settings)
    assert np.isnan(few.worst.value) and few.n_environments == 0 and few.environment is None
    assert few.worst.reason == "no pair of settings that differ in one has 12 pairs of runs: use more seeds or splits"
    assert "no setting was varied" in str(error_of(gap, gap, split, {}).worst.reason)
