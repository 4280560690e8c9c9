"""Mixture predictives against a loop over draws in plain NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from models.joint import likelihoods
from models.prediction.predictive import N_SAMPLES, predict_draws

N, LOCATION, SCALE = 200, 30.0, 4.0
KEY = jax.random.key(3)

# Per family the distribution of the standardised target, from eta (s, n, k) and extra (s, 1, m).
REAL = {
    "gaussian": (likelihoods.gaussian(), lambda e, a: stats.norm(e[..., 0], np.exp(a[..., 0]))),
    "heteroscedastic-gaussian": (
        likelihoods.heteroscedastic_gaussian(),
        lambda e, a: stats.norm(e[..., 0], np.exp(e[..., 1])),
    ),
    "student-t": (likelihoods.student_t(5.0), lambda e, a: stats.t(5.0, e[..., 0], np.exp(a[..., 0]))),
}
COUNT = {
    "poisson": (likelihoods.poisson(), lambda e, a: stats.poisson(np.exp(e[..., 0]))),
    "negative-binomial": (
        likelihoods.negative_binomial(),
        lambda e, a: stats.nbinom(np.exp(a[..., 0]), np.exp(a[..., 0]) / (np.exp(a[..., 0]) + np.exp(e[..., 0]))),
    ),
}


def with_zero(eta):
    return np.concatenate([np.zeros_like(eta[..., :1]), eta], axis=-1)


CLASSES = {
    "categorical": (likelihoods.categorical(3), lambda e: special.softmax(e, axis=-1)),
    "categorical-reference": (
        likelihoods.categorical(3, reference=True),
        lambda e: special.softmax(with_zero(e), axis=-1),
    ),
    "bernoulli": (likelihoods.bernoulli(), lambda e: special.softmax(with_zero(e), axis=-1)),
}


@pytest.fixture(params=["one-float32", "many-float64"])
def how(request):
    """Number of draws and their dtype."""
    draws, dtype = request.param.split("-")
    with jax.enable_x64(dtype == "float64"):
        yield {"one": 1, "many": 8}[draws], np.dtype(dtype)


def natural_parameters(family, draws, dtype):
    rng = np.random.default_rng(0)
    eta = rng.normal(scale=0.7, size=(draws, N, family.n_outputs)).astype(dtype)
    return eta, rng.normal(scale=0.3, size=(draws, len(family.extras))).astype(dtype)


def tolerance(dtype):
    return {"rtol": 5e-5, "atol": 5e-6} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_mix_probabilities_over_draws(name, how):
    draws, dtype = how
    family, probabilities_of = CLASSES[name]
    eta, extra = natural_parameters(family, draws, dtype)
    each = probabilities_of(eta.astype(float))
    y = np.random.default_rng(1).integers(each.shape[2], size=N)
    found = predict_draws(family, jnp.asarray(eta), jnp.asarray(extra), y.astype(np.int32), KEY, 0.0, 1.0)
    mixed = each.mean(axis=0)
    p, log_density = found.predictive.probabilities, found.predictive.log_density
    np.testing.assert_allclose(p, mixed, **tolerance(dtype))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(log_density, np.log(mixed[np.arange(N), y]), **tolerance(dtype))
    np.testing.assert_allclose(found.log_likelihood, np.log(each[:, np.arange(N), y]), **tolerance(dtype))
    np.testing.assert_allclose(found.quantity, each, **tolerance(dtype))
    assert found.predictive.mean is None
    assert found.predictive.samples is None


@pytest.mark.parametrize("name", [*REAL, *COUNT])
def test_numbers_mix_densities_over_draws_in_their_own_units(name, how):
    draws, dtype = how
    family, distribution = (REAL | COUNT)[name]
    location, scale = (LOCATION, SCALE) if name in REAL else (0.0, 1.0)
    eta, extra = natural_parameters(family, draws, dtype)
    rng = np.random.default_rng(1)
    y = rng.normal(size=N).astype(dtype) if name in REAL else rng.poisson(2.0, size=N).astype(np.int32)
    found = predict_draws(family, jnp.asarray(eta), jnp.asarray(extra), y, KEY, location, scale)
    parts = distribution(eta.astype(float), extra.astype(float)[:, None])
    density, means = (parts.pdf if name in REAL else parts.pmf)(y), parts.mean()
    log_density = np.log(density.mean(axis=0) / scale)
    np.testing.assert_allclose(found.predictive.log_density, log_density, **tolerance(dtype))
    np.testing.assert_allclose(found.log_likelihood, np.log(density / scale), **tolerance(dtype))
    np.testing.assert_allclose(found.predictive.mean, location + scale * means.mean(axis=0), **tolerance(dtype))
    np.testing.assert_allclose(found.quantity, means[..., None], **tolerance(dtype))
    assert found.predictive.probabilities is None

    # N_SAMPLES is a multiple of the draws, so that samples have exactly the mixture's moments in expectation.
    samples = found.predictive.samples
    assert samples.shape == (N, N_SAMPLES)
    variance = parts.var().mean(axis=0) + means.var(axis=0)
    z = ((samples - location) / scale - means.mean(axis=0)[:, None]) / np.sqrt(variance)[:, None]
    for by_row, truth in ((z.mean(axis=1), 0.0), ((z**2).mean(axis=1), 1.0)):
        assert abs(by_row.mean() - truth) < 4 * by_row.std(ddof=1) / np.sqrt(N)


def test_samples_are_taken_from_draws_evenly_spaced():
    """Draws with no noise to speak of give themselves away."""
    draws = 200
    eta = np.arange(draws, dtype=np.float32).reshape(draws, 1, 1)
    extra = np.full((draws, 1), -20.0, np.float32)
    found = predict_draws(
        likelihoods.gaussian(), jnp.asarray(eta), jnp.asarray(extra), np.zeros(1, np.float32), KEY, 0.0, 1.0
    )
    counts = np.bincount(found.predictive.samples[0].round().astype(int), minlength=draws)
    assert set(counts) == {1, 2}
    assert counts.sum() == N_SAMPLES
    assert abs(counts[: draws // 2].sum() - N_SAMPLES / 2) <= 1


def test_a_draw_that_denies_a_row_counts_as_zero_and_not_as_minus_infinity():
    eta = np.array([[[0.0]], [[-2000.0]]], np.float32)
    found = predict_draws(
        likelihoods.bernoulli(), jnp.asarray(eta), jnp.zeros((2, 0)), np.array([1], np.int32), KEY, 0.0, 1.0
    )
    np.testing.assert_allclose(found.predictive.log_density, np.log(0.25), rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_single_precision_mixes_as_double_does(seed):
    family = likelihoods.gaussian()
    eta, extra = natural_parameters(family, 8, np.float64)
    y = np.random.default_rng(seed).normal(size=N)
    single = predict_draws(
        family, *(jnp.asarray(a, np.float32) for a in (eta, extra)), y.astype(np.float32), KEY, LOCATION, SCALE
    )
    with jax.enable_x64(True):
        double = predict_draws(family, jnp.asarray(eta), jnp.asarray(extra), y, KEY, LOCATION, SCALE)
    for name in ("log_density", "mean"):
        a, b = getattr(single.predictive, name), getattr(double.predictive, name)
        assert a.dtype == b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=5e-5)


def test_samples_depend_on_the_key_alone():
    family = likelihoods.gaussian()
    eta, extra = natural_parameters(family, 8, np.float32)
    arguments = (family, jnp.asarray(eta), jnp.asarray(extra), np.zeros(N, np.float32))
    first, again, other = (
        predict_draws(*arguments, key, 0.0, 1.0).predictive.samples for key in (KEY, KEY, jax.random.key(4))
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)
