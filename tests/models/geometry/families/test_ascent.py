"""The largest rise over a ball: quadratics with exact answers, nets against general solvers, and honest failure."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.projections import projection_l2_ball
from scipy.optimize import brentq, linprog, minimize

from models.geometry.families.ascent import largest_rise
from models.geometry.families.restarts import AGREEMENT
from models.geometry.landscape import Landscape
from tests.support.landscapes import FAMILIES, landscape_of, with_spectrum

pytestmark = pytest.mark.usefixtures("float64")


@partial(jax.jit, static_argnames=("norm", "steps", "restarts", "tolerance"))
def on_quadratic(h, g, key, *, norm, radius, steps=20_000, restarts=20, tolerance=1e-10):
    return largest_rise(
        lambda u: 3.0 + g @ u + u @ h @ u / 2,
        g,
        key,
        norm=norm,
        radius=radius,
        steps=steps,
        restarts=restarts,
        tolerance=tolerance,
    )


def secular(h: np.ndarray, g: np.ndarray, radius: float) -> float:
    """Max of g u + u'Hu/2 over |u| <= radius: (m - H) u = g with a multiplier m (More, Sorensen 1983)."""
    eigenvalues, vectors = np.linalg.eigh(h)
    b = vectors.T @ g
    lowest = max(eigenvalues[-1], 0.0)
    there = b[np.abs(eigenvalues - lowest) <= 1e-12]
    if not np.any(np.abs(there) > 1e-12):  # a solution at the lowest multiplier: the interior, or the hard case
        free = np.abs(eigenvalues - lowest) > 1e-12
        u = np.where(free, b / np.where(free, lowest - eigenvalues, 1.0), 0.0)
        if np.linalg.norm(u) <= radius:
            if lowest > 0:
                u[-1] += np.sqrt(radius**2 - u @ u)
            return float(b @ u + eigenvalues @ u**2 / 2)
    above = lowest + np.linalg.norm(b) / radius + 1.0
    multiplier = brentq(
        lambda m: np.linalg.norm(b / (m - eigenvalues)) - radius, lowest + 1e-14 * (1 + lowest), above, xtol=1e-15
    )
    u = b / (multiplier - eigenvalues)
    return float(b @ u + eigenvalues @ u**2 / 2)


def over_box(h: np.ndarray, g: np.ndarray, radius: float) -> float:
    """Max over |u_i| <= radius: the stationary point of every face, where it lies in the box."""
    best = 0.0
    for face in product((-1, 0, 1), repeat=len(g)):
        u, free = radius * np.array(face, float), np.array(face) == 0
        if free.any():
            u[free] = np.linalg.lstsq(h[np.ix_(free, free)], -(g + h @ u)[free])[0]
        if np.all(np.abs(u) <= radius * (1 + 1e-12)):
            best = max(best, float(g @ u + u @ h @ u / 2))
    return best


SPECTRA = {
    "spread": [100.0, 50.0, 25.0, 12.0, 6.0, 3.0],
    "clustered": [10.0, 9.999, 9.99, 9.9, 1.0, 0.1],
    "repeated": [5.0, 5.0, 5.0, 1.0, 1.0],
    "indefinite": [4.0, 1.0, -1.0, -20.0],
    "negative": [-1.0, -2.0, -50.0],
    "rank-deficient": [7.0, 0.0, 0.0, 0.0, 0.0],
    "one": [2.5],
    "one-negative": [-2.5],
    "flat": [0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("radius", [0.05, 3.0])
@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 30.0], ids=lambda s: f"gradient-{s}")
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_in_an_l2_ball_a_quadratics_rise_is_the_secular_solution(spectrum, size, radius):
    h = with_spectrum(SPECTRA[spectrum]).matrix
    g = size * jnp.asarray(np.random.default_rng(1).normal(size=len(h)))
    found = on_quadratic(h, g, jax.random.key(0), norm="l2", radius=radius)
    exact = secular(np.asarray(h), np.asarray(g), radius)
    # Eigenvalues 1e-4 apart are told apart to the gap's 1e-9 / 1e-4.
    rtol = 1e-5 if spectrum == "clustered" else 1e-7
    np.testing.assert_allclose(found.value, exact, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("share", [0.5, 0.999], ids=["inside", "nearly-filled"])
def test_the_hard_case_is_solved_by_the_random_starts(share):
    """With the gradient orthogonal to the top eigenvector, the ascent from 0 ends on a saddle."""
    values = np.array([3.0, 2.0, -1.0, -4.0])
    b = np.array([0.0, 1.0, 1.0, 1.0])
    radius = float(np.linalg.norm(b[1:] / (3.0 - values[1:])) / share)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))
    h, g = (rotation * values) @ rotation.T, rotation @ b
    found = on_quadratic(jnp.asarray(h), jnp.asarray(g), jax.random.key(0), norm="l2", radius=radius, steps=20_000)
    np.testing.assert_allclose(found.value, secular(np.diag(values), b, radius), rtol=1e-7)


