"""Log masses of counts in float32 against SciPy's special functions in float64, over many orders of magnitude."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from models.joint import counts, likelihoods

MEANS = 10.0 ** np.arange(-2, 9)
ALPHAS = 10.0 ** np.arange(-2, 10)


def poisson(y, mean):
    return y * np.log(mean) - mean - special.gammaln(y + 1)


def negative_binomial(y, mean, alpha):
    rest = special.gammaln(y + alpha) - special.gammaln(alpha) - special.gammaln(y + 1)
    return rest - alpha * np.log1p(mean / alpha) + special.xlogy(y, mean / (alpha + mean))


def negative_binomial_slopes(y, mean, alpha):
    """In log mean and in log alpha."""
    ratio = (mean - y) / (alpha + mean)
    in_alpha = special.digamma(y + alpha) - special.digamma(alpha) - np.log1p(mean / alpha) + ratio
    return -alpha * ratio, alpha * in_alpha


def targets(mean, seed=0):
    """Counts as they come, about the mean and far from it."""
    near = np.random.default_rng(seed).poisson(mean, 4)
    far = [0, 1, mean / 3, mean, 3 * mean, mean + 3 * np.sqrt(mean)]
    return np.concatenate([near, far]).astype(np.int32)


def assert_close(got, expected, error):
    """Within `error`, or within the digits that float32 has."""
    np.testing.assert_array_less(np.abs(np.asarray(got, float) - expected), error + 1e-6 * np.abs(expected))


def test_poisson_masses_and_slopes_hold_at_any_mean():
    mass = jax.jit(jax.vmap(jax.value_and_grad(lambda eta, y: counts.poisson_log_mass(y[None], eta[None])[0])))
    for log_mean in np.log(MEANS).astype(np.float32):
        y, mean = targets(np.exp(log_mean)), np.exp(float(log_mean))
        value, slope = mass(jnp.full(len(y), log_mean), y)
        assert_close(value, poisson(y, mean), 1e-3)
        # The mean itself is known to float32's digits of its logarithm alone.
        assert_close(slope, y - mean, 2e-3 * np.sqrt(1 + mean))


def test_negative_binomial_masses_and_slopes_hold_at_any_mean_and_dispersion():
    def one(eta, log_alpha, y):
        return counts.negative_binomial_log_mass(y[None], eta[None], log_alpha)[0]

    mass = jax.jit(jax.vmap(jax.value_and_grad(one, argnums=(0, 1)), in_axes=(0, None, 0)))
    for log_mean in np.log(MEANS).astype(np.float32):
        y, mean = targets(np.exp(log_mean)), np.exp(float(log_mean))
        for log_alpha in np.log(ALPHAS).astype(np.float32):
            alpha = np.exp(float(log_alpha))
            value, (in_mean, in_alpha) = mass(jnp.full(len(y), log_mean), log_alpha, y)
            expected = negative_binomial_slopes(y, mean, alpha)
            assert_close(value, negative_binomial(y, mean, alpha), 1e-3)
            assert_close(in_mean, expected[0], 2e-3 * np.sqrt(1 + mean / (1 + mean / alpha)))
            assert_close(in_alpha, expected[1], 1e-3)


def test_a_huge_dispersion_is_poisson_and_has_no_slope():
    y, eta = jnp.array([0, 3, 90, 1_000_200], jnp.int32), jnp.log(jnp.array([0.5, 4.0, 100.0, 1e6]))
    for log_alpha in (40.0, 80.0, 1e4):
        mass, slope = jax.jvp(
            lambda a: counts.negative_binomial_log_mass(y, eta, a), (jnp.float32(log_alpha),), (jnp.float32(1.0),)
        )
        np.testing.assert_allclose(mass, counts.poisson_log_mass(y, eta), atol=1e-5)
        np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_extreme_parameters_give_finite_masses_and_slopes():
    y = jnp.array([0, 1, 40, 10**6], jnp.int32)
    for log_mean in (-60.0, 60.0):
        for log_alpha in (-60.0, -3.0, 60.0):
            grad = jax.grad(lambda e, a: jnp.sum(counts.negative_binomial_log_mass(y, jnp.full(4, e), a)), (0, 1))
            for slope in grad(jnp.float32(log_mean), jnp.float32(log_alpha)):
                assert jnp.isfinite(slope)


def test_masses_sum_to_one_and_curvature_is_that_of_the_family():
    with jax.enable_x64(True):
        y = jnp.arange(400)
        mass = counts.negative_binomial_log_mass(y, jnp.full(400, jnp.log(20.0)), jnp.log(5.0))
        np.testing.assert_allclose(jnp.sum(jnp.exp(mass)), 1.0, rtol=1e-9)
        second = jax.grad(jax.grad(lambda e: counts.poisson_log_mass(jnp.array([30]), e[None])[0]))(jnp.log(25.0))
        np.testing.assert_allclose(second, -25.0, rtol=1e-10)


def test_student_t_holds_for_many_degrees_and_far_out():
    for nu in (1.0, 4.0, 1e3, 1e6, 1e9):
        for z in (0.0, 2.0, 30.0, 1e6, 1e12):
            got = likelihoods.student_t(nu).log_density(jnp.zeros((1, 1)), jnp.zeros(1), jnp.array([z], jnp.float32))
            expected = stats.t.logpdf(z, nu)
            if np.isfinite(expected):
                assert_close(got, expected, 1e-3)


def test_softmax_and_normal_tails_hold_in_float32():
    logits = np.array([[0.0, 30.0, -90.0], [200.0, -200.0, 0.0]], np.float32)
    for k in range(3):
        got = likelihoods.categorical(3).log_density(jnp.asarray(logits), jnp.zeros(0), jnp.full(2, k))
        assert_close(got, special.log_softmax(logits.astype(float), axis=1)[:, k], 1e-6)
    eta = np.array([[0.0, -14.0], [0.0, 14.0], [3.0, 0.0]], np.float32)
    got = likelihoods.heteroscedastic_gaussian().log_density(jnp.asarray(eta), jnp.zeros(0), jnp.full(3, 2.0))
    assert_close(got, stats.norm.logpdf(2.0, eta[:, 0], np.exp(eta[:, 1].astype(float))), 1e-3)
