"""Chains on plain densities, against quadrature and exact coefficients."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf
from scipy.stats import norm

from models.diagnostics.convergence import convergence, mcse_mean
from models.geometry.families.local_posterior import TARGET_MALA, hamiltonian, langevin

ROWS = 1e4
TEMPERED = ROWS / np.log(ROWS)


pytestmark = pytest.mark.usefixtures("float64")


class Found(NamedTuple):
    mean: float
    error: float


def judged(values, factor: float = 1.0) -> Found:
    """Mean and Monte Carlo error of chains that agree."""
    values = factor * np.asarray(values)[:, :, None]
    assert convergence(values).r_hat[0] < 1.05
    return Found(float(values.mean()), float(mcse_mean(values)[0]))


def coefficient(potential, start, *, n_beta=TEMPERED, precision=1.0, seed=0, **how) -> Found:
    """N beta E[K] under exp(-n beta K(w)) N(w; 0, 1 / precision)."""

    def density(w):
        value = potential(w)
        return -n_beta * value - 0.5 * precision * w @ w, value

    how = {"chains": 4, "warmup": 500, "draws": 2000, "max_leapfrog": 16} | how
    trace = jax.jit(lambda key: hamiltonian(density, jnp.asarray(start, float), key, **how))(jax.random.key(seed))
    return judged(trace.full.values, n_beta)


# --- by quadrature ----------------------------------------------------------------------------------------------------


def monomial_oracle(power: int) -> float:
    x = np.linspace(-8, 8, 400_001)
    weight = np.exp(-TEMPERED * np.abs(x) ** power - x**2 / 2)
    return float(np.sum(weight * TEMPERED * np.abs(x) ** power) / np.sum(weight))


@pytest.mark.parametrize(("power", "published"), [(2, 0.49977), (4, 0.24745)])
def test_monomials_under_a_normal_prior(power, published):
    truth = monomial_oracle(power)
    assert truth == pytest.approx(published, abs=5e-6)
    found = coefficient(lambda w: w[0] ** power, [0.0], draws=5000)
    assert abs(found.mean - truth) < 3 * found.error < 0.1 * truth


def test_langevin_with_the_metropolis_step_is_as_exact_where_tails_are_normal():
    found = coefficient(lambda w: w[0] ** 2, [0.0], max_leapfrog=1, target=TARGET_MALA, draws=6000)
    assert abs(found.mean - monomial_oracle(2)) < 3 * found.error < 0.1 * found.mean


def product_oracle(n_beta: float) -> float:
    """N beta E[x^2 y^2] under exp(-n beta x^2 y^2) on [0, 1]^2; the integral over y in closed form, x = exp(s)."""

    def weight(x):
        return np.sqrt(np.pi) * erf(np.sqrt(n_beta) * x) / (2 * np.sqrt(n_beta) * x)

    def moment(x):
        return weight(x) / 2 - np.exp(-n_beta * x**2) / 2

    top, bottom = (
        quad(lambda s, f=f: np.exp(s) * f(np.exp(s)), -30, 0, limit=500, points=[-0.5 * np.log(n_beta)])[0]
        for f in (moment, weight)
    )
    return top / bottom


def test_a_singular_potential_with_two_crossing_valleys_in_a_box():
    """Outside of the box the density is 0; its corner is far from any quadratic."""
    assert product_oracle(1e3 / np.log(1e3)) == pytest.approx(0.3559, abs=5e-5)
    assert product_oracle(1e5 / np.log(1e5)) == pytest.approx(0.4094, abs=5e-5)
    n_beta = 1e3 / np.log(1e3)

    def density(w):
        inside = jnp.all((w >= 0) & (w <= 1))
        value = w[0] ** 2 * w[1] ** 2
        return jnp.where(inside, -n_beta * value, -jnp.inf), value

    run = jax.jit(
        lambda key: hamiltonian(density, jnp.array([0.1, 0.1]), key, chains=4, warmup=500, draws=8000, max_leapfrog=8)
    )
    found = judged(run(jax.random.key(0)).full.values, n_beta)
    assert abs(found.mean - product_oracle(n_beta)) < 3 * found.error < 0.05


# --- deep linear nets -------------------------------------------------------------------------------------------------


def deep_linear(widths: tuple[int, ...], rank: int):
    """K(W) = |W_L ... W_1 - B|_F^2 / 2 for a B of this rank with unit singular values, and a W where it is 0."""
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    splits = np.cumsum([a * b for a, b in shapes])[:-1]
    truth = np.eye(widths[-1], widths[0]) * (np.arange(widths[0]) < rank)

    def potential(w):
        matrix = jnp.eye(widths[0])
        for part, shape in zip(jnp.split(w, splits), shapes, strict=True):
            matrix = part.reshape(shape) @ matrix
        return 0.5 * jnp.sum(jnp.square(matrix - truth))

    return potential, np.concatenate([(np.eye(*shape) * (np.arange(shape[1]) < rank)).ravel() for shape in shapes])


def gibbs_oracle(widths: tuple[int, ...], rank: int, n_beta: float, chains: int = 100, sweeps: int = 700) -> Found:
    """N beta E[K] under N(0, 1) by Gibbs sampling, which needs no tuning: each layer is Gaussian given the others.

    With K = |L W R - B|^2 / 2 and the singular vectors of L and R as coordinates the entries of W are independent, of
    precision 1 + t s_i^2 s_j^2. Chains are independent, and so their means tell the error.
    """
    rng = np.random.default_rng(0)
    truth = np.eye(widths[-1], widths[0]) * (np.arange(widths[0]) < rank)
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    layers = [np.tile(np.eye(*shape) * (np.arange(shape[1]) < rank), (chains, 1, 1)) for shape in shapes]

    def product(some, size):
        return functools.reduce(lambda matrix, layer: layer @ matrix, some, np.tile(np.eye(size), (chains, 1, 1)))

    found = []
    for _ in range(sweeps):
        for i, shape in enumerate(shapes):
            u, s, vt = np.linalg.svd(product(layers[i + 1 :], shape[0]))
            p, q, wt = np.linalg.svd(product(layers[:i], widths[0]))
            scale, pull = np.zeros((2, chains, *shape))
            scale[:, : s.shape[1], : q.shape[1]] = s[:, :, None] * q[:, None, :]
            aligned = u.swapaxes(1, 2) @ truth @ wt.swapaxes(1, 2)
            pull[:, : s.shape[1], : q.shape[1]] = aligned[:, : s.shape[1], : q.shape[1]]
            precision = 1.0 + n_beta * scale**2
            entries = n_beta * scale * pull / precision + rng.normal(size=precision.shape) / np.sqrt(precision)
            layers[i] = vt.swapaxes(1, 2) @ entries @ p.swapaxes(1, 2)
        found.append(0.5 * n_beta * np.sum((product(layers, widths[0]) - truth) ** 2, axis=(1, 2)))
    means = np.mean(found[sweeps // 7 :], axis=0)
    return Found(float(means.mean()), float(means.std(ddof=1) / np.sqrt(chains)))


@pytest.mark.parametrize(
    ("widths", "rank", "limit", "multiplicity"),
    [
        ((2, 2, 2), 0, 1.5, 1),
        ((2, 2, 2), 1, 2.0, 2),
        ((3, 2, 3), 1, 3.5, 2),
        ((5, 3, 4), 2, 8.0, 1),
        ((3, 3, 3, 3), 1, 4.0, 3),
    ],
)
def test_deep_linear_nets_have_aoyagis_coefficients(widths, rank, limit, multiplicity):
    """At n = 1e4 the chains meet the finite-n value, which is the coefficient but for what the multiplicity leaves.

    The free energy is lambda log t - (m - 1) log log t + O(1), and t E[K], its slope in log t, so approaches
    lambda - (m - 1) / log t.
    """
    oracle = gibbs_oracle(widths, rank, TEMPERED)
    assert oracle.error < 0.005 * limit
    assert oracle.mean == pytest.approx(limit - (multiplicity - 1) / np.log(TEMPERED), rel=0.05)
    found = coefficient(*deep_linear(widths, rank), warmup=1000, max_leapfrog=64, target=0.95)
    assert found.error < 0.02 * limit
    assert abs(found.mean - oracle.mean) < 3 * np.hypot(found.error, oracle.error)


def test_the_gibbs_oracle_meets_a_quadrature_over_singular_values():
    """Two layers of widths 2 and a truth of 0: only the singular values of the first layer are left to integrate."""
    s = np.exp(np.linspace(-30, 2.5, 2001))
    log_weight = np.log(s) - 0.5 * s**2 - np.log1p(TEMPERED * s**2)
    weight = np.exp(log_weight[:, None] + log_weight) * np.abs(s[:, None] ** 2 - s**2)
    inside = TEMPERED * s**2 / (1 + TEMPERED * s**2)
    truth = np.sum(weight * (inside[:, None] + inside)) / np.sum(weight)
    oracle = gibbs_oracle((2, 2, 2), 0, TEMPERED)
    assert truth == pytest.approx(1.5, rel=0.05)
    assert abs(oracle.mean - truth) < 3 * oracle.error < 0.02


# --- standard errors, and what breaks ---------------------------------------------------------------------------------


@pytest.mark.soak
def test_standard_errors_cover_the_exact_value_at_their_nominal_rate():
    h, n_beta, gamma = np.array([10.0, 1.0, 1e-3]), 200.0, 1.0
    truth = 0.5 * np.sum(n_beta * h / (n_beta * h + gamma))

    def density(u):
        value = 0.5 * jnp.sum(h * u**2)
        return -n_beta * value - 0.5 * gamma * u @ u, value

    def run(key):
        return hamiltonian(density, jnp.zeros(3), key, chains=4, warmup=200, draws=200, max_leapfrog=8).full.values

    values = n_beta * np.asarray(jax.jit(lambda keys: jax.lax.map(run, keys))(jax.random.split(jax.random.key(5), 100)))
    errors = mcse_mean(values.transpose(1, 2, 0))
    assert np.sum(np.abs(values.mean(axis=(1, 2)) - truth) < 1.96 * errors) >= 88


def test_stochastic_gradients_are_right_up_to_their_step():
    """At a constant step e Langevin's chain on a quadratic of curvature c has variance 1 / (c (1 - c e / 4))."""
    c, step = 4.0, 0.25

    def drift(u, key):
        return -c * (u + 0.0 * jax.random.normal(key, u.shape))

    run = jax.jit(
        lambda key: langevin(
            drift, lambda u: u[0] ** 2, jnp.zeros(1), key, chains=4, warmup=100, draws=4000, step_size=step
        )
    )
    found = judged(run(jax.random.key(0)).full.values)
    assert abs(found.mean - 1 / (c * (1 - c * step / 4))) < 3 * found.error
    assert found.mean - 1 / c > 5 * found.error


