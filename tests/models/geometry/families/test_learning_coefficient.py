"""The local learning coefficient and WBIC of models, against closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.symmetries import hidden_layers, permute, rescale
from models.geometry.definition import Point
from models.geometry.families.learning_coefficient import PARTS, judged, natural_scales
from models.geometry.families.local_posterior import TARGET_HMC, TARGET_MALA, Draws, Trace, hamiltonian
from models.geometry.landscape import Landscape
from models.joint import likelihoods
from models.joint.likelihoods import Family
from models.joint.model import build
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from models.predictors.convnet import ConvolutionalNet
from models.predictors.linear import LinearNet
from tests.support.landscapes import FAMILIES, landscape_of

NONE = jnp.zeros(4, jnp.int32)  # divergences
SMALL = {"warmup": 200, "draws": 400, "max_leapfrog": 8}


pytestmark = pytest.mark.usefixtures("float64")


def unit_gaussian() -> Family:
    """Y ~ N(eta, 1): with a linear predictor all is quadratic."""
    return Family("unit-gaussian", 1, (), lambda eta, extra, y: -0.5 * jnp.square(y - eta[:, 0]) - NORMALISER)


NORMALISER = 0.5 * float(np.log(2 * np.pi))


class Quadratic:
    """Linear regression of known noise, by closed forms; theta = (weights, bias)."""

    def __init__(self, n: int = 30, scale: float = 0.7):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(n, 3)) * [1.0, 2.0, 0.1], rng.normal(size=n)
        self.design = np.concatenate([x, np.ones((n, 1))], axis=1)
        self.targets, self.n, self.scale = y, n, scale
        self.minimum = np.linalg.lstsq(self.design, y, rcond=None)[0]
        self.landscape = Landscape(MODEL, jnp.asarray(x), jnp.asarray(y))

    def point(self, theta=None, seed=0) -> Point:
        theta = jnp.asarray(self.minimum if theta is None else theta)
        return Point(self.landscape, theta, np.full(4, self.scale), jax.random.key(seed))

    def coefficient(self, gamma: float, n_beta: float, scales: np.ndarray) -> float:
        curvature = scales[:, None] * (self.design.T @ self.design / self.n) * scales
        h = np.linalg.eigvalsh(curvature)
        return float(0.5 * np.sum(n_beta * h / (n_beta * h + gamma)))

    def wbic(self) -> float:
        """E |y - X w|^2 / 2 + constant under the tempered posterior, a Gaussian."""
        beta = 1 / np.log(self.n)
        covariance = np.linalg.inv(beta * self.design.T @ self.design + np.eye(4) / self.scale**2)
        rest = self.targets - self.design @ (covariance @ (beta * self.design.T @ self.targets))
        spread = np.trace(self.design @ covariance @ self.design.T)
        return float(0.5 * (rest @ rest + spread) + self.n * NORMALISER)


MODEL = build(unit_gaussian(), LinearNet, 3, 1)


@pytest.fixture(scope="module")
def quadratic():
    with jax.enable_x64(True):
        return Quadratic()


def parts(point, name, **settings):
    (found,) = measure([point], ask(name, **settings))
    assert [row.component for row in found] == ["", "r_hat", "ess", "divergences", "step_sizes", "virial"]
    return found[:3]


def traced(values, distances, divergences=NONE) -> Trace:
    """Draws at half the step that mirror the others in time, and so have their means; virials about 0."""
    virials = np.random.default_rng(7).normal(size=np.shape(values))
    full = Draws(*map(jnp.asarray, (values, distances, virials - virials.mean())))
    return Trace(full, Draws(*(a[:, ::-1] for a in full)), divergences, jnp.ones(()), jnp.asarray(7))


def meets(row, truth):
    assert row.standard_error < 0.1 * truth
    return abs(row.value - truth) < 3 * row.standard_error


# --- the coefficient --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["learning_coefficient", "learning_coefficient_isotropic"])
def test_a_quadratic_has_its_exact_coefficient(quadratic, name):
    point = quadratic.point()
    scales = np.asarray(natural_scales(MODEL, point.theta)) if name == "learning_coefficient" else np.ones(4)
    value, r_hat, ess = parts(point, name, **SMALL)
    assert meets(value, quadratic.coefficient(1.0, quadratic.n / np.log(quadratic.n), scales))
    assert 0.99 < r_hat.value < 1.05
    assert 100 < ess.value < 3 * 1600
    assert value.n_products > 4 * 600


def test_the_temperature_and_the_localisation_are_settings(quadratic):
    value, _, _ = parts(quadratic.point(), "learning_coefficient_isotropic", gamma=20.0, n_beta=5.0, **SMALL)
    assert meets(value, quadratic.coefficient(20.0, 5.0, np.ones(4)))


def test_sgld_with_half_of_the_rows_and_small_steps_comes_close(quadratic):
    settings = {"sampler": "sgld", "warmup": 500, "draws": 5000, "gamma": 5.0, "step_size": 0.005, "batch_size": 15}
    value, _, _ = parts(quadratic.point(), "learning_coefficient_isotropic", **settings)
    truth = quadratic.coefficient(5.0, quadratic.n / np.log(quadratic.n), np.ones(4))
    assert value.value == pytest.approx(truth, rel=0.1)


def test_away_from_a_minimum_the_coefficient_is_negative(quadratic):
    away = quadratic.point(quadratic.minimum + np.array([3.0, 0.0, 0.0, 0.0]))
    value, _, _ = parts(away, "learning_coefficient_isotropic", **SMALL)
    assert value.value < -1.0


def test_chains_that_disagree_have_no_value_but_say_how_much(quadratic):
    settings = {"sampler": "sgld", "warmup": 1, "draws": 50, "step_size": 1e-7}
    value, r_hat, ess = parts(quadratic.point(), "learning_coefficient", **settings)
    assert (value.status, value.value) == ("unconverged", None)
    assert r_hat.value > 1.05
    assert ess.value < 100


VALLEYS = {  # dimension, rows, draws, potential
    "neck": (2, 1e6, 1000, lambda u: u[0] ** 2 * u[1] ** 4),
    "crossing": (2, 1e3, 500, lambda u: u[0] ** 2 * u[1] ** 2),
    "sixth": (1, 1e4, 1000, lambda u: u[0] ** 6),
    "bowl": (2, 1e4, 500, lambda u: 0.5 * u[0] ** 2 + 0.05 * u[1] ** 2),
}
KEYS = 24


@pytest.mark.parametrize("sampler", ["hmc", "mala"])
@pytest.mark.parametrize("valley", VALLEYS)
def test_where_a_valley_narrows_there_is_no_value_or_that_of_a_quadrature(valley, sampler):
    """HMC's chains agree on .17 to .22 in the neck, of .2413: none of them enters it. In a bowl nearly all keys pass.

    MALA's at the crossing pass R-hat, the effective sample size and divergences for some keys, all too low by 3 errors.
    """
    dimension, n, draws, potential = VALLEYS[valley]
    n_beta = n / np.log(n)
    t = np.linspace(-14, 14, 1501)  # denser about 0, where the walls are steep
    axes = [6 * np.sinh(t) / np.sinh(14)] * dimension
    u, width = np.array(np.meshgrid(*axes)), np.prod(np.meshgrid(*[np.cosh(t)] * dimension), axis=0)
    weights = np.exp(-n_beta * potential(u) - 0.5 * np.sum(u**2, axis=0)) * width
    truth = n_beta * np.sum(weights * potential(u)) / np.sum(weights)
    how = {"max_leapfrog": 32, "target": TARGET_HMC} if sampler == "hmc" else {"max_leapfrog": 1, "target": TARGET_MALA}

    def density(u):
        return -n_beta * potential(u) - 0.5 * u @ u, potential(u)

    def run(key):
        return hamiltonian(density, jnp.zeros(dimension), key, chains=4, warmup=500, draws=draws, **how)

    found = jax.device_get(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(11), KEYS)))
    judgements = [judged(jax.tree.map(lambda a, i=i: jnp.asarray(a[i]), found), n_beta, 0.0) for i in range(KEYS)]
    known = [(j.value[0] - truth) / j.standard_error[0] for j in judgements if np.isfinite(j.value[0])]
    assert np.all(np.abs(known) < 3.5), known
    assert len(known) >= 0.9 * KEYS if valley == "bowl" else len(known) <= 0.1 * KEYS


def test_a_single_divergence_leaves_no_value_and_is_told():
    draws = jnp.asarray(np.random.default_rng(0).normal(size=(4, 400)))
    found = judged(traced(draws, draws[:, ::-1], NONE.at[2].set(1)), 2.0, 0.5)
    assert np.isnan(found.value[0])
    assert found.value[3] == 1


def test_few_effective_draws_have_no_value_even_where_chains_agree():
    draws = np.random.default_rng(0).normal(size=(4, 400))
    good = judged(traced(draws, draws[:, ::-1]), 2.0, 0.5)
    np.testing.assert_allclose(good.value[0], 2.0 * (draws.mean() - 0.5))
    np.testing.assert_allclose(good.standard_error[0], 2.0 * draws.std() / 40, rtol=0.1)
    few = judged(traced(draws[:, :10], draws[:, 9::-1]), 2.0, 0.5)
    assert np.isnan(few.value[0])
    assert few.value[2] < 100
    one = np.arange(1600).reshape(4, 400) == 0
    broken = judged(traced(np.where(one, np.nan, draws), draws[:, ::-1]), 2.0, 0.5)
    assert np.isnan(broken.value[0])
    apart = judged(traced(draws, draws[:, ::-1] + np.arange(4.0)[:, None]), 2.0, 0.5)
    assert np.isnan(apart.value[0])
    assert apart.value[1] > 1.05
    constant = judged(traced(np.ones((4, 400)), draws), 2.0, 0.5)
    assert np.isnan(constant.value[0])


@pytest.mark.parametrize("moved", ["values", "distances", "virials"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_means_that_move_with_the_step_and_virials_that_are_not_0_leave_no_value(moved, sign):
    """1,600 independent draws of standard deviation 1 have means that are off by 1 / 40."""
    values, distances = np.random.default_rng(2).normal(size=(2, 4, 400))
    trace = traced(values, distances)
    error = 1 / 40 if moved == "virials" else np.sqrt(2) / 40
    for errors, has_value in ((2.0, True), (4.5, False)):
        off = {moved: getattr(trace.half, moved) + sign * errors * error}
        found = judged(trace._replace(half=trace.half._replace(**off)), 1.0, 0.0)
        assert np.isfinite(found.value[0]) == has_value
        z = dict(zip(PARTS, found.value, strict=True))
        assert z["virial" if moved == "virials" else "step_sizes"] == pytest.approx(errors, rel=0.15)
        assert z["step_sizes" if moved == "virials" else "virial"] == pytest.approx(0.0, abs=1e-6)


def test_the_diagnostics_errors_are_their_spread_over_repeats():
    """The jackknife over chains, against fresh chains; an autocorrelated walk, whose diagnostics vary."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(100):
        noise = rng.normal(size=(8, 300))
        walk = np.zeros_like(noise)
        for t in range(1, 300):
            walk[:, t] = 0.8 * walk[:, t - 1] + noise[:, t]
        estimate = judged(traced(walk, walk), 1.0, 0.0)
        found.append([estimate.value[1:3], estimate.standard_error[1:3]])
    values, errors = np.moveaxis(np.array(found), 1, 0)
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2, axis=0)), values.std(axis=0), rtol=0.6)


