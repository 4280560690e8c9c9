import numpy as np
import pytest

from models.generalisation.correlation import rank_correlation
from models.generalisation.generalisation import generalisation_sentence, rank_measures
from tests.support.grids import grid, ranks


def noise(split, seed):
    return np.random.default_rng(seed).normal(size=split.size)


@pytest.fixture(scope="module")
def ranked():
    """Measures of every sort held against one gap."""
    split, settings = grid(10, n_seeds=2)
    gap = 10 * ranks(settings["rate"]) + noise(split, 0)
    measures = {
        "coin": noise(split, 1),
        "perfect": gap,
        "follower": 10 * ranks(settings["rate"]) + noise(split, 2),
        "flat": -gap,
        "broken": np.full(split.size, np.nan),
    }
    larger = {
        "coin": "sharper",
        "perfect": "sharper",
        "follower": "more complex",
        "flat": "flatter",
        "broken": "neither",
    }
    found = rank_measures(measures, larger, gap, split, settings)
    return {each.measure: each for each in found}


def test_the_largest_rank_correlation_comes_first_and_the_unknown_last(ranked):
    assert [*ranked][:2] in (["perfect", "flat"], ["flat", "perfect"])
    assert [*ranked][2:] == ["follower", "coin", "broken"]


def test_the_gap_itself_passes_every_criterion(ranked):
    found = ranked["perfect"]
    assert (found.tau.tau, found.psi.value, found.sign_error.worst.value) == (1, 1, 0)
    assert found.information.value == pytest.approx(1)
    assert (found.n_runs, found.n_splits) == (360, 10)


def test_a_measure_of_flatness_is_expected_to_fall(ranked):
    found = ranked["flat"]
    assert (found.tau.tau, found.psi.value, found.sign_error.worst.value) == (-1, -1, 0)
    assert generalisation_sentence("the radius", found).startswith("Flatter solutions generalise better here, by the")


def test_a_follower_of_one_setting_has_a_high_tau_and_fails_the_rest(ranked):
    found = ranked["follower"]
    assert found.tau.lower > 0.5
    assert found.psi.value < 0.5 < found.granulated["rate"].value
    assert found.information.value < 0.02
    assert found.sign_error.worst.upper > 0.5


def test_a_coin_tells_nothing(ranked):
    found = ranked["coin"]
    assert found.tau.lower < 0 < found.tau.upper
    assert found.psi.lower < 0 < found.psi.upper
    assert found.information.lower == 0
    assert "cannot be said" in generalisation_sentence("the coin", found)


def test_what_cannot_be_computed_says_why(ranked):
    found = ranked["broken"]
    assert np.isnan([found.tau.tau, found.psi.value, found.information.value, found.sign_error.worst.value]).all()
    assert (found.n_runs, found.n_splits, found.psi.reason) == (0, 0, "no setting was varied")
    assert found.information.reason == "no two runs share a split"
    assert found.sign_error.worst.reason == "a larger broken has no expected direction"
    assert "cannot be said from 0 runs" in generalisation_sentence("it", found)


def test_the_sentence_warns_of_simpsons_paradox():
    split, settings = grid(8, values={"a": tuple(range(6)), "b": (0, 1)})
    a, b = settings["a"], settings["b"]
    gap = 10.0 * a + b + 0.01 * noise(split, 3)
    (opposed,) = rank_measures({"m": a - 0.1 * b}, {"m": "sharper"}, gap, split, settings)
    assert opposed.tau.lower > 0.5
    assert opposed.psi.value == 0
    said = generalisation_sentence("the trace", opposed)
    assert said.startswith("Sharper solutions generalise worse here, by the trace")
    assert "It is not shown where one setting at a time is varied (granulated tau +0.00" in said
    assert "of the pairs wrongly (b 0 against 1, at a " not in said  # 8 pairs each: too few


def test_the_sentence_of_a_sound_measure_says_that_it_holds(ranked):
    said = generalisation_sentence("the trace", ranked["perfect"])
    assert "It holds as well where one setting at a time is varied, on average (granulated tau +1.00" in said
    assert "it tells about 100% (95 % interval" in said
    assert "At worst it orders about 0% (95 % interval" in said


def test_tau_is_that_of_the_rank_correlation():
    split, settings = grid(6)
    gap, measure = noise(split, 4), noise(split, 5)
    (found,) = rank_measures({"m": measure}, {"m": "sharper"}, gap, split, settings)
    assert found.tau == rank_correlation(measure, gap, split)


def test_splits_of_different_datasets_are_not_compared():
    split, settings = grid(12)
    dataset = np.where(split < 6, "iris", "wine")
    gap = noise(split, 6)
    columns = ({"m": gap + noise(split, 7)}, {"m": "sharper"}, gap)
    (apart,) = rank_measures(*columns, split % 6, settings, dataset=dataset)
    (one,) = rank_measures(*columns, split, settings)
    assert apart.tau.tau == one.tau.tau
    assert apart.psi.value == one.psi.value


def test_columns_that_do_not_fit_are_refused():
    split, settings = grid(5)
    gap = noise(split, 8)
    with pytest.raises(ValueError, match="what a larger value stands for of m"):
        rank_measures({"m": gap}, {}, gap, split, settings)
    with pytest.raises(ValueError, match=r"columns of one length.*rate"):
        rank_measures({"m": gap}, {"m": "sharper"}, gap, split, settings | {"rate": np.ones(3)})
    with pytest.raises(ValueError, match="a dataset for each split"):
        rank_measures({"m": gap}, {"m": "sharper"}, gap, split, settings, dataset=np.zeros(2))


def test_settings_may_be_of_any_type_and_missing():
    split, _ = grid(5)
    gap = noise(split, 9)
    mixed = np.array([None, 1, "adam"] * 30, dtype=object)
    floats = np.array([np.nan, 0.1] * 45)
    (found,) = rank_measures({"m": gap}, {"m": "sharper"}, gap, split, {"o": mixed, "f": floats})
    assert found.psi.value == 1
