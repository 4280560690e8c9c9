"""Likelihoods against SciPy's densities, by normalisation, and by their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as stats

from models.joint import likelihoods

pytestmark = pytest.mark.usefixtures("float64")


RNG = np.random.default_rng(0)
ETA = RNG.normal(size=(7, 2))
REAL = RNG.normal(size=7)
COUNTS = RNG.integers(0, 9, size=7)


def density(family, eta, extra, y):
    return np.asarray(family.log_density(jnp.asarray(eta), jnp.asarray(extra, float), jnp.asarray(y)))


def test_gaussian_is_scipys_normal():
    got = density(likelihoods.gaussian(), ETA[:, :1], [0.3], REAL)
    np.testing.assert_allclose(got, stats.norm(ETA[:, 0], np.exp(0.3)).logpdf(REAL), rtol=1e-12)


def test_heteroscedastic_gaussian_has_a_scale_per_row():
    got = density(likelihoods.heteroscedastic_gaussian(), ETA, [], REAL)
    np.testing.assert_allclose(got, stats.norm(ETA[:, 0], np.exp(ETA[:, 1])).logpdf(REAL), rtol=1e-12)


def test_student_t_is_scipys():
    got = density(likelihoods.student_t(4), ETA[:, :1], [0.3], REAL)
    np.testing.assert_allclose(got, stats.t(4, ETA[:, 0], np.exp(0.3)).logpdf(REAL), rtol=1e-12)


def test_poisson_is_scipys():
    got = density(likelihoods.poisson(), ETA[:, :1], [], COUNTS)
    np.testing.assert_allclose(got, stats.poisson(np.exp(ETA[:, 0])).logpmf(COUNTS), rtol=1e-12)


def test_negative_binomial_has_variance_mu_plus_mu_squared_over_alpha():
    mu, alpha = np.exp(ETA[:, 0]), np.exp(0.7)
    twin = stats.nbinom(alpha, alpha / (alpha + mu))
    np.testing.assert_allclose(twin.var(), mu + mu**2 / alpha)
    got = density(likelihoods.negative_binomial(), ETA[:, :1], [0.7], COUNTS)
    np.testing.assert_allclose(got, twin.logpmf(COUNTS), rtol=1e-10)


@pytest.mark.parametrize("reference", [False, True])
def test_categorical_density_is_the_log_of_its_probabilities(reference):
    family = likelihoods.categorical(3, reference=reference)
    eta, y = RNG.normal(size=(7, family.n_outputs)), RNG.integers(0, 3, size=7)
    probabilities = np.asarray(family.probabilities(jnp.asarray(eta), jnp.zeros(0)))
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    np.testing.assert_allclose(density(family, eta, [], y), np.log(probabilities[np.arange(7), y]), rtol=1e-12)


def test_two_classes_by_bernoulli_and_by_reference_coding_agree():
    y = RNG.integers(0, 2, size=7)
    by_logit = density(likelihoods.bernoulli(), ETA[:, :1], [], y)
    np.testing.assert_allclose(by_logit, density(likelihoods.categorical(2, reference=True), ETA[:, :1], [], y))


@pytest.mark.parametrize("eta", [-800.0, 800.0])
def test_bernoulli_stays_finite_far_out(eta):
    got = density(likelihoods.bernoulli(), np.array([[eta], [eta]]), [], np.array([0, 1]))
    np.testing.assert_allclose(np.sort(got), [-800.0, 0.0])


@pytest.mark.parametrize(
    ("family", "extra", "variance"),
    [
        (likelihoods.gaussian(), [0.3], lambda mu: np.exp(0.6)),
        (likelihoods.student_t(6), [0.3], lambda mu: np.exp(0.6) * 6 / 4),
        (likelihoods.poisson(), [], lambda mu: mu),
        (likelihoods.negative_binomial(), [0.7], lambda mu: mu + mu**2 / np.exp(0.7)),
        (likelihoods.heteroscedastic_gaussian(), [], lambda mu: np.exp(-0.4)),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_samples_have_the_mean_and_variance_of_the_family(family, extra, variance):
    n = 40_000
    eta = jnp.tile(jnp.array([[0.5, -0.2]])[:, : family.n_outputs], (n, 1))
    extra = jnp.asarray(extra, float)
    draws = np.asarray(family.sample(jax.random.key(1), eta, extra))
    mu = float(family.mean(eta, extra)[0])
    sd = np.sqrt(variance(mu))
    assert abs(draws.mean() - mu) < 4 * sd / np.sqrt(n)
    spread = np.sqrt(np.var((draws - mu) ** 2) / n)
    assert abs(draws.var() - sd**2) < 4 * spread


@pytest.mark.parametrize(
    ("family", "extra"),
    [(likelihoods.poisson(), []), (likelihoods.negative_binomial(), [0.7])],
    ids=["poisson", "negative-binomial"],
)
def test_counts_sum_to_one(family, extra):
    y = np.arange(400)
    assert np.exp(density(family, np.full((400, 1), 1.2), extra, y)).sum() == pytest.approx(1.0, abs=1e-10)
