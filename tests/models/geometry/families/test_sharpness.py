"""Sharpness on quadratics with exact answers, its invariances, and normalised logits against their dense twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.symmetries import hidden_layers, permute, rescale
from models.geometry.definition import NotApplicableError, Point
from models.geometry.families.sharpness import (
    Average,
    Step,
    WorstL2,
    average_case,
    normalised_loss,
    one_step,
    worst_case,
)
from models.geometry.landscape import Landscape
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from tests.support.landscapes import FAMILIES, landscape_of, with_spectrum

KINDS = ("sam", "l2", "linf", "gaussian")
# One of each kind; the plain and the adaptive measure differ in nothing but what u is multiplied by.
NAMES = ("sharpness_sam", "adaptive_sharpness_l2", "sharpness_linf", "adaptive_sharpness_gaussian", "keskar_sharpness")


pytestmark = pytest.mark.usefixtures("float64")


class Quadratic(Landscape):
    """L(theta) = g theta + theta' H theta / 2; the model and rows are not looked at."""

    h: jax.Array
    g: jax.Array

    def loss(self, theta):
        return self.g @ theta + theta @ self.h @ theta / 2


def quadratic_point(eigenvalues, slope: float = 1.0, seed: int = 0) -> Point:
    rows, _ = landscape_of(FAMILIES["bernoulli"], widths=())
    rng = np.random.default_rng(seed)
    h, g = with_spectrum(eigenvalues).matrix, jnp.asarray(slope * rng.normal(size=len(eigenvalues)))
    theta = jnp.asarray(rng.normal(size=len(eigenvalues)))
    return Point(Quadratic(rows.model, rows.x, rows.y, h, g), theta, np.full(theta.size, np.inf), jax.random.key(seed))


