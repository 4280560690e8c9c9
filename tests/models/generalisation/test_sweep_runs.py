import numpy as np
import pytest

from models.generalisation.sweep_runs import neighbours, pairs_within, usable_runs
from tests.support.grids import grid, pairs_of

NAN = np.nan


def test_what_cannot_be_compared_is_left_out():
    measure, gap = np.array([1.0, NAN, 3.0, 4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0, np.inf, 5.0, 6.0])
    settings = {"rate": np.array([1, 2, 1, 2, 1, 1]), "width": np.array([4, 4, 8, 8, 16, 8])}
    runs = usable_runs(measure, gap, np.ones(6), np.array([7, 7, 7, 8, 8, 9]), settings)
    np.testing.assert_array_equal(runs.measure, [1, 3])  # the only split with two runs left
    assert (runs.n_splits, set(runs.settings), runs.values["width"]) == (1, {"width"}, (4, 8))
    assert usable_runs(measure, gap, np.full(6, NAN), np.zeros(6), settings).n_splits == 0


def test_neighbours_are_the_pairs_that_differ_in_one_setting():
    split, settings = grid(2, n_seeds=2)
    split[::7] = 2
    runs = usable_runs(np.zeros(split.size), np.zeros(split.size), None, split, settings)
    for name in settings:
        found = neighbours(runs, name)
        expected = {(i, k) for i, k, differ in pairs_of(split, settings) if differ == [name]}
        assert {tuple(sorted(pair)) for pair in zip(*found[:2], strict=True)} == expected
        assert len(found.first) == len(expected)
        assert np.all(runs.settings[name][found.first] < runs.settings[name][found.second])


def test_environments_are_shared_by_splits_and_cells_are_not():
    split, settings = grid(3, values={"a": (0, 1, 2), "b": ("x", "y")})
    runs = usable_runs(np.zeros(split.size), np.zeros(split.size), None, split, settings)
    found = neighbours(runs, "a")
    assert len(found.first) == 3 * 2 * 3  # splits, values of b, pairs of values of a
    assert len(np.unique(found.cell)) == 3 * 2
    assert len(np.unique(found.environment)) == 2 * 3


def test_pairs_within_groups():
    first, second = pairs_within(np.array([1, 0, 1, 0, 1]))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (0, 4), (1, 3), (2, 4)]
    assert pairs_within(np.zeros(0, np.int64))[0].size == 0


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"columns of one length, 3 as the measure; received .*gap"):
        usable_runs(np.zeros(3), np.zeros(2), None, np.zeros(3), {})
