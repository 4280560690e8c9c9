"""Extreme eigenvalues as measures, against dense eigendecompositions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.definition import Point
from models.geometry.families import eigenvalues
from models.geometry.families.eigenvalues import negative_count
from models.geometry.landscape import Landscape
from models.geometry.operators.products import EmpiricalFisher, GaussNewton
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from tests.support.landscapes import FAMILIES, columns, dense_hessian, landscape_of, with_spectrum

PRECISE = {"tolerance": 1e-6}
ASKS = (
    ask("hessian_top_eigenvalue", **PRECISE),
    ask("hessian_eigenvalues", k=4, **PRECISE),
    ask("hessian_bottom_eigenvalues", k=3, **PRECISE),
    ask("hessian_negative_eigenvalues", k=30),
    ask("ggn_top_eigenvalue", **PRECISE),
    ask("fisher_top_eigenvalue", **PRECISE),
    ask("hessian_top_eigenvalue_by_layer", **PRECISE),
)


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def points():
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["categorical"], d=2, widths=(4,), activation=jnp.tanh)
        return [Point(landscape, theta * c, np.ones(theta.size), jax.random.key(i)) for i, c in enumerate((0.5, 1.5))]


def top(operator):
    return np.linalg.eigvalsh(columns(operator))[-1]


def dense(point, name):
    landscape, theta = point.landscape, point.theta
    hessian = dense_hessian(landscape, theta)
    values = np.linalg.eigvalsh(hessian)
    match name:
        case "hessian_top_eigenvalue":
            return {"": values[-1]}
        case "hessian_eigenvalues":
            return {str(i + 1): values[-1 - i] for i in range(4)}
        case "hessian_bottom_eigenvalues":
            return {str(i + 1): values[i] for i in range(3)}
        case "hessian_negative_eigenvalues":
            return {"": np.sum(values < -1e-12)}
        case "ggn_top_eigenvalue":
            return {"": top(GaussNewton(landscape, theta))}
        case "fisher_top_eigenvalue":
            return {"": top(EmpiricalFisher(landscape, theta))}
        case _:
            layers = landscape.model.layers.items()
            return {layer: np.linalg.eigvalsh(hessian[entries, entries])[-1] for layer, entries in layers}


@pytest.mark.parametrize("asked", ASKS, ids=lambda asked: asked.measure)
def test_a_measure_meets_its_dense_twin(points, asked):
    for point, found in zip(points, measure(points, asked), strict=True):
        truth = dense(point, asked.measure)
        assert truth.keys() == {row.component for row in found}
        for row in found:
            assert (row.status, row.standard_error) == ("converged", 0.0)
            np.testing.assert_allclose(row.value, truth[row.component], rtol=2e-6, atol=1e-12)
            assert row.n_products > 0


def test_a_convex_loss_has_no_negative_eigenvalue_though_some_are_zero():
    """Softmax regression: adding one vector to all classes' weights changes nothing."""
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=())
    point = Point(landscape, theta, np.ones(theta.size), jax.random.key(0))
    (row,) = measure([point], ask("hessian_negative_eigenvalues"))[0]
    assert row.value == 0.0
    smallest = measure([point], ask("hessian_bottom_eigenvalues", k=1))[0][0]
    assert smallest.value == 0.0


def test_a_search_counts_fewer_negative_eigenvalues_than_it_looks_for(points, monkeypatch):
    monkeypatch.setattr(eigenvalues, "DENSE_LIMIT", 0)
    n_negative = int(dense(points[1], "hessian_negative_eigenvalues")[""])
    assert n_negative > 2
    (row,) = measure([points[1]], ask("hessian_negative_eigenvalues", k=n_negative + 1))[0]
    assert (row.status, row.value) == ("converged", n_negative)
    (row,) = measure([points[1]], ask("hessian_negative_eigenvalues", k=n_negative))[0]
    assert (row.status, row.value) == ("unconverged", None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_not_counted_as_negative(dtype):
    eps = np.finfo(dtype).eps
    operator = with_spectrum([10.0, 5.0, *[0.0] * 30, -0.1, -1e3 * eps, -1.0], dtype=dtype)
    assert int(jax.jit(negative_count)(operator)) == 3
    assert int(jax.jit(negative_count)(with_spectrum([10.0, 5.0, *[0.0] * 30, -eps], dtype=dtype))) == 0


@pytest.mark.parametrize(("interpolates", "n_negative"), [(False, 1), (True, 0)])
def test_a_saddle_is_told_from_a_minimum_of_more_parameters_than_are_taken_densely(interpolates, n_negative):
    """L = 1/2 exp(-2 s) mean r^2 + s with residuals r = y - x'w: the block in w is X'X / n exp(-2 s).

    The Schur complement of s is 2 exp(-2 s) (|r|^2 - 2 |P r|^2) / n, P the projection on the columns of X. With more
    weights than rows P = 1, so exactly one eigenvalue is negative unless r = 0.
    """
    landscape, theta = landscape_of(FAMILIES["gaussian"], n=12, d=1100, widths=())
    if interpolates:
        fitted = landscape.model.predict(theta, landscape.x)[:, 0]
        landscape = Landscape(landscape.model, landscape.x, fitted)
    assert theta.size > eigenvalues.DENSE_LIMIT
    point = Point(landscape, theta, np.ones(theta.size), jax.random.key(0))
    (row,) = measure([point], ask("hessian_negative_eigenvalues"))[0]
    assert (row.status, row.value) == ("converged", n_negative)
    assert row.n_products < 30


def test_fewer_parameters_than_eigenvalues_asked_for_give_all():
    landscape, theta = landscape_of(FAMILIES["bernoulli"], d=2, widths=())
    point = Point(landscape, theta, np.ones(theta.size), jax.random.key(0))
    found = measure([point], ask("hessian_eigenvalues", k=9))[0]
    assert [row.component for row in found] == ["1", "2", "3"]
    np.testing.assert_allclose([row.value for row in found], np.linalg.eigvalsh(dense_hessian(landscape, theta))[::-1])


@pytest.mark.parametrize("asked", ASKS, ids=lambda asked: asked.measure)
def test_nan_parameters_have_no_eigenvalues(points, asked):
    broken = points[0]._replace(theta=points[0].theta.at[0].set(jnp.nan))
    for row in measure([broken], asked)[0]:
        assert (row.status, row.value) == ("unconverged", None)


def test_a_zero_gradient_and_a_zero_hessian_give_zeros():
    """One row whose features are zero, without influence of the weights: only the bias has curvature."""
    landscape, theta = landscape_of(FAMILIES["bernoulli"], n=1, d=4, widths=())
    landscape = Landscape(landscape.model, jnp.zeros_like(landscape.x), landscape.y)
    point = Point(landscape, jnp.zeros_like(theta), np.ones(theta.size), jax.random.key(0))
    values = [row.value for row in measure([point], ask("hessian_eigenvalues"))[0]]
    assert values == [pytest.approx(0.25), 0.0, 0.0, 0.0, 0.0]
