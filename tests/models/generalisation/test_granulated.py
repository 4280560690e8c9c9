import numpy as np
import pytest
from scipy import stats

from models.generalisation.granulated import granulated
from models.generalisation.sweep_runs import usable_runs
from tests.support.grids import grid, ranks, slow_psi


def psi_of(measure, gap, split, settings):
    return granulated(usable_runs(measure, gap, None, split, settings))


def test_it_meets_the_double_loop_with_seeds_ties_and_missing_runs():
    rng = np.random.default_rng(0)
    split, settings = grid(6, n_seeds=2)
    measure, gap = rng.integers(0, 9, split.size).astype(float), rng.normal(size=split.size)
    measure[rng.random(split.size) < 0.2] = np.nan
    kept = np.isfinite(measure)
    found = psi_of(measure, gap, split, settings)
    slow = {
        name: slow_psi(measure[kept], gap[kept], split[kept], {k: v[kept] for k, v in settings.items()}, name)
        for name in settings
    }
    assert {name: of.value for name, of in found.by_setting.items()} == pytest.approx(slow)
    assert found.psi.value == pytest.approx(np.mean(list(slow.values())))


def test_the_gap_itself_has_psi_one_and_its_negative_minus_one():
    rng = np.random.default_rng(1)
    split, settings = grid(5)
    gap = rng.normal(size=split.size)
    for sign in (1, -1):
        found = psi_of(sign * gap, gap, split, settings)
        assert [found.psi.value, *(of.value for of in found.by_setting.values())] == [sign] * 4


def test_a_measure_that_follows_one_setting_is_found_out():
    rng = np.random.default_rng(2)
    split, settings = grid(8)
    gap = 10 * ranks(settings["rate"]) + rng.normal(size=split.size)
    measure = 10 * ranks(settings["rate"]) + rng.normal(size=split.size)
    found = psi_of(measure, gap, split, settings)
    assert found.by_setting["rate"].value == 1
    for other in ("width", "decay"):
        assert abs(found.by_setting[other].value) < 0.2
        assert found.by_setting[other].lower < 0 < found.by_setting[other].upper


def test_simpsons_paradox_is_found_out():
    """One strong setting moves measure and gap alike; within it they are opposed."""
    split, settings = grid(6, values={"a": tuple(range(6)), "b": (0, 1)})
    a, b = settings["a"], settings["b"]
    found = psi_of(10.0 * a - b, 10.0 * a + b, split, settings)
    assert (found.by_setting["a"].value, found.by_setting["b"].value, found.psi.value) == (1, -1, 0)


def test_intervals_of_unrelated_measures_cover_zero_at_their_nominal_rate():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        split, settings = grid(5)
        measure, gap = rng.normal(size=(2, split.size))
        psi = psi_of(measure, gap, split, settings).psi
        covered += psi.lower <= 0 <= psi.upper
    assert covered >= 88


def test_intervals_of_a_related_measure_cover_its_psi_at_their_nominal_rate():
    rng = np.random.default_rng(4)
    truth, covered = 2 / np.pi * np.arcsin(0.8), 0  # Greiner's relation for normal pairs
    for _ in range(100):
        split, settings = grid(8)
        measure, noise = rng.normal(size=(2, split.size))
        psi = psi_of(measure, 0.8 * measure + 0.6 * noise, split, settings).psi
        covered += psi.lower <= truth <= psi.upper
    assert covered >= 88


@pytest.mark.parametrize(("noise", "n_splits"), [(0.05, 5), (0.3, 5), (0.3, 10)])
def test_intervals_on_overlapping_splits_cover_psi_at_their_nominal_rate(noise, n_splits):
    """Gaps of a full grid of learners, from random splits of the same rows."""
    rng = np.random.default_rng(5)
    split, settings = grid(n_splits)
    level = 0.1 * ranks(settings["rate"]) + 0.1 * ranks(settings["width"]) + 0.1 * ranks(settings["decay"])
    found = []
    for _ in range(60):
        rows, gap = rng.normal(size=(18, 100)), []
        for _ in range(n_splits):
            order = rng.permutation(100)
            gap.append(rows[:, order[:20]].mean(axis=1) - rows[:, order[20:80]].mean(axis=1))
        measure = level + noise * rng.normal(size=split.size)
        found.append(psi_of(measure, level + np.concatenate(gap), split, settings).psi)
    truth = np.mean([each.value for each in found])
    assert sum(each.lower <= truth <= each.upper for each in found) >= 53
    reach = np.mean([each.upper - each.lower for each in found]) / 2
    assert reach < 1.5 * stats.t.ppf(0.975, n_splits - 1) * np.std([each.value for each in found])


def test_without_varied_settings_it_says_so():
    found = psi_of(np.arange(6.0), np.arange(6.0), np.repeat([0, 1], 3), {"rate": np.ones(6)})
    assert (dict(found.by_setting), found.psi.reason) == ({}, "no setting was varied")
    both = {"a": np.array([0, 1, 2] * 2), "b": np.array([0, 1, 2] * 2)}
    found = psi_of(np.arange(6.0), np.arange(6.0), np.repeat([0, 1], 3), both)
    assert found.by_setting["a"].reason == "no two runs on one split differ in a alone"
    assert found.psi.reason == "no two runs on one split differ in one setting alone"