def test_a_layer_of_zeros_has_no_size_and_so_no_value(quadratic):
    value, _, _ = parts(quadratic.point(np.zeros(4)), "learning_coefficient", **SMALL)
    assert (value.status, value.value) == ("unconverged", None)


@pytest.mark.parametrize("name", ["learning_coefficient", "learning_coefficient_isotropic", "wbic"])
def test_one_row_has_no_temperature(quadratic, name):
    one = Landscape(MODEL, quadratic.landscape.x[:1], quadratic.landscape.y[:1])
    (row,) = measure([quadratic.point()._replace(landscape=one)], ask(name, **SMALL))[0]
    assert row.status == "not_applicable"
    assert "at least 2 rows" in str(row.reason)


# --- scales -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nets():
    """Nets with hidden layers, and a theta whose biases are not zero."""
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["gaussian"], widths=(5, 4))
        conv = build(likelihoods.categorical(3), ConvolutionalNet, (8, 2), 3, (4, 6), 3, 5, jax.nn.relu)
        return [(landscape.model, theta), (conv, conv.init(jax.random.key(0)) + 0.1)]


def test_scales_move_with_the_parameters_when_layers_are_rescaled_and_stay_when_units_swap(nets):
    for (model, theta), alpha in itertools.product(nets, (1e-4, 1e4)):
        ratio = theta / natural_scales(model, theta)
        assert np.all(np.isfinite(ratio))
        for layer in hidden_layers(model):
            moved = rescale(theta, layer, alpha)
            np.testing.assert_allclose(moved / natural_scales(model, moved), ratio, rtol=1e-12)
            order = np.arange(len(layer.incoming))[::-1]
            swapped = permute(theta, layer, order)
            np.testing.assert_allclose(natural_scales(model, swapped), natural_scales(model, theta), rtol=1e-12)


