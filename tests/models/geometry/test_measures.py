"""The one call that measures many parameter vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry import measures
from models.geometry.measures import MEASURES, Accuracy, Measured, Point, measure
from tests.models.geometry.cases import FAMILIES, dense_hessian, landscape_of


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def points():
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["categorical"], activation=jnp.tanh)
        scales = np.full(theta.size, 0.5)
        return [Point(landscape, theta * c, scales, jax.random.key(i)) for i, c in enumerate((0.5, 1.0, 1.5))]


def test_every_measure_meets_its_dense_twin(points):
    for point, found in zip(points, measure(points, accuracy=Accuracy(tolerance=1e-6)), strict=True):
        dense = dense_hessian(point.landscape, point.theta)
        assert list(found) == list(MEASURES)
        np.testing.assert_allclose(found["hessian_top_eigenvalue"].value, np.linalg.eigvalsh(dense)[-1], rtol=1e-6)
        np.testing.assert_allclose(found["hessian_trace"].value, np.trace(dense), rtol=1e-9)
        assert all(m.converged and m.standard_error == 0.0 for m in found.values())
        assert 0 < found["effective_dimension"].value < point.theta.size


def test_a_points_numbers_do_not_depend_on_its_company(points, monkeypatch):
    monkeypatch.setattr(measures, "DENSE_LIMIT", 0)
    together = measure(points)
    assert together == [measure([point])[0] for point in points]
    assert together == measure(points[::-1])[::-1]


def test_the_accelerators_groups_agree_with_turns(points, monkeypatch):
    """The batched program runs anywhere; padding and its removal are what is tested here."""
    monkeypatch.setattr(measures, "DENSE_LIMIT", 0)
    turns = measure(points)
    monkeypatch.setattr(measures, "WIDTH", 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    grouped = measure(points)
    for one, other in zip(turns, grouped, strict=True):
        for name in MEASURES:
            np.testing.assert_allclose(one[name].value, other[name].value, rtol=1e-6)
            assert one[name].n_products == other[name].n_products


def test_what_does_not_converge_has_no_value(points):
    broken = points[0]._replace(theta=points[0].theta.at[0].set(jnp.nan))
    for found in measure([broken])[0].values():
        assert found == Measured(None, None, False, found.n_products)
    short = measure(points[:1], ("hessian_top_eigenvalue",), Accuracy(tolerance=1e-12, max_products=3))
    assert short[0]["hessian_top_eigenvalue"] == Measured(None, None, False, 3)


def test_an_unknown_measure_is_refused(points):
    with pytest.raises(ValueError, match="hessian_trace"):
        measure(points, ("sharpness",))
