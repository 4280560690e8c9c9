"""Shares of draws and ratios of medians, with errors that rest on the chains."""

import numpy as np
import pytest

from models.geometry.connectivity.basins import QUANTILE, basin_share, typical_against_optimum

REPEATS = 400


def chains_of(n_chains, n_draws):
    return np.repeat(np.arange(n_chains), n_draws)


def test_the_share_counts_barriers_at_or_under_the_threshold():
    found = basin_share(np.array([0.0, 0.1, 0.2, 0.3]), np.array([0, 0, 1, 1]), 0.1)
    assert found.value == 0.5
    assert basin_share(np.array([0.0, 0.1, 0.2, 0.3]), np.array([0, 0, 1, 1]), 0.2).value == 0.75


def test_the_error_is_that_of_the_chains_shares():
    """Of chains of equal length it is the standard error of the mean of their shares, widened for their number."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(size=(4, 50)) < np.array([0.1, 0.5, 0.6, 0.9])[:, None]
    found = basin_share(1.0 - inside.reshape(-1), chains_of(4, 50), 0.5)
    of_chains = inside.mean(axis=1)
    assert found.value == pytest.approx(of_chains.mean())
    assert QUANTILE * found.standard_error == pytest.approx(3.182446 * of_chains.std(ddof=1) / 2)


def test_the_order_and_the_names_of_the_chains_do_not_matter():
    rng = np.random.default_rng(0)
    barriers, chains = rng.uniform(size=30), chains_of(3, 10)
    found = basin_share(barriers, chains, 0.4)
    order = rng.permutation(30)
    assert basin_share(barriers[order], 7 - 2 * chains[order], 0.4) == pytest.approx(found)


def test_the_error_is_never_less_than_that_of_independent_draws():
    """Chains whose shares happen to be equal."""
    found = basin_share(np.tile([0.0, 1.0], 4), chains_of(4, 2), 0.5)
    assert found.standard_error == pytest.approx(np.sqrt(0.25 / 8))


@pytest.mark.parametrize(("barrier", "share"), [(0.0, 1.0), (9.0, 0.0)])
def test_agreeing_draws_leave_the_error_of_as_many_trials_as_there_are_chains(barrier, share):
    """The exact interval for C agreeing trials has P(all C agree) = 0.025 at its end."""
    few, many = (basin_share(np.full(c * 5, barrier), chains_of(c, 5), 1.0) for c in (2, 20))
    assert few.value == many.value == share
    for found, c in ((few, 2), (many, 20)):
        assert (1 - QUANTILE * found.standard_error) ** c == pytest.approx(0.025)


def test_one_chain_tells_nothing_of_its_error():
    assert basin_share(np.array([0.0, 1.0]), np.zeros(2), 0.5).value == 0.5
    for barriers in ([0.0, 1.0], [0.0, 0.0]):
        assert np.isnan(basin_share(np.array(barriers), np.zeros(2), 0.5).standard_error)
    assert np.isnan(typical_against_optimum(np.ones(3), np.zeros(3), np.ones(1)).standard_error)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_what_is_not_known_is_not_counted_out(missing):
    found = basin_share(np.array([0.0, missing]), np.array([0, 1]), 0.5)
    assert np.isnan(found.value) and np.isnan(found.standard_error)
    for draws, optima in (([1.0, missing], [1.0]), ([1.0, 2.0], [missing])):
        typical = typical_against_optimum(np.array(draws), np.array([0, 1]), np.array(optima))
        assert np.all(np.isnan([*typical[:4], *typical.below]))


@pytest.mark.parametrize("n_chains", [4, 8])
@pytest.mark.parametrize("spread", ["mixing", "middling", "stuck"])
def test_the_shares_error_covers_at_its_nominal_rate(n_chains, spread):
    """Chains that mix, that have shares of their own, and that never leave the basin they started in."""
    rng = np.random.default_rng(0)
    truth, covered = 0.4, 0
    for _ in range(REPEATS):
        match spread:
            case "mixing":
                own = np.full(n_chains, truth)
            case "middling":
                own = rng.beta(2.0, 3.0, n_chains)
            case _:
                own = (rng.uniform(size=n_chains) < truth).astype(float)
        barriers = 1.0 - (rng.uniform(size=(n_chains, 3)) < own[:, None]).reshape(-1)
        found = basin_share(barriers, chains_of(n_chains, 3), 0.5)
        covered += abs(found.value - truth) <= QUANTILE * found.standard_error
    assert covered >= 0.88 * REPEATS


def test_medians_their_ratio_and_the_optimums_quantile():
    draws = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    found = typical_against_optimum(draws, chains_of(2, 3), np.array([1.0, 3.0, 27.0]))
    assert (found.median_draws, found.median_optima) == (6.0, 3.0)
    assert found.log_ratio == pytest.approx(np.log(2))
    assert found.below.value == pytest.approx(2 / 6)
    # The chains' medians are 2 and 16, and their logarithms log 8 apart; the optima's are 0, 1 and 3 times log 3.
    of_chains = 12.7062047 * np.log(8) / 2
    of_optima = 4.3026527 * np.log(3) * np.sqrt(7 / 3) / np.sqrt(3)
    assert QUANTILE * found.standard_error == pytest.approx(np.hypot(of_chains, of_optima), rel=1e-6)
    alone = typical_against_optimum(draws, chains_of(2, 3), np.array([3.0]))
    assert QUANTILE * alone.standard_error == pytest.approx(of_chains, rel=1e-6)
    assert np.isnan(typical_against_optimum(draws, chains_of(2, 3), np.array([-1.0, 3.0, 4.0])).standard_error)


def test_the_ratios_error_covers_where_optima_vary_too():
    """Point estimates differ by more than draws do: log values are normal around 1 and around 0."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(REPEATS):
        draws, optima = np.exp(1.0 + 0.2 * rng.normal(size=(4, 12))), np.exp(rng.normal(size=3))
        found = typical_against_optimum(draws.reshape(-1), chains_of(4, 12), optima)
        covered += abs(found.log_ratio - 1.0) <= QUANTILE * found.standard_error
    assert covered >= 0.88 * REPEATS


def test_a_measure_may_be_in_any_unit():
    rng = np.random.default_rng(0)
    draws, chains, optima = rng.lognormal(size=40), chains_of(4, 10), rng.lognormal(size=3)
    one, other = (typical_against_optimum(c * draws, chains, c * optima) for c in (1.0, 1e-3))
    assert other.log_ratio == pytest.approx(one.log_ratio)
    assert other.standard_error == pytest.approx(one.standard_error)
    assert other.below == one.below


def test_values_that_are_not_positive_have_a_rank_but_no_ratio():
    found = typical_against_optimum(np.array([-1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]), np.array([-0.5]))
    assert np.isnan(found.log_ratio) and np.isnan(found.standard_error)
    assert (found.median_draws, found.median_optima, found.below.value) == (2.5, -0.5, 0.25)


@pytest.mark.parametrize("n_chains", [4, 8])
@pytest.mark.parametrize("between", [0.0, 0.5])
def test_the_ratios_error_covers_at_its_nominal_rate(n_chains, between):
    """Log values are normal, with a shift of each chain's own: the median of all draws there could be is exp(1)."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(REPEATS):
        shifts = between * rng.normal(size=(n_chains, 1))
        draws = np.exp(1.0 + shifts + rng.normal(size=(n_chains, 12)))
        found = typical_against_optimum(draws.reshape(-1), chains_of(n_chains, 12), np.array([1.0]))
        covered += abs(found.log_ratio - 1.0) <= QUANTILE * found.standard_error
    assert covered >= 0.88 * REPEATS