def in_u(point: Point, adaptive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of u -> L(theta + T u) at 0."""
    t = np.abs(np.asarray(point.theta)) if adaptive else np.ones(point.theta.size)
    h, g = np.asarray(point.landscape.h), np.asarray(point.landscape.g)
    return t * (g + h @ np.asarray(point.theta)), t[:, None] * h * t


def net_point(name: str = "categorical", activation=jax.nn.relu, widths: tuple[int, ...] = (5, 4)) -> Point:
    landscape, theta = landscape_of(FAMILIES[name], activation=activation, widths=widths)
    return Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(3))


@pytest.mark.parametrize("adaptive", [False, True])
def test_sams_step_is_exact_on_a_quadratic(adaptive):
    point = quadratic_point([5.0, 2.0, 1.0, -1.0, 0.0])
    g, h = in_u(point, adaptive)
    u = 0.3 * g / np.linalg.norm(g)
    found = one_step(point, Step(rho=0.3), adaptive=adaptive)
    np.testing.assert_allclose(found.value, g @ u + u @ h @ u / 2, rtol=1e-12)
    assert found.n_products == 2


@pytest.mark.parametrize("name", ["sharpness_sam", "adaptive_sharpness_sam"])
def test_sams_step_from_a_critical_point_is_zero(name):
    point = quadratic_point([3.0, 2.0, 1.0], slope=0.0)
    ((found,),) = measure([point._replace(theta=jnp.zeros(3))], ask(name))
    assert (found.status, found.value) == ("converged", 0.0)


@pytest.mark.parametrize("adaptive", [False, True])
def test_at_a_minimum_the_worst_case_is_the_top_eigenvalue_and_the_best_corner(adaptive):
    point = quadratic_point([5.0, 2.0, 1.0, 0.5])
    minimum = -jnp.linalg.solve(point.landscape.h, point.landscape.g)
    point = point._replace(theta=minimum)
    _, h = in_u(point, adaptive)
    settings = WorstL2(rho=0.2, tolerance=1e-10, restarts=10, steps=1000)
    ball = worst_case(point, settings, adaptive=adaptive, norm="l2")
    np.testing.assert_allclose(ball.value, 0.2**2 / 2 * np.linalg.eigvalsh(h)[-1], rtol=1e-8)
    box = worst_case(point, settings, adaptive=adaptive, norm="linf")
    corners = 0.2 * np.array(np.meshgrid(*[(-1, 1)] * 4)).reshape(4, -1)
    np.testing.assert_allclose(box.value, np.max(np.sum(corners * (h @ corners), axis=0)) / 2, rtol=1e-8)


@pytest.mark.soak
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_average_case_covers_the_trace_at_its_level(adaptive):
    """E = (rho^2 / 2) tr(THT), whatever the slope; 95 % intervals of 100 repeats cover in 88 or more."""
    point = quadratic_point(np.geomspace(0.05, 10.0, 12), slope=30.0)
    _, h = in_u(point, adaptive)
    settings = Average(rho=0.1, relative_error=0.1, max_products=400)
    found = jax.jit(
        lambda keys: jax.lax.map(lambda k: average_case(point._replace(key=k), settings, adaptive=adaptive), keys)
    )(jax.random.split(jax.random.key(1), 100))
    z = (np.asarray(found.value) - 0.1**2 / 2 * np.trace(h)) / np.asarray(found.standard_error)
    assert np.sum(np.abs(z) < 1.96) >= 88
    assert 0.75 < np.std(z) < 1.35


def test_the_average_stops_at_the_error_asked_for_or_at_the_budget():
    point = quadratic_point(np.linspace(0.5, 1.5, 50))
    ((close,),) = measure([point], ask("sharpness_gaussian", relative_error=0.02))
    assert close.standard_error <= 0.02 * close.value
    exact = ask("sharpness_gaussian").settings.rho ** 2 / 2 * np.trace(point.landscape.h)
    assert abs(close.value - exact) <= 4 * close.standard_error
    assert close.n_products < 400
    ((spent,),) = measure([point], ask("sharpness_gaussian", relative_error=1e-6, max_products=201))
    assert spent.n_products == 201
    assert spent.standard_error > 1e-6 * spent.value


@pytest.mark.parametrize("normalise", [False, True], ids=["plain-logits", "normalised-logits"])
@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_sharpness_does_not_move_when_layers_are_rescaled(kind, normalise):
    """With a dead weight, a dead unit and biases among what is scaled; the plain measure moves."""
    point = net_point()
    first, second = hidden_layers(point.landscape.model)
    theta = point.theta.at[first.incoming[0, 1]].set(0.0).at[first.incoming[2]].set(0.0)
    alphas = (1.0, 1e-4, 1e-2, 1e2, 1e4)
    points = [point._replace(theta=rescale(theta, first, a)) for a in alphas]
    points += [point._replace(theta=rescale(theta, second, a)) for a in alphas[1:]]
    # In a wide ball normalised logits of so few rows have kinks, where rounding decides how far an ascent comes.
    size = {"rho": 0.1} if kind == "l2" and normalise else {}
    asked = ask(f"adaptive_sharpness_{kind}", normalise_logits=normalise, **size)
    found = [row.value for (row,) in measure(points, asked)]
    assert None not in found
    assert found[0] > 1e-6
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
    if not normalise:
        (one,), (other,) = measure(points[:1] + points[3:4], ask(f"sharpness_{kind}"))
        assert other.value is None or abs(other.value - one.value) > 0.1 * one.value


@pytest.mark.parametrize("name", NAMES)
def test_permuted_units_leave_sharpness_as_it_is(name):
    """Random draws do not follow the units: the Gaussian average agrees to its standard error."""
    point = net_point(activation=jnp.tanh)
    layer = hidden_layers(point.landscape.model)[0]
    permuted = point._replace(theta=permute(point.theta, layer, np.array([3, 1, 4, 0, 2])))
    exact = {} if name.endswith(("sam", "gaussian")) else {"tolerance": 1e-8, "steps": 1000}
    (one,), (other,) = measure([point, permuted], ask(name, **exact))
    assert one.value is not None and other.value is not None
    if name.endswith("gaussian"):
        assert abs(one.value - other.value) < 4 * np.hypot(one.standard_error, other.standard_error)
    else:
        np.testing.assert_allclose(one.value, other.value, rtol=1e-6)


@pytest.mark.parametrize("name", ["categorical", "categorical-reference"])
def test_normalised_logits_have_mean_zero_and_unit_deviation(name):
    point = net_point(name)
    landscape = point.landscape
    logits = np.asarray(landscape.model.predict(point.theta, landscape.x))
    if name.endswith("reference"):
        logits = np.hstack([np.zeros((len(logits), 1)), logits])
    standard = (logits - logits.mean(axis=1, keepdims=True)) / logits.std(axis=1, keepdims=True)
    log_p = standard - np.log(np.sum(np.exp(standard), axis=1, keepdims=True))
    expected = -np.mean(log_p[np.arange(len(logits)), np.asarray(landscape.y)])
    np.testing.assert_allclose(normalised_loss(landscape)(point.theta), expected, rtol=1e-12)


def test_normalised_logits_forget_the_scale_of_the_last_layer():
    point = net_point(widths=())
    loss = normalised_loss(point.landscape)
    np.testing.assert_allclose(loss(20.0 * point.theta), loss(point.theta), rtol=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "poisson"])
def test_only_classes_have_logits_to_normalise(name):
    point = net_point(name)
    with pytest.raises(NotApplicableError, match="normalise_logits"):
        normalised_loss(point.landscape)
    ((found,),) = measure([point], ask("sharpness_l2", normalise_logits=True))
    assert found.status == "not_applicable"


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_nan_has_no_sharpness(name):
    point = net_point()
    ((found,),) = measure([point._replace(theta=point.theta.at[0].set(jnp.nan))], ask(name))
    assert (found.status, found.value) == ("unconverged", None)
    assert found.n_products < 100
