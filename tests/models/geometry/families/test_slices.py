"""Slices of the loss along filter-normalised directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from models.geometry.connectivity.symmetries import hidden_layers, permute, rescale
from models.geometry.definition import Point
from models.geometry.families.slices import Slice, Surface, filter_normalised, loss_slice, loss_surface, renumbered
from models.geometry.landscape import Landscape
from models.joint import likelihoods
from models.joint.model import build
from models.measuring.at_points import Curve, measure
from models.measuring.catalogue import ask
from models.predictors.convnet import ConvolutionalNet
from tests.support.landscapes import FAMILIES, dense_hessian, landscape_of

KEY = jax.random.key(0)


pytestmark = pytest.mark.usefixtures("float64")


def point_of(landscape, theta, seed=0):
    return Point(landscape, theta, np.ones(theta.size), jax.random.key(seed))


def mlp():
    return point_of(*landscape_of(FAMILIES["gaussian"], widths=(5, 4)))


def convnet():
    model = build(likelihoods.categorical(3), ConvolutionalNet, (4, 5, 2), 3, (3, 4), 3, 5, jax.nn.relu)
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(7, 40))), jnp.asarray(rng.integers(0, 3, 7))
    return point_of(Landscape(model, x, y), jnp.asarray(0.5 * rng.normal(size=model.n_parameters)))


NETS = {"mlp": mlp, "convnet": convnet}


@pytest.mark.parametrize("net", NETS)
def test_each_filter_of_the_direction_is_as_long_as_thetas_and_the_rest_is_zero(net):
    point = NETS[net]()
    model = point.landscape.model
    theta = point.theta.at[: model.leaves[0].shape[1]].set(0.0)
    direction = filter_normalised(model, theta, KEY)
    inside = np.zeros(theta.size, bool)
    for leaf in model.leaves:
        if leaf.name.endswith("weight"):
            own, drawn = (v[leaf.start : leaf.stop].reshape(leaf.shape) for v in (theta, direction))
            np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), np.linalg.norm(own, axis=1), rtol=1e-12)
            inside[leaf.start : leaf.stop] = True
    assert not np.any(direction[~inside])
    assert not np.any(direction[: model.leaves[0].shape[1]]), "a filter of zeros stays where it is"
    assert np.count_nonzero(direction) == np.sum(inside) - model.leaves[0].shape[1]


def test_the_direction_is_shared_by_runs_up_to_the_length_of_their_filters():
    point = mlp()
    model, theta = point.landscape.model, point.theta
    other = jnp.asarray(np.random.default_rng(5).normal(size=theta.size))
    for leaf in model.leaves:
        if leaf.name.endswith("weight"):
            ours, theirs = (
                np.asarray(filter_normalised(model, t, KEY)[leaf.start : leaf.stop]).reshape(leaf.shape)
                for t in (theta, other)
            )
            cosines = np.sum(ours * theirs, axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
            np.testing.assert_allclose(cosines, 1.0, rtol=1e-12)


def test_the_slice_depends_on_the_directions_seed_and_not_on_the_runs_key():
    point = mlp()
    own = loss_slice(point, Slice(points=5))
    np.testing.assert_array_equal(loss_slice(point._replace(key=jax.random.key(9)), Slice(points=5)).value, own.value)
    assert not np.allclose(loss_slice(point, Slice(points=5, direction_seed=1)).value, own.value, rtol=1e-3)


@pytest.mark.parametrize("net", NETS)
def test_the_slice_meets_its_slow_twin(net):
    point, settings = NETS[net](), Slice(radius=0.7, points=5, direction_seed=3)
    model = point.landscape.model
    theta = renumbered(model, point.theta)
    direction = filter_normalised(model, theta, jax.random.fold_in(jax.random.key(3), 0))
    found = jax.jit(loss_slice, static_argnums=1)(point, settings)
    np.testing.assert_allclose(found.x, [-0.7, -0.35, 0.0, 0.35, 0.7], rtol=1e-15)
    expected = [point.landscape.loss(theta + a * direction) for a in found.x]
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)
    assert found.y is None
    assert not np.any(found.standard_error)
    assert found.n_products == 5
    # Units have other numbers, and the function is that at theta.
    assert not jnp.array_equal(theta, point.theta)
    np.testing.assert_allclose(found.value[2], point.landscape.loss(point.theta), rtol=1e-12)


def test_a_linear_models_slice_is_its_parabola():
    """Of a Gaussian with a fixed log sigma, which no direction moves."""
    point = point_of(*landscape_of(FAMILIES["gaussian"], widths=()))
    landscape, theta = point.landscape, point.theta
    d = filter_normalised(landscape.model, theta, jax.random.fold_in(jax.random.key(0), 0))
    found = loss_slice(point, Slice())
    slope, bend = jax.grad(landscape.loss)(theta) @ d, d @ dense_hessian(landscape, theta) @ d
    np.testing.assert_allclose(found.value, landscape.loss(theta) + found.x * slope + found.x**2 * bend / 2, rtol=1e-12)


def test_the_surface_has_the_slice_on_its_axis_and_another_direction_across():
    point, settings = mlp(), Surface(points=5)
    found = jax.jit(loss_surface, static_argnums=1)(point, settings)
    assert found.n_products == found.value.size == 25
    x, y, value = (np.asarray(column).reshape(5, 5) for column in (found.x, found.y, found.value))
    along = loss_slice(point, Slice(points=5))
    np.testing.assert_allclose(x, np.broadcast_to(np.asarray(along.x)[:, None], (5, 5)))
    np.testing.assert_allclose(y, x.T)
    np.testing.assert_allclose(value[:, 2], along.value, rtol=1e-12)
    theta = renumbered(point.landscape.model, point.theta)
    d, e = (filter_normalised(point.landscape.model, theta, jax.random.fold_in(KEY, i)) for i in range(2))
    assert abs(d @ e) < 0.9 * np.linalg.norm(d) * np.linalg.norm(e)
    np.testing.assert_allclose(value[1, 4], point.landscape.loss(theta - 0.5 * d + e), rtol=1e-12)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("name", "points"), [("loss_slice", 5), ("loss_surface", 3)])
def test_neither_permuting_units_nor_rescaling_layers_moves_a_slice(net, name, points):
    point = NETS[net]()
    changed = point.theta
    for i, layer in enumerate(hidden_layers(point.landscape.model)):
        changed = permute(changed, layer, np.random.default_rng(i).permutation(len(layer.incoming)))
        changed = rescale(changed, layer, 10.0 ** (2 - 3 * i))
    assert np.max(np.abs(changed - point.theta)) > 10
    before, after = measure([point, point._replace(theta=changed)], ask(name, points=points))
    assert isinstance(before, Curve) and isinstance(after, Curve)
    np.testing.assert_allclose(after.value, before.value, rtol=1e-9)
    assert np.ptp(before.value) > 0.01


def test_rescaling_is_not_forgotten_by_a_net_of_another_activation():
    """There it changes the function, so that a slice that did not move would be wrong."""
    point = point_of(*landscape_of(FAMILIES["gaussian"], activation=jnp.tanh))
    changed = rescale(point.theta, hidden_layers(point.landscape.model)[0], 3.0)
    before, after = (loss_slice(p, Slice(points=3)).value for p in (point, point._replace(theta=changed)))
    assert not np.allclose(before, after, rtol=1e-3)


def test_points_side_by_side_have_the_slices_that_they_have_alone():
    point = mlp()
    points = [point._replace(theta=point.theta * c) for c in (0.5, 1.5)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    together = jax.vmap(lambda p: loss_slice(p, Slice(points=3)).value)(stacked)
    for row, alone in zip(together, points, strict=True):
        np.testing.assert_allclose(row, loss_slice(alone, Slice(points=3)).value, rtol=1e-12)


def test_single_precision_stays_single():
    point = jax.tree.map(lambda a: a.astype(np.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, mlp())
    assert {column.dtype.name for column in loss_surface(point, Surface(points=3))[:3]} == {"float32"}


@pytest.mark.parametrize("settings", [{"points": 1}, {"radius": 0.0}, {"direction_seed": -1}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValidationError):
        Slice(**settings)
