"""The flatness sigma where it is known in closed form, and bounds that must hold."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gammaln, rel_entr, xlogy
from scipy.stats import norm

from models.geometry.connectivity.symmetries import hidden_layers, rescale
from models.geometry.definition import Point
from models.geometry.families.certificate import B, C, Gaussian, certify, complexity, optimise_posterior
from models.geometry.families.kl import gaussian_kl, inverse_binary_kl
from models.geometry.families.margins import training_error
from models.geometry.landscape import Landscape
from models.joint.model import build
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from models.predictors.linear import LinearNet
from tests.support.landscapes import FAMILIES, dense_hessian, landscape_of

SIGMAS = ("pac_bayes_sigma", "pac_bayes_sigma_magnitude")


pytestmark = pytest.mark.usefixtures("float64")


def point_of(landscape, theta, seed=0, initial=None):
    return Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(seed), initial)


def one(point, name, **settings):
    ((row,),) = measure([point], ask(name, **settings))
    return row


def repeated(landscape, theta, name, **settings):
    """(100,) estimates and standard errors under fresh keys."""
    asked = ask(name, **settings)

    def under(key):
        found = asked.definition.compute(point_of(landscape, theta)._replace(key=key), asked.settings)
        return found.value, found.standard_error

    return jax.jit(lambda keys: jax.lax.map(under, keys))(jax.random.split(jax.random.key(7), 100))


def covered(found, truth):
    value, error = map(np.asarray, found)
    return int(np.sum(np.abs(value - truth) <= 1.96 * error))


# --- divergences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.0, 1e-6, 0.02, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("bound", [1e-9, 1e-4, 0.1, 2.0])
def test_the_inverted_kl_meets_a_bracketed_root(q, bound):
    def excess(p):
        return rel_entr(q, p) + rel_entr(1 - q, 1 - p) - bound

    found, last = float(inverse_binary_kl(q, bound)), 1 - 1e-16
    if q == 0.0:
        np.testing.assert_allclose(found, -math.expm1(-bound), rtol=1e-12)
    elif excess(last) < 0:
        assert found == 1.0
    elif bound > 1e-8:
        np.testing.assert_allclose(found, brentq(excess, q, last, xtol=1e-16, rtol=1e-14), rtol=1e-11)
    else:  # the plain formula's own rounding would show
        np.testing.assert_allclose(found - q, np.sqrt(2 * bound * q * (1 - q)), rtol=0.05)
    with jax.enable_x64(False):
        in_float32 = inverse_binary_kl(jnp.float32(q), bound)
        assert in_float32.dtype == jnp.float32
        np.testing.assert_allclose(in_float32 - q, found - q, rtol=1e-3, atol=1e-7)


def test_the_inverted_kl_at_its_ends():
    assert inverse_binary_kl(1.0, 0.1) == 1.0
    assert inverse_binary_kl(0.3, 1e3) == 1.0
    assert np.isnan(inverse_binary_kl(jnp.nan, 0.1)) and np.isnan(inverse_binary_kl(0.1, jnp.nan))


def test_the_gaussian_kl_meets_the_matrix_formula():
    rng = np.random.default_rng(0)
    shift, log_sd, variance = rng.normal(size=6), rng.normal(size=6), 0.7
    s, p = np.diag(np.exp(2 * log_sd)), variance * np.eye(6)
    _, log_s = np.linalg.slogdet(s)
    _, log_p = np.linalg.slogdet(p)
    dense = 0.5 * (np.trace(np.linalg.solve(p, s)) + shift @ np.linalg.solve(p, shift) - 6 + log_p - log_s)
    np.testing.assert_allclose(gaussian_kl(jnp.asarray(shift), jnp.asarray(log_sd), jnp.asarray(variance)), dense)


# --- the flatness sigma -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGMAS)
def test_on_a_quadratic_the_noise_is_a_standard_deviation(name):
    """E of u' H u / 2 is sigma^2 tr(S H S) / 2 for noise sigma S: neither sigma^2 nor the root of sigma meets it."""
    landscape, theta = landscape_of(FAMILIES["gaussian"], widths=())
    weights = slice(0, landscape.model.n_weights)
    scale = np.abs(theta[weights]) if name == "pac_bayes_sigma_magnitude" else np.ones(4)
    diagonal = np.diag(dense_hessian(landscape, theta))[weights]
    for budget in (0.1, 1e-3):
        truth = np.sqrt(2 * budget / np.sum(scale**2 * diagonal))
        row = one(point_of(landscape, theta), name, budget=budget, pairs=2000)
        assert row.value is not None and row.standard_error is not None
        assert abs(row.value - truth) < 4 * row.standard_error < 0.1 * truth
    assert covered(repeated(landscape, theta, name, budget=0.1), truth * 10) >= 88


