"""An accelerator takes a measure at many points side by side: the numbers are those of points that take turns."""

import jax
import numpy as np
import pytest

from models.geometry.definition import Point
from models.geometry.families import curvature, effective_dimension, eigenvalues, laplace, pac_bayes
from models.measuring import at_points
from models.measuring.at_points import Curve, measure
from models.measuring.catalogue import CATALOGUE, ask
from tests.support.landscapes import FAMILIES, landscape_of

# One of each kind of program: closed forms, products, searches and ascents with loops, draws, and a curve.
KINDS = (
    "l2_norm",
    "hessian_trace_by_layer",
    "hessian_eigenvalues",
    "effective_dimension",
    "adaptive_sharpness_l2",
    "pac_bayes_bound",
    "laplace_evidence_kronecker",
    "hessian_spectral_density",
)
# Small where the defaults repeat the same work often.
SETTINGS = {
    "hessian_eigenvalues": {"k": 3, "tolerance": 1e-6},
    "hessian_spectral_density": {"steps": 10},
    "pac_bayes_bound": {"steps": 20, "samples": 20},
    "pac_bayes_sigma": {"on": "loss", "pairs": 5},
    "pac_bayes_sigma_magnitude": {"on": "loss", "pairs": 5},
}

# Searches and ascents stop where they are near enough; the others are sums in another order alone.
TOLERANCE = {
    **{definition.name: 1e-9 for definition in curvature.DEFINITIONS},
    **{definition.name: 1e-8 for definition in pac_bayes.DEFINITIONS},
    **{definition.name: 1e-12 for definition in laplace.DEFINITIONS},
}

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def points() -> list[Point]:
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["categorical"], n=10, d=2, widths=(3,))
        scales = np.full(theta.size, 0.5)
        return [
            Point(landscape, c * theta, scales, jax.random.key(i), 0.1 * theta) for i, c in enumerate((0.5, 1.0, 1.5))
        ]


@pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.soak) for name in CATALOGUE]
)
def test_side_by_side_is_as_in_turns_whatever_the_company(points: list[Point], name: str, monkeypatch):
    for module in (effective_dimension, eigenvalues):  # dense algebra is not traced
        monkeypatch.setattr(module, "DENSE_LIMIT", 0)
    asked = ask(name, **SETTINGS.get(name, {}))
    turns = measure(points, asked)
    jax.tree.map(np.testing.assert_array_equal, turns, [measure([point], asked)[0] for point in points])
    monkeypatch.setattr(at_points, "WIDTH", 2)  # the last group has a copy for company
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    beside = measure(points, asked)
    assert len(beside) == len(points)
    for one, other in zip(turns, beside, strict=True):
        assert_alike(one, other, TOLERANCE.get(name, 1e-6))


def assert_alike(one, other, rtol):
    if isinstance(one, Curve):
        assert one.n_products == other.n_products
        for a, b in zip(one[:4], other[:4], strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9 * np.max(np.abs(a)))
        return
    for row, twin in zip(one, other, strict=True):
        assert (row.component, row.status, row.n_products) == (twin.component, twin.status, twin.n_products)
        if row.value is not None:
            np.testing.assert_allclose(twin.value, row.value, rtol=rtol, atol=1e-12)
            np.testing.assert_allclose(twin.standard_error, row.standard_error, rtol=rtol, atol=1e-12)
