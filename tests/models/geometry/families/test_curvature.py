"""The curvature measures: against dense twins, by turns and side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.definition import Point
from models.geometry.families.curvature import DEFINITIONS, summary
from models.geometry.operators import layerwise
from models.geometry.operators.diagonal import Diagonal
from models.geometry.operators.products import EmpiricalFisher, GaussNewton
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from models.spec.settings import SpecError
from tests.models.geometry.operators.test_diagonal import convolutional
from tests.support.landscapes import FAMILIES, columns, dense_hessian, landscape_of

ASKS = tuple(ask(definition.name) for definition in DEFINITIONS)
ESTIMATED = ("hessian_trace", "hessian_frobenius_by_layer")


pytestmark = pytest.mark.usefixtures("float64")


def point_of(landscape, theta, seed=0):
    return Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(seed))


@pytest.fixture(scope="module")
def points():
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["gaussian"], widths=(8, 6), activation=jnp.tanh)
        return [point_of(landscape, theta * c, i) for i, c in enumerate((0.5, 1.0, 1.5))]


def dense_measures(point):
    """Every curvature measure of a point by dense algebra: {(measure, component): value}."""
    landscape, theta = point.landscape, point.theta
    h = dense_hessian(landscape, theta)
    d = np.diag(h)
    found = {
        ("hessian_trace", ""): d.sum(),
        ("ggn_trace", ""): np.trace(columns(GaussNewton(landscape, theta))),
        ("fisher_trace", ""): np.trace(columns(EmpiricalFisher(landscape, theta))),
        ("hessian_frobenius", ""): np.linalg.norm(h),
        ("hessian_diagonal", "min"): d.min(),
        ("hessian_diagonal", "median"): np.median(d),
        ("hessian_diagonal", "max"): d.max(),
        ("hessian_diagonal", "negative_share"): np.mean(d < 0),
    }
    for name, entries in landscape.model.layers.items():
        found["hessian_trace_by_layer", name] = d[entries].sum()
        found["hessian_frobenius_by_layer", name] = np.linalg.norm(h[entries, entries])
    return found


def rows_of(point, asks):
    return {(asked.measure, row.component): row for asked in asks for row in measure([point], asked)[0]}


@pytest.mark.parametrize("kind", ["tanh mlp", "relu convnet", "tanh convnet"])
def test_measures_meet_their_dense_twins(kind):
    family = FAMILIES["student-t"]
    if kind == "tanh mlp":
        case, asks = landscape_of(family, widths=(5, 4), activation=jnp.tanh), ASKS
    else:
        case = convolutional(family, jnp.tanh if "tanh" in kind else jax.nn.relu, shape=(5, 2), channels=(2,))
        asks = [asked for asked in ASKS if asked.measure in ("hessian_trace_by_layer", "ggn_trace", "hessian_diagonal")]
    point = point_of(*case)
    rows, expected = rows_of(point, asks), dense_measures(point)
    assert {name for name, _ in rows} == {asked.measure for asked in asks}
    for name, row in rows.items():
        assert row.value == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
        assert (row.status, row.standard_error) == ("converged", 0.0), name


def test_estimates_stand_in_where_the_parameters_exceed_the_budget(monkeypatch):
    """Without an exact diagonal, and with fewer products than parameters."""
    monkeypatch.setattr(layerwise, "WORTH", -1)
    point = point_of(*landscape_of(FAMILIES["gaussian"], widths=(20,), activation=jnp.tanh))
    expected = dense_measures(point)
    rows = rows_of(point, [ask(name, max_products=60, relative_error=0.001) for name in ESTIMATED])
    rows |= rows_of(point, [ask("hessian_diagonal", max_products=60)])
    uncertain = [name for name, row in rows.items() if row.standard_error > 0]
    assert len(uncertain) == 6
    for name, row in rows.items():
        assert abs(row.value - expected[name]) <= 4 * row.standard_error + 1e-9, name
    assert rows["hessian_trace", ""].n_products == 60


@pytest.mark.parametrize("asked", ASKS, ids=lambda asked: asked.measure)
def test_what_is_not_finite_has_no_value(points, asked):
    broken = points[0]._replace(theta=points[0].theta.at[0].set(jnp.nan))
    assert "unconverged" in {row.status for row in measure([broken], asked)[0]}
    whole = [row for row in measure([broken], asked)[0] if not row.component]
    assert all(row.status == "unconverged" for row in whole)


def test_a_budget_below_what_an_estimate_takes_is_refused():
    with pytest.raises(SpecError, match=r"hessian_trace\.max_products: .*50"):
        ask("hessian_trace", max_products=49)


def test_a_noisy_diagonals_quantiles_are_within_their_errors():
    """Noise widens the extremes: over 100 repeats the stated errors cover every quantile, and the share."""
    rng = np.random.default_rng(0)
    truth = rng.exponential(size=500) - 0.1
    errors = rng.uniform(0.05, 0.2, size=500)
    expected = np.array([truth.min(), np.median(truth), truth.max(), np.mean(truth < 0)])
    found = [
        summary(Diagonal(*map(jnp.asarray, (truth + errors * rng.normal(size=500), errors)), 1)) for _ in range(100)
    ]
    covered = [np.abs(np.asarray(f.value) - expected) <= np.asarray(f.standard_error) for f in found]
    assert np.all(np.sum(covered, axis=0) >= 88)
