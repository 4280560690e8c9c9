import numpy as np
import pytest
from scipy import stats

from models.generalisation.correlation import flatness_sentence, rank_correlation

NAN = np.nan


def runs(n_splits, n_runs, slope, rng):
    split = np.repeat(np.arange(n_splits), n_runs)
    measure = rng.normal(size=split.size)
    return measure, slope * measure + rng.normal(size=split.size) + 10 * split, split


def test_one_split_gives_kendalls_tau():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=20), rng.normal(size=20)
    found = rank_correlation(a, b, np.zeros(20))
    assert found.tau == pytest.approx(stats.kendalltau(a, b).statistic)
    assert np.isnan(found.lower)


def test_runs_on_different_splits_are_not_compared():
    measure, gap = np.array([1.0, 2.0, 11.0, 12.0]), np.array([2.0, 1.0, 12.0, 11.0])
    assert rank_correlation(measure, gap, np.array([0, 0, 1, 1])).tau == -1
    assert rank_correlation(measure, gap, np.zeros(4)).tau > 0


def test_unconverged_measures_and_lonely_runs_are_left_out():
    measure, gap = np.array([1.0, NAN, 2.0, 3.0]), np.array([1.0, 5.0, 2.0, 3.0])
    found = rank_correlation(measure, gap, np.array([0, 0, 0, 1]))
    assert (found.tau, found.n_runs, found.n_splits) == (1, 2, 1)


def test_unrelated_measures_are_rarely_said_to_tell():
    rng = np.random.default_rng(1)
    said = 0
    for _ in range(400):
        found = rank_correlation(*runs(5, 6, 0.0, rng))
        said += found.lower > 0 or found.upper < 0
    assert said <= stats.binom.ppf(0.999, 400, 0.05)


def test_strong_relation_is_seen_and_its_sign_kept():
    rng = np.random.default_rng(2)
    found = rank_correlation(*runs(10, 8, 3.0, rng))
    assert found.lower > 0
    assert "generalise worse" in flatness_sentence("the trace", found)
    found = rank_correlation(*runs(10, 8, -3.0, rng))
    assert found.upper < 0
    assert "generalise better" in flatness_sentence("the trace", found)


def test_a_few_pairs_that_agree_by_luck_are_not_taken_for_certainty():
    split = np.repeat(np.arange(5), 2)
    measure = np.tile([0.0, 1.0], 5)
    found = rank_correlation(measure, measure, split)
    assert found.tau == 1
    assert found.lower < 0


def test_few_runs_cannot_tell():
    rng = np.random.default_rng(3)
    sentence = flatness_sentence("the trace", rank_correlation(*runs(2, 3, 5.0, rng)))
    assert sentence == (
        "Whether the trace tells which solution generalises cannot be said from 6 runs on 2 splits: "
        "use at least 5 splits with two runs or more on each."
    )
    empty = rank_correlation(np.array([NAN]), np.array([1.0]), np.array([0]))
    assert "0 runs on 0 splits" in flatness_sentence("the trace", empty)


def test_wide_interval_cannot_tell_and_shows_its_evidence():
    sentence = flatness_sentence("the trace", rank_correlation(*runs(5, 3, 0.0, np.random.default_rng(4))))
    assert "cannot be said (Kendall's tau" in sentence
    assert "15 runs on 5 splits" in sentence


def test_interval_depends_on_its_seed_only():
    columns = runs(8, 5, 1.0, np.random.default_rng(5))
    assert rank_correlation(*columns, seed=1) == rank_correlation(*columns, seed=1)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"received \(2,\), \(3,\), \(2,\)"):
        rank_correlation(np.zeros(2), np.zeros(3), np.zeros(2))


def test_the_sentence_names_what_a_larger_value_stands_for_and_the_target():
    found = rank_correlation(*runs(10, 8, 3.0, np.random.default_rng(6)))
    said = flatness_sentence("the path norm", found, "more complex", "the error under shift")
    assert said.startswith(
        "More complex solutions generalise worse here, by the path norm (Kendall's tau with the error"
    )
    assert flatness_sentence("it", found, "neither").startswith("Solutions of larger value generalise worse here")


@pytest.mark.parametrize("spread", [0.02, 0.1, 1.0])
def test_intervals_on_overlapping_splits_cover_at_their_nominal_rate(spread):
    """Gaps from real random splits of one dataset's rows, whose test rows overlap."""
    rng = np.random.default_rng(7)
    level, found = 0.5 * np.linspace(0, 1, 8), []
    for _ in range(120):
        noise, columns = rng.normal(size=(8, 100)), []
        for split in range(6):
            order = rng.permutation(100)
            gap = level + noise[:, order[:20]].mean(axis=1) - noise[:, order[20:80]].mean(axis=1)
            columns.append((level + spread * rng.normal(size=8), gap, np.full(8, split)))
        found.append(rank_correlation(*map(np.concatenate, zip(*columns, strict=True))))
    truth = np.mean([each.tau for each in found])
    covered = np.mean([each.lower <= truth <= each.upper for each in found])
    assert 0.9 <= covered <= 0.99


@pytest.mark.parametrize("which", [0, 1], ids=["measure", "gap"])
def test_what_is_the_same_for_all_runs_of_a_split_has_no_tau(which):
    columns = list(runs(10, 8, 3.0, np.random.default_rng(7)))
    columns[which] = np.asarray(columns[2], float)  # differs between splits alone
    found = rank_correlation(*columns)
    assert np.isnan([found.tau, found.lower, found.upper]).all()
    assert (found.n_runs, found.n_splits) == (80, 10)
    assert "is the same for all runs" in flatness_sentence("the trace", found)