def test_the_noise_that_costs_a_tenth_of_the_rows():
    """One kind of row with margin w + b = 1: a net errs on all rows with probability Phi(-1 / (sigma sqrt 2))."""
    model = build(FAMILIES["bernoulli"], LinearNet, 1, 1)
    landscape = Landscape(model, jnp.ones((4, 1)), jnp.ones(4, int))
    theta, truth = jnp.asarray([0.5, 0.5]), -1 / (np.sqrt(2) * norm.ppf(0.1))
    assert covered(repeated(landscape, theta, "pac_bayes_sigma", pairs=400), truth) >= 88
    never = one(point_of(landscape, theta), "pac_bayes_sigma", budget=0.9)
    assert never.status == "unconverged" and never.value is None


def test_the_same_key_gives_the_same_noise():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    first, again, other = (one(point_of(landscape, theta, seed), "pac_bayes_sigma", on="loss") for seed in (1, 1, 2))
    assert first == again != other
    assert first.n_products == 1 + 2 * 30 * 16


def test_rescaling_moves_the_plain_noise_and_not_the_magnitude_aware_one():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    (layer,) = hidden_layers(landscape.model)
    plain, aware = (
        [one(point_of(landscape, rescale(theta, layer, alpha)), name, on="loss") for alpha in (1.0, 1e-4, 1e4)]
        for name in SIGMAS
    )
    for moved, still in zip(plain[1:], aware[1:], strict=True):
        assert moved.value < 0.01 * plain[0].value
        np.testing.assert_allclose(still.value, aware[0].value, rtol=1e-8)
        np.testing.assert_allclose(still.standard_error, aware[0].standard_error, rtol=1e-6)


def test_errors_of_counts_are_refused_and_their_loss_is_not():
    landscape, theta = landscape_of(FAMILIES["poisson"])
    refused = one(point_of(landscape, theta), "pac_bayes_sigma", on="error")
    assert refused.status == "not_applicable" and refused.reason is not None and "loss" in refused.reason
    assert one(point_of(landscape, theta), "pac_bayes_sigma").status == "converged"


def test_a_loss_that_is_not_a_number_has_no_sigma():
    landscape, theta = landscape_of(FAMILIES["gaussian"], widths=())
    for name in SIGMAS:
        assert one(point_of(landscape, theta.at[0].set(jnp.nan)), name).status == "unconverged"


# --- the bound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 50, 1000])
def test_the_constant_bounds_the_moment_that_the_theorem_rests_on(n):
    """E exp(n kl(k / n || p)) over k ~ Binomial(n, p) is sum_k C(n, k) (k / n)^k (1 - k / n)^(n - k) for every p."""
    k = np.arange(n + 1)
    terms = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + xlogy(k, k / n) + xlogy(n - k, 1 - k / n)
    delta, j = 0.05, 3.0
    same = jnp.asarray(0.5 * np.log(C) - 0.5 * j / B)  # Q is the prior, so that its divergence is 0
    allowed = complexity(jnp.zeros(1), same[None], jnp.asarray(j), n, delta)
    assert n * allowed >= np.log(np.sum(np.exp(terms)) / (6 * delta / (np.pi * j) ** 2)) - 1e-12