def test_scales_are_root_mean_squares_and_the_size_of_the_signal(nets):
    model, theta = nets[0]
    net = model.unravel(theta[: model.n_weights])
    scales = natural_scales(model, theta)
    sizes = model.unravel(scales[: model.n_weights])
    signal = 1.0
    for layer, size in zip(net.layers, sizes.layers, strict=True):
        rms = float(jnp.sqrt(jnp.mean(layer.weight**2)))
        signal *= rms * np.sqrt(layer.weight.shape[1])
        np.testing.assert_allclose(size.weight, rms)
        np.testing.assert_allclose(size.bias, signal)
    assert scales[-1] == 1.0


def test_a_rescaled_net_is_sampled_by_the_same_chain(nets):
    """For a few draws, before rounding has grown."""
    landscape, theta = landscape_of(FAMILIES["gaussian"], widths=(5, 4))
    point = Point(landscape, theta, np.ones(theta.size), jax.random.key(0))
    moved = point._replace(theta=rescale(theta, hidden_layers(landscape.model)[0], 1e4))
    few = {"warmup": 2, "draws": 4, "max_leapfrog": 2}
    first, second = (parts(p, "learning_coefficient", **few) for p in (point, moved))
    assert first[1].value == pytest.approx(second[1].value, rel=1e-9)
    third = parts(moved, "learning_coefficient_isotropic", **few)
    assert third[1].value != pytest.approx(second[1].value, rel=1e-3)


# --- WBIC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["hmc", "mala"])
def test_wbic_of_a_conjugate_model_is_its_tempered_expectation(quadratic, sampler):
    point = quadratic.point()
    value, r_hat, _ = parts(point, "wbic", sampler=sampler, **SMALL | {"draws": 1000})
    truth = quadratic.wbic()
    assert abs(value.value - truth) < 3 * value.standard_error < 0.5
    assert r_hat.value < 1.05


def test_wbic_needs_a_proper_prior(quadratic):
    flat = quadratic.point()._replace(scales=np.array([1.0, 1.0, np.inf, 1.0]))
    (row,) = measure([flat], ask("wbic"))[0]
    assert row.status == "not_applicable"
    assert "proper" in str(row.reason)
