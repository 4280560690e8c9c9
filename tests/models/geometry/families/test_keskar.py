"""Keskar's sharpness: on convex losses a box's maximum is at a corner, so that all corners are the exact twin."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.definition import Point
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from tests.support.landscapes import FAMILIES, landscape_of

pytestmark = pytest.mark.usefixtures("float64")


def point_of(name: str, widths: tuple[int, ...] = ()) -> Point:
    landscape, theta = landscape_of(FAMILIES[name], widths=widths)
    return Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(5))


def over_corners(point: Point, epsilon: float, a: np.ndarray) -> float:
    """Phi by all corners of the box: exact where the loss is convex."""
    width = epsilon * (np.abs(np.linalg.pinv(a) @ point.theta) + 1)
    corners = np.array(list(product((-1, 1), repeat=len(width)))) * width
    losses = jax.jit(jax.vmap(point.landscape.loss))(point.theta + corners @ a.T)
    base = float(point.landscape.loss(point.theta))
    return 100 * (float(jnp.max(losses)) - base) / (1 + base)


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [("categorical-reference", 1e-3), ("bernoulli", 0.5)]
    + [
        pytest.param(name, epsilon, marks=pytest.mark.soak)
        for name, epsilon in [("bernoulli", 1e-3), ("categorical-reference", 0.5), ("poisson", 1e-3), ("poisson", 0.5)]
    ],
)
def test_over_all_parameters_it_is_the_best_corner(name, epsilon):
    point = point_of(name)
    ((found,),) = measure([point], ask("keskar_sharpness", epsilon=epsilon, restarts=20))
    exact = over_corners(point, epsilon, np.eye(point.theta.size))
    np.testing.assert_allclose(found.value, exact, rtol=1e-9)
    assert found.standard_error < 1e-3 * exact


def test_in_a_subspace_it_is_the_mean_over_the_drawn_boxes():
    point = point_of("categorical-reference")
    ((found,),) = measure([point], ask("keskar_sharpness", epsilon=0.1, subspace=3, draws=4, restarts=20))
    draws = [jax.random.split(key)[0] for key in jax.random.split(point.key, 4)]
    exact = [over_corners(point, 0.1, np.asarray(jax.random.normal(key, (point.theta.size, 3)))) for key in draws]
    np.testing.assert_allclose(found.value, np.mean(exact), rtol=1e-9)
    np.testing.assert_allclose(found.standard_error, np.std(exact, ddof=1) / 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("gaussian", {}, "sharpness_linf"),
        ("heteroscedastic-gaussian", {}, "sharpness_linf"),
        ("student-t", {}, "sharpness_linf"),
        ("bernoulli", {"subspace": 100}, "set subspace lower"),
    ],
)
def test_where_it_has_no_meaning_it_says_so(name, settings, reason):
    ((found,),) = measure([point_of(name)], ask("keskar_sharpness", **settings))
    assert found.status == "not_applicable"
    assert reason in found.reason


@pytest.mark.parametrize("subspace", [None, 3])
def test_a_loss_that_is_nan_has_none(subspace):
    point = point_of("bernoulli")
    broken = point._replace(theta=point.theta.at[0].set(jnp.nan))
    ((found,),) = measure([broken], ask("keskar_sharpness", subspace=subspace))
    assert found.status == "unconverged"
    assert found.value is None
