from itertools import combinations

import numpy as np
import pytest

from models.generalisation.mutual_information import conditional_mutual_information
from models.generalisation.sweep_runs import usable_runs
from tests.support.grids import grid, ranks, slow_information


def information_of(measure, gap, split, settings):
    return conditional_mutual_information(usable_runs(measure, gap, None, split, settings))


@pytest.mark.parametrize("ties", [False, True])
def test_it_meets_the_double_loop(ties):
    rng = np.random.default_rng(0)
    split, settings = grid(2, n_seeds=2, values={"a": (0, 1, 2), "b": ("x", "y"), "c": (0.5, 1.0)})
    gap = rng.normal(size=split.size) + ranks(settings["a"])
    measure = gap + rng.normal(size=split.size)
    if ties:
        measure, gap = np.round(measure), np.round(gap)
    slow = [
        slow_information(measure, gap, split, settings, names) for k in range(3) for names in combinations(settings, k)
    ]
    assert information_of(measure, gap, split, settings).value == pytest.approx(np.nanmin(slow))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_gap_itself_tells_all_in_either_direction(sign):
    split, settings = grid(6)
    gap = np.random.default_rng(1).normal(size=split.size)
    found = information_of(sign * gap, gap, split, settings)
    assert found.value == pytest.approx(1)
    assert found.lower > 0.9


def test_a_measure_that_follows_one_setting_tells_nothing_more():
    rng = np.random.default_rng(2)
    split, settings = grid(10, n_seeds=2)
    gap, measure = (10 * ranks(settings["rate"]) + rng.normal(size=split.size) for _ in range(2))
    assert slow_information(measure[split < 2], gap[split < 2], split[split < 2], settings, ()) > 0.2
    found = information_of(measure, gap, split, settings)
    assert found.value < 0.02
    assert found.lower == 0


def test_a_constant_measure_tells_nothing():
    split, settings = grid(5)
    gap = np.random.default_rng(3).normal(size=split.size)
    assert information_of(np.ones(split.size), gap, split, settings).value == pytest.approx(0, abs=1e-12)


def test_intervals_of_unrelated_measures_hold_zero_at_their_nominal_rate():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(100):
        split, settings = grid(5, values={"a": (0, 1, 2), "b": (0, 1)})
        measure, gap = rng.normal(size=(2, split.size))
        covered += information_of(measure, gap, split, settings).lower == 0
    assert covered >= 88


def test_intervals_of_a_related_measure_cover_its_information_at_their_nominal_rate():
    rng = np.random.default_rng(5)
    agree = 0.5 + np.arcsin(0.8) / np.pi
    truth = 1 + (agree * np.log(agree) + (1 - agree) * np.log(1 - agree)) / np.log(2)
    covered = 0
    for _ in range(100):
        split, settings = grid(12, n_seeds=2, values={"a": (0, 1, 2), "b": (0, 1)})
        measure, noise = rng.normal(size=(2, split.size))
        found = information_of(measure, 0.8 * measure + 0.6 * noise, split, settings)
        covered += found.lower <= truth <= found.upper
    assert covered >= 88


@pytest.mark.parametrize("n_splits", [5, 10])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_intervals_cover_what_is_left_once_a_strong_setting_is_known(rho, n_splits):
    """Measure and gap follow `a`, and are correlated in what is left of them: a handful of pairs in each table."""
    rng = np.random.default_rng(6)
    agree = 0.5 + np.arcsin(rho) / np.pi
    truth = 1 + (agree * np.log(agree) + (1 - agree) * np.log(1 - agree)) / np.log(2)
    found = []
    for _ in range(50):
        split, settings = grid(n_splits, values={"a": (0, 1, 2), "b": (0, 1)})
        measure, noise = rng.normal(size=(2, split.size))
        gap = rho * measure + np.sqrt(1 - rho**2) * noise
        found.append(information_of(measure + 100 * settings["a"], gap + 100 * settings["a"], split, settings))
    assert np.mean([each.value for each in found]) > truth  # which the corrected value is nearer to
    corrected, value = (abs(np.mean([getattr(each, of) for each in found]) - truth) for of in ("told", "value"))
    assert corrected < 0.7 * value
    assert sum(each.lower <= truth <= each.upper for each in found) >= 43


def test_a_few_pairs_that_agree_by_luck_are_not_taken_for_certainty():
    split, gap = np.repeat(np.arange(5), 2), np.tile([0.0, 1.0], 5) * np.repeat([1, -1, 1, -1, 1], 2)
    found = information_of(gap, gap, split, {"a": np.tile([0, 1], 5)})
    assert found.value == pytest.approx(1)
    assert found.lower < 0.6


def test_where_it_has_no_meaning_the_reason_is_said():
    split, settings = grid(5)
    gap = 3 * ranks(settings["rate"]) + ranks(settings["width"])
    assert "nothing to condition on" in str(information_of(gap, gap, split, {}).reason)
    found = information_of(gap, 0 * gap, split, settings)
    assert np.isnan(found.value)
    assert "no uncertainty" in str(found.reason)
    assert information_of(np.array([1.0]), np.array([1.0]), np.array([0]), {}).reason == "no two runs share a split"
