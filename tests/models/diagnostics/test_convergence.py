"""R-hat, ESS and MCSE against slow, plain twins written from the papers, and against ArviZ."""

import arviz as az
import numpy as np
import pytest
from scipy.stats import norm

from models.diagnostics.convergence import BLOCK, convergence, mcse_mean, r_hat


def chains(phi, n_chains, n_draws, q, seed):
    """First-order autoregressions, stationary from the first draw; (chain, draw, q)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_chains, n_draws, q))
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, n_draws):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    return x


# --- the twins: one quantity (chain, draw) at a time, sums as written in Vehtari et al. (2021), sections 3 and 4 ---


def plain_split(x):
    n = x.shape[1] // 2
    return np.array([part for chain in x for part in (chain[:n], chain[len(chain) - n :])])


def plain_scores(x):
    flat = x.ravel()
    ranks = [np.sum(flat < v) + (np.sum(flat == v) + 1) / 2 for v in flat]
    return norm.ppf((np.array(ranks) - 3 / 8) / (len(flat) + 1 / 4)).reshape(x.shape)


def plain_r_hat(x):
    n = x.shape[1]
    within = np.mean([np.var(chain, ddof=1) for chain in x])
    between = n * np.var([np.mean(chain) for chain in x], ddof=1)
    return np.sqrt(((n - 1) / n * within + between / n) / within)


def plain_rank_r_hat(x):
    return max(plain_r_hat(plain_scores(x)), plain_r_hat(plain_scores(np.abs(x - np.median(x)))))


def plain_ess(x):
    m, n = x.shape
    centred = x - x.mean(axis=1, keepdims=True)
    autocovariance = [np.mean([np.sum(c[: n - t] * c[t:]) / n for c in centred]) for t in range(n)]
    within = autocovariance[0] * n / (n - 1)
    total = autocovariance[0] + (np.var(x.mean(axis=1), ddof=1) if m > 1 else 0.0)
    rho = [1.0] + [1 - (within - autocovariance[t]) / total for t in range(1, n)]
    pairs, t = [], 0
    while t + 3 < n - 1 and rho[t] + rho[t + 1] > 0:
        pairs.append(rho[t] + rho[t + 1])
        t += 2
    monotone = [min(pairs[: k + 1]) for k in range(len(pairs))]
    positive = rho[t] + rho[t + 1] > 0
    tau = -1 + 2 * sum(monotone) + (rho[t] if positive else max(rho[t], 0.0))
    return m * n / max(tau, 1 / np.log10(m * n))


def plain_tail(x):
    indicators = [(x <= np.quantile(x, q)).astype(float) for q in (1 - 0.89, 0.89)]
    return min(plain_ess(plain_split(indicator)) for indicator in indicators if np.ptp(indicator) > 0)


CASES = [(phi, n_chains, n_draws) for phi in (-0.6, 0.0, 0.5, 0.97) for n_chains in (1, 4) for n_draws in (20, 61)]


@pytest.mark.parametrize(("phi", "n_chains", "n_draws"), CASES)
def test_agrees_with_the_plain_twin(phi, n_chains, n_draws):
    x = chains(phi, n_chains, n_draws, 4, seed=5)
    x[:, :, 1] = np.round(x[:, :, 1])  # ties
    x[0, :, 2] += 3.0  # a chain apart
    x[-1, :, 3] *= 9.0  # a chain too wide
    found = convergence(x)
    for i in range(4):
        halves = plain_split(x[:, :, i])
        assert found.r_hat[i] == pytest.approx(plain_rank_r_hat(halves), rel=1e-12)
        assert found.ess_bulk[i] == pytest.approx(plain_ess(plain_scores(halves)), rel=1e-9)
        assert found.ess_tail[i] == pytest.approx(plain_tail(x[:, :, i]), rel=1e-9)
        error = np.std(x[:, :, i], ddof=1) / np.sqrt(plain_ess(halves))
        assert mcse_mean(x)[i] == pytest.approx(error, rel=1e-9)
        if n_chains > 1:
            assert r_hat(x, split=False)[i] == pytest.approx(plain_rank_r_hat(x[:, :, i]), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_arviz_in_blocks(dtype):
    x = chains(0.7, 4, 100, 2 * BLOCK + 3, seed=6).astype(dtype)
    chosen = [0, BLOCK - 1, BLOCK, 2 * BLOCK + 2]
    tree = az.from_dict({"posterior": {"x": x[:, :, chosen].astype(np.float64)}})
    found = convergence(x)
    np.testing.assert_allclose(found.r_hat[chosen], az.rhat(tree)["x"], rtol=1e-9)
    np.testing.assert_allclose(found.ess_bulk[chosen], az.ess(tree)["x"], rtol=1e-9)
    np.testing.assert_allclose(found.ess_tail[chosen], az.ess(tree, method="tail")["x"], rtol=1e-6)
    np.testing.assert_allclose(mcse_mean(x)[chosen], az.mcse(tree)["x"], rtol=1e-9)


@pytest.mark.parametrize("n_draws", [100, 101, 250, 333])
@pytest.mark.parametrize("n_chains", range(1, 9))
def test_equals_arviz_at_its_defaults_for_even_and_odd_draws(n_chains, n_draws):
    x = chains(0.4, n_chains, n_draws, 3, seed=n_chains)
    x[..., 2] = np.round(x[..., 2])
    tree = az.from_dict({"posterior": {"x": x}})
    found = convergence(x)
    if n_chains > 1:  # of one it gives none
        np.testing.assert_allclose(found.r_hat, az.rhat(tree)["x"], rtol=1e-9)
    np.testing.assert_allclose(found.ess_bulk, az.ess(tree)["x"], rtol=1e-9)
    np.testing.assert_allclose(found.ess_tail, az.ess(tree, method="tail")["x"], rtol=1e-9)
    np.testing.assert_allclose(mcse_mean(x), az.mcse(tree)["x"], rtol=1e-9)


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_effective_sample_size_is_that_of_an_autoregression(phi):
    found = convergence(chains(phi, 4, 1000, 40, seed=7)).ess_bulk
    truth = 4000 * (1 - phi) / (1 + phi)
    error = np.std(found, ddof=1) / np.sqrt(40)
    # The estimate's bias is of the order of tau / n: 4 standard errors and 2 %.
    assert abs(np.mean(found) - truth) < 4 * error + 0.02 * truth


def test_independent_chains_have_an_r_hat_near_one():
    assert np.all(convergence(chains(0.0, 4, 1000, 50, seed=8)).r_hat < 1.01)


def test_what_is_not_finite_has_failed():
    x = chains(0.0, 4, 50, 4, seed=9)
    healthy = convergence(x)
    x[1, 7, 0], x[2, 3, 1] = np.nan, -np.inf
    found = convergence(x)
    assert np.all(np.isinf(found.r_hat[:2]))
    assert np.all(found.ess_bulk[:2] == 0)
    assert np.all(found.ess_tail[:2] == 0)
    assert np.all(np.isinf(mcse_mean(x)[:2]))
    assert np.all(np.isinf(r_hat(x)[:2]))
    assert np.array_equal(found.r_hat[2:], healthy.r_hat[2:])


def test_what_never_changes_has_nothing_to_estimate():
    # 1e-9 and 0.1 are no sums of powers of two: rounding must not pass for movement.
    x = np.broadcast_to([0.0, 1.0, 1e-9, 0.1], (4, 50, 4)).copy()
    found = convergence(x)
    assert all(np.all(np.isnan(column)) for column in found)
    assert np.all(mcse_mean(x) < 1e-15)


def test_chains_that_stand_still_in_different_places_have_infinite_r_hat():
    x = np.broadcast_to(np.array([0.1, 0.2, 0.3, 0.4])[:, None, None], (4, 50, 1)).copy()
    found = convergence(x)
    assert np.isinf(found.r_hat[0])
    assert found.ess_bulk[0] < 10


def test_small_scales_are_not_taken_for_constants():
    x = chains(0.0, 4, 100, 1, seed=10)
    np.testing.assert_allclose(convergence(x * 1e-30).ess_bulk, convergence(x).ess_bulk, rtol=1e-9)
    np.testing.assert_allclose(mcse_mean(x * 1e-30), mcse_mean(x) * 1e-30, rtol=1e-9)
