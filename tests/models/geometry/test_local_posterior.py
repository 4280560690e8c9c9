"""Chains on plain densities, against quadrature and exact coefficients."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf

from models.convergence import convergence, mcse_mean
from models.geometry.local_posterior import TARGET_MALA, hamiltonian, langevin

ROWS = 1e4
TEMPERED = ROWS / np.log(ROWS)
N_BETA = 1e4  # of the deep linear nets


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


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
    return judged(trace.values, n_beta)


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
    found = judged(run(jax.random.key(0)).values, n_beta)
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


@functools.cache
def of_deep_linear(widths: tuple[int, ...], rank: int) -> Found:
    return coefficient(*deep_linear(widths, rank), n_beta=N_BETA, warmup=1000, max_leapfrog=32)


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
    """The free energy is lambda log t - (m - 1) log log t + O(1), so t E[K], its slope in log t, approaches
    lambda - (m - 1) / log t.
    """
    found = of_deep_linear(widths, rank)
    truth = limit - (multiplicity - 1) / np.log(N_BETA)
    assert found.error < 0.03 * limit
    assert abs(found.mean - truth) < 0.05 * limit + 3 * found.error


def two_layer_oracle(widths: tuple[int, int, int], rank: int, n_beta: float) -> Found:
    """N beta E[K] of a two-layer net under N(0, 1): exact in W_2 given W_1, Monte Carlo over W_1.

    Given W_1 = A a row of W_2 has the Gaussian integral det(I + t A A')^(-1/2) exp(-t/2 b' (I + t A'A)^-1 b), b its
    row of the truth; the expectation of t K is minus the derivative of its logarithm by log t.
    """
    d, h, k = widths
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400_000, h, d))
    gram = np.einsum("nij,nik->njk", a, a)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    along = np.sum(vectors[:, :rank, :] ** 2, axis=1)  # truth = the first `rank` unit vectors
    shrink = 1.0 / (1.0 + n_beta * values)
    log_weight = 0.5 * k * np.sum(np.log(shrink), axis=1) - 0.5 * n_beta * np.sum(along * shrink, axis=1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    inside = 0.5 * k * np.sum(1.0 - shrink, axis=1) + 0.5 * n_beta * np.sum(along * shrink**2, axis=1)
    mean = float(weight @ inside)
    return Found(mean, float(np.sqrt(np.sum((weight * (inside - mean)) ** 2))))


@pytest.mark.parametrize(("widths", "rank"), [((2, 2, 2), 0), ((2, 2, 2), 1)])
def test_two_layer_nets_meet_their_value_at_finite_n(widths, rank):
    truth, found = two_layer_oracle(widths, rank, N_BETA), of_deep_linear(widths, rank)
    assert truth.error < 0.03 * truth.mean
    assert abs(found.mean - truth.mean) < 3 * np.hypot(found.error, truth.error)


# --- standard errors, and what breaks ---------------------------------------------------------------------------------


def test_standard_errors_cover_the_exact_value_at_their_nominal_rate():
    h, n_beta, gamma = np.array([10.0, 1.0, 1e-3]), 200.0, 1.0
    truth = 0.5 * np.sum(n_beta * h / (n_beta * h + gamma))

    def density(u):
        value = 0.5 * jnp.sum(h * u**2)
        return -n_beta * value - 0.5 * gamma * u @ u, value

    def run(key):
        return hamiltonian(density, jnp.zeros(3), key, chains=4, warmup=200, draws=200, max_leapfrog=8).values

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
    found = judged(run(jax.random.key(0)).values)
    assert abs(found.mean - 1 / (c * (1 - c * step / 4))) < 3 * found.error
    assert found.mean - 1 / c > 5 * found.error


def test_gradients_and_acceptance_are_accounted_for():
    def density(u):
        return -0.5 * u @ u, u[0]

    run = jax.jit(lambda key: hamiltonian(density, jnp.zeros(5), key, chains=3, warmup=500, draws=500, max_leapfrog=1))
    trace = run(jax.random.key(0))
    assert trace.values.shape == (3, 500)
    assert int(trace.n_gradients) == 3 * (1 + 1000)
    # The average of log steps accepts more than their average acceptance, which is what is tuned.
    assert 0.75 < float(trace.acceptance) < 0.92
    np.testing.assert_array_equal(trace.values, run(jax.random.key(0)).values)


def test_a_density_that_is_nan_moves_no_chain():
    trace = hamiltonian(
        lambda u: (u @ u * jnp.nan, u[0]), jnp.ones(2), jax.random.key(0), chains=2, warmup=5, draws=5, max_leapfrog=2
    )
    np.testing.assert_array_equal(trace.values, 1.0)
    assert float(trace.acceptance) == 0.0