@pytest.mark.parametrize(("edge", "virial"), [(np.inf, 0.0), (1.0, 2 * norm.pdf(1) / (norm.cdf(1) - norm.cdf(-1)))])
def test_the_virial_is_the_density_at_the_edge_of_where_chains_are_held(edge, virial):
    """E[1 - x^2] of a normal variable in [-edge, edge], by parts; the mean at half the step is the same."""

    def density(x):
        return jnp.where(jnp.abs(x[0]) < edge, -0.5 * x @ x, -jnp.inf), x[0]

    run = jax.jit(lambda key: hamiltonian(density, jnp.zeros(1), key, chains=4, warmup=300, draws=2000, max_leapfrog=4))
    for draws in run(jax.random.key(3))[:2]:
        found = judged(draws.virials)
        assert abs(found.mean - virial) < 3 * found.error < 0.15


def test_gradients_and_acceptance_are_accounted_for():
    def density(u):
        return -0.5 * u @ u, u[0]

    run = jax.jit(lambda key: hamiltonian(density, jnp.zeros(5), key, chains=3, warmup=500, draws=500, max_leapfrog=1))
    trace = run(jax.random.key(0))
    assert {a.shape for a in (*trace.full, *trace.half)} == {(3, 500)}
    assert int(trace.n_gradients) == 3 * (1 + 1000 + 2 * 500)
    # The average of log steps accepts more than their average acceptance, which is what is tuned.
    assert 0.75 < float(trace.acceptance) < 0.92
    np.testing.assert_array_equal(trace.full.values, run(jax.random.key(0)).full.values)


def test_a_density_that_is_nan_moves_no_chain():
    trace = hamiltonian(
        lambda u: (u @ u * jnp.nan, u[0]), jnp.ones(2), jax.random.key(0), chains=2, warmup=5, draws=5, max_leapfrog=2
    )
    np.testing.assert_array_equal(trace.full.values, 1.0)
    assert float(trace.acceptance) == 0.0
