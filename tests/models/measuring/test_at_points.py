"""One measure at many points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.definition import Point
from models.geometry.families import effective_dimension
from models.joint.likelihoods import gaussian
from models.measuring.at_points import Measured, measure
from models.measuring.catalogue import ask
from tests.support.landscapes import FAMILIES, dense_hessian, landscape_of

ASKS = (ask("hessian_top_eigenvalue", tolerance=1e-6), ask("hessian_trace"), ask("effective_dimension"))


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def points():
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["categorical"], activation=jnp.tanh)
        scales = np.full(theta.size, 0.5)
        return [Point(landscape, theta * c, scales, jax.random.key(i)) for i, c in enumerate((0.5, 1.0, 1.5))]


def scalar(found):
    (row,) = found
    return row


def test_measures_meet_their_dense_twins(points):
    top, trace, dimension = ([scalar(found) for found in measure(points, asked)] for asked in ASKS)
    for i, point in enumerate(points):
        dense = dense_hessian(point.landscape, point.theta)
        np.testing.assert_allclose(top[i].value, np.linalg.eigvalsh(dense)[-1], rtol=1e-6)
        np.testing.assert_allclose(trace[i].value, np.trace(dense), rtol=1e-9)
        assert 0 < dimension[i].value < point.theta.size
        for found in (top[i], trace[i], dimension[i]):
            assert (found.component, found.status, found.reason, found.standard_error) == ("", "converged", None, 0.0)


@pytest.mark.parametrize("asked", ASKS, ids=lambda asked: asked.measure)
def test_a_points_numbers_do_not_depend_on_its_company(points, asked, monkeypatch):
    monkeypatch.setattr(effective_dimension, "DENSE_LIMIT", 0)
    together = measure(points, asked)
    assert together == [measure([point], asked)[0] for point in points]
    assert together == measure(points[::-1], asked)[::-1]


def test_what_does_not_converge_has_no_value(points):
    broken = points[0]._replace(theta=points[0].theta.at[0].set(jnp.nan))
    for asked in ASKS:
        found = scalar(measure([broken], asked)[0])
        assert found == Measured("", None, None, "unconverged", None, found.n_products)
    short = measure(points[:1], ask("hessian_top_eigenvalue", tolerance=1e-12, max_products=3))
    assert scalar(short[0]) == Measured("", None, None, "unconverged", None, 3)


def test_what_is_not_applicable_is_said_in_one_row_for_each_point(points):
    flat = [point._replace(scales=np.full(point.theta.size, np.inf)) for point in points]
    found = measure(flat, ask("effective_dimension"))
    assert [scalar(each).status for each in found] == ["not_applicable"] * 3
    assert "needs a proper prior" in scalar(found[0]).reason


def test_a_point_without_the_measure_does_not_speak_for_the_others(points, monkeypatch):
    mixed = [points[0]._replace(scales=np.full(points[0].theta.size, np.inf)), points[1]]
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda name=backend: name)
        first, second = (scalar(found) for found in measure(mixed, ask("effective_dimension")))
        assert (first.status, second.status) == ("not_applicable", "converged")


def test_points_of_different_families_are_measured_by_one_function():
    landscape, theta = landscape_of(gaussian(), widths=())
    point = Point(landscape, theta, np.ones(theta.size), jax.random.key(0))
    found = scalar(measure([point], ask("hessian_trace"))[0])
    assert found.value == pytest.approx(np.trace(dense_hessian(landscape, theta)))