@pytest.mark.parametrize("size", [0.0, 1.0], ids=["minimum", "slope"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_in_a_box_a_quadratics_rise_is_that_of_the_best_face(spectrum, size):
    h = with_spectrum(SPECTRA[spectrum]).matrix
    g = size * jnp.asarray(np.random.default_rng(3).normal(size=len(h)))
    found = on_quadratic(h, g, jax.random.key(0), norm="linf", radius=0.5, restarts=40)
    np.testing.assert_allclose(found.value, over_box(np.asarray(h), np.asarray(g), 0.5), rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_a_converged_rise_is_as_near_to_an_eigenvalue_as_the_tolerance_says(tolerance):
    eigenvalues = np.repeat([1.0, 1.5, 2.0], 20)
    h = with_spectrum(eigenvalues).matrix
    for seed in range(20):
        found = on_quadratic(
            h, jnp.zeros(60), jax.random.key(seed), norm="l2", radius=0.1, restarts=40, tolerance=tolerance
        )
        quotient = 2 * float(found.value) / 0.1**2
        assert quotient <= 2.0 * (1 + 1e-12)
        assert np.min(np.abs(eigenvalues - quotient)) <= 1.01 * tolerance**0.5 * quotient


@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.relu], ids=["tanh", "relu"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_on_a_net_the_rise_is_that_of_general_solvers(norm, activation):
    """SciPy's SLSQP and L-BFGS-B from as many random starts."""
    landscape, theta = landscape_of(FAMILIES["categorical"], activation=activation)
    radius = {"l2": 0.3, "linf": 0.05}[norm]
    found = jax.jit(
        lambda key: largest_rise(
            lambda u: landscape.loss(theta + u),
            theta,
            key,
            norm=norm,
            radius=radius,
            restarts=10,
            tolerance=1e-7,
            steps=2000,
        )
    )(jax.random.key(0))
    value_and_gradient = jax.jit(jax.value_and_grad(lambda u: -landscape.loss(theta + u)))

    def negative(u):
        value, gradient = value_and_gradient(u)
        return float(value), np.asarray(gradient)

    rng, best = np.random.default_rng(0), 0.0
    for _ in range(10):
        u = rng.normal(size=theta.size)
        u *= radius / np.linalg.norm(u)
        if norm == "l2":
            inside = {"type": "ineq", "fun": lambda u: radius**2 - u @ u, "jac": lambda u: -2 * u}
            solved = minimize(negative, u, jac=True, method="SLSQP", constraints=inside, options={"ftol": 1e-13})
        else:
            bounds = [(-radius, radius)] * theta.size
            solved = minimize(negative, u, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14})
        best = max(best, -solved.fun - float(landscape.loss(theta)))
    np.testing.assert_allclose(found.value, best, rtol=1e-5 if activation is jnp.tanh else 1e-3)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_in_a_box_of_six_dimensions_the_best_face_is_found_by_every_key(slope):
    rng = np.random.default_rng(6)
    rise = jax.jit(
        lambda h, g, keys: jax.lax.map(
            lambda k: largest_rise(lambda u: g @ u + u @ h @ u / 2, g, k, radius=0.5, norm="linf"), keys
        )
    )
    for _ in range(5):
        h = rng.normal(size=(6, 6))
        h, g = h + h.T, slope * rng.normal(size=6)
        found = rise(jnp.asarray(h), jnp.asarray(g), jax.random.split(jax.random.key(0), 20))
        np.testing.assert_allclose(found.value, over_box(h, g, 0.5), rtol=1e-5)


def saturated() -> tuple[Landscape, jax.Array]:
    """A ReLU net of 65 weights after long training: most rows' gradients vanish, and each way down is narrow."""
    landscape, theta = landscape_of(FAMILIES["bernoulli"], n=40, d=6, widths=(8,), seed=3)
    adam = optax.adam(1e-2)

    def step(carry, _):
        theta, state = carry
        update, state = adam.update(jax.grad(landscape.loss)(theta), state)
        return (theta + update, state), None

    (theta, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=2000))((theta, adam.init(theta)))
    return landscape, theta


@pytest.mark.parametrize(("adaptive", "radius"), [(False, 0.05), (True, 0.5)], ids=["plain", "adaptive"])
def test_on_a_saturated_net_every_key_finds_what_three_hundred_starts_do(adaptive, radius):
    """Plain gradient ascent with steps across the ball, from 300 points; by five it came out a sixth too small."""
    landscape, theta = saturated()
    scale = jnp.abs(theta) if adaptive else jnp.ones_like(theta)

    def function(u):
        return landscape.loss(theta + scale * u)

    def ascended(u):
        def step(best, t):
            u, value = best
            gradient = jax.grad(function)(u)
            tried = projection_l2_ball(u + t * radius * gradient / jnp.linalg.norm(gradient), radius)
            risen = function(tried)
            return jax.tree.map(partial(jnp.where, risen > value), (tried, risen), best), None

        steps = jnp.tile(jnp.asarray([1e3, 10.0, 1.0, 0.1, 0.01, 1e-3]), 30)
        return jax.lax.scan(step, (u, function(u)), steps)[0][1] - function(jnp.zeros_like(u))

    points = jax.random.normal(jax.random.key(1), (300, theta.size))
    points = radius * points / jnp.linalg.norm(points, axis=1, keepdims=True)
    best = float(jnp.max(jax.jit(jax.vmap(ascended))(points)))
    rise = jax.jit(lambda key: largest_rise(function, theta, key, radius=radius, norm="l2"))
    found = [rise(key) for key in jax.random.split(jax.random.key(0), 20)]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    assert np.sum(np.isfinite(values)) >= 15
    assert np.all(np.isnan(values) | (values + 4 * errors >= best))
    assert np.all(np.isnan(values) | (values >= (1 - AGREEMENT) * best))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_below_a_summit_of_kinks_the_rise_is_a_lower_bound(norm):
    """Least absolute deviations, by linear programming: at its solution the gradient jumps and does not vanish."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(9, 4)), rng.normal(size=9)
    eye = np.eye(9)
    cost, rows = np.r_[np.zeros(4), np.ones(9)], np.block([[a, -eye], [-a, -eye]])
    solved = linprog(cost, A_ub=rows, b_ub=np.r_[b, -b], bounds=[(None, None)] * 4 + [(0, None)] * 9)
    assert np.linalg.norm(solved.x[:4]) < 3.0
    exact = float(np.sum(np.abs(b)) - solved.fun)
    rise = jax.jit(
        lambda key: largest_rise(
            lambda u: -jnp.sum(jnp.abs(a @ u - b)), jnp.zeros(4), key, radius=3.0, norm=norm, steps=2000
        )
    )
    for seed in range(10):
        found = rise(jax.random.key(seed))
        assert np.isnan(found.value) or 0.8 * exact < float(found.value) < exact * (1 + 1e-12)


def rises(functions, m, starts=1, **options):
    """Of each function from each start, by one program."""

    @jax.jit
    def rise(which, key):
        return largest_rise(lambda u: jax.lax.switch(which, functions, u), jnp.zeros(m), key, **options)

    return [rise(which, jax.random.key(start)) for which in range(len(functions)) for start in range(starts)]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_what_cannot_be_trusted_is_nan(norm):
    broken = [
        lambda u: jnp.nan * jnp.sum(u),
        lambda u: jnp.where(jnp.linalg.norm(u) > 0.9, jnp.inf, u @ u),
        lambda u: jnp.where(u[0] < -1e-3, jnp.nan, u @ u),
    ]
    found = rises(broken, 4, radius=1.0, norm=norm)
    assert np.all(np.isnan([each.value for each in found]))
    h = with_spectrum([4.0, 1.0, -1.0, -20.0]).matrix
    for steps, seen in ((3, np.isnan), (2000, np.isfinite)):
        (found,) = rises([lambda u: u @ h @ u + u[0]], 4, radius=1.0, norm=norm, steps=steps, tolerance=1e-9)
        assert seen(found.value)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_where_nothing_rises_the_rise_is_zero(norm):
    for found in rises([lambda u: 7.0 + 0.0 * jnp.sum(u), lambda u: -u @ u], 5, starts=3, radius=0.1, norm=norm):
        assert float(found.value) == pytest.approx(0.0, abs=1e-14)


def test_every_evaluation_is_counted():
    calls = []

    def function(u):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(jnp.cos(3 * u)) + u[0]

    found = largest_rise(function, jnp.zeros(3), jax.random.key(0), radius=1.0, norm="l2", restarts=2)
    jax.effects_barrier()
    assert int(found.n_gradients) == len(calls) > 4


def test_single_precision_finds_the_same_rise():
    h = with_spectrum(SPECTRA["spread"]).matrix
    wide = on_quadratic(h, jnp.ones(6), jax.random.key(0), norm="l2", radius=1.0, tolerance=1e-4)
    with jax.enable_x64(False):
        narrow = on_quadratic(
            h.astype(jnp.float32), jnp.ones(6), jax.random.key(0), norm="l2", radius=1.0, tolerance=1e-4
        )
    assert narrow.value.dtype == jnp.float32
    np.testing.assert_allclose(np.float64(narrow.value), wide.value, rtol=1e-4)