def test_the_priors_share_out_the_whole_chance_of_failure():
    j = jnp.arange(1.0, 50_000.0)
    spent = jax.vmap(lambda i: complexity(jnp.zeros(1), 0.5 * (jnp.log(C) - i / B)[None], i, 1, 0.05))(j)
    np.testing.assert_allclose(np.sum(2 * np.exp(-np.asarray(spent))), 0.05, rtol=1e-4)


def test_the_bound_holds_on_every_one_of_twenty_problems():
    """It may fail with probability 0.05 each; a true bound of this size fails far more rarely."""
    model = build(FAMILIES["bernoulli"], LinearNet, 3, 1)

    def rows(key, n):
        at, label = jax.random.split(key)
        x = jax.random.normal(at, (n, 3))
        flip = jax.random.bernoulli(label, 0.1, (n,))
        return Landscape(model, x, ((x @ jnp.asarray([1.0, -1.0, 0.5]) > 0) ^ flip).astype(int))

    def repeat(key):
        fresh, train, fit, draw, check = jax.random.split(key, 5)
        landscape, theta = rows(train, 300), jnp.asarray([1.0, -1.0, 0.5, 0.0])
        start = Gaussian(theta, jnp.full(4, -1.0))
        q = optimise_posterior(landscape, start, jnp.zeros(4), fit, 200, 0.02, 0.05)
        found = certify(landscape, q, jnp.zeros(4), draw, samples=500, delta=0.05)
        test = rows(fresh, 2000)
        true = jax.lax.map(lambda k: training_error(test, q.draw(k)), jax.random.split(check, 200))
        return found.bound, jnp.mean(true), found.empirical

    keys = jax.random.split(jax.random.key(0), 20)
    bound, true, empirical = map(np.asarray, jax.jit(lambda keys: jax.lax.map(repeat, keys))(keys))
    assert np.all(true < bound) and np.all(bound < 0.5)
    assert np.any(true > empirical)  # the training error is no bound


def test_optimising_the_posterior_tightens_the_bound():
    landscape, theta = landscape_of(FAMILIES["bernoulli"], n=200, widths=())
    y = (landscape.model.predict(theta, landscape.x)[:, 0] > 0).astype(int)
    point = point_of(Landscape(landscape.model, landscape.x, y), theta)
    short, long = (measure([point], ask("pac_bayes_bound", steps=steps))[0] for steps in (1, 500))
    parts = [row.component for row in long]
    assert parts == ["bound", "kl", "empirical_error", "vacuous"]
    values = dict(zip(parts, (row.value for row in long), strict=True))
    assert values["bound"] < short[0].value and values["vacuous"] == 0.0
    assert values["empirical_error"] < values["bound"] < 0.5
    assert all(row.standard_error == 0.0 and row.n_products == 1500 for row in long)


def test_random_labels_are_said_to_give_a_vacuous_bound():
    landscape, theta = landscape_of(FAMILIES["categorical"], n=30)
    found = {m.component: m.value for m in measure([point_of(landscape, theta)], ask("pac_bayes_bound", steps=50))[0]}
    assert found["bound"] > 2 / 3 and found["vacuous"] == 1.0


def test_the_prior_stands_at_the_start_of_the_fit_where_there_is_one():
    landscape, theta = landscape_of(FAMILIES["categorical"], n=30)
    far, near = (
        measure([point_of(landscape, theta, initial=initial)], ask("pac_bayes_bound", steps=1))[0][1].value
        for initial in (None, theta)
    )
    assert near < far


def test_the_bound_needs_classes():
    landscape, theta = landscape_of(FAMILIES["gaussian"])
    row = one(point_of(landscape, theta), "pac_bayes_bound")
    assert row.status == "not_applicable" and row.reason is not None and "pac_bayes_sigma" in row.reason
