"""Memory grows with the parameters, and not with parameters x rows: by the compiler's account."""

import jax
import jax.numpy as jnp
import pytest

from models.geometry.definition import Point
from models.geometry.landscape import Landscape
from models.geometry.operators.products import Hessian
from models.geometry.operators.trace import estimate_trace
from models.joint import likelihoods
from models.joint.model import build
from models.measuring.catalogue import ask
from models.predictors.mlp import MLPNet

FEW, MANY = 512, 2048
N_INPUTS, WIDTH = 16, 300
ASKS = (
    ask("hessian_top_eigenvalue", max_products=20),
    ask("hessian_trace"),
    ask("hessian_spectral_density", steps=10, probes=1),
    ask("sharpness_sam"),
    ask("adaptive_sharpness_gaussian"),
    ask("fisher_rao_norm"),
    ask("path_norm"),
    ask("pac_bayes_sigma"),
)


def _measure(asked):
    return lambda point: asked.definition.compute(point, asked.settings)


def _estimate(point):
    return estimate_trace(Hessian(point.landscape, point.theta), point.key)


def _shapes(n, activation):
    """A net of about 1e5 parameters and n rows, as shapes alone: nothing is computed here."""
    model = build(likelihoods.categorical(10), MLPNet, N_INPUTS, 10, (WIDTH, WIDTH), activation)

    def point():
        landscape = Landscape(model, jnp.zeros((n, N_INPUTS)), jnp.zeros(n, jnp.int32))
        theta = model.init(jax.random.key(0))
        return Point(landscape, theta, jnp.ones_like(theta), jax.random.key(0))

    return jax.eval_shape(point)


def bytes_of_a_further_row(compute, activation):
    """Over those of p numbers."""
    points = [_shapes(n, activation) for n in (FEW, MANY)]
    accounts = [jax.jit(compute).lower(point).compile().memory_analysis() for point in points]
    few, many = (account.temp_size_in_bytes + account.output_size_in_bytes for account in accounts)
    return (many - few) / (MANY - FEW) / (points[0].theta.size * points[0].theta.dtype.itemsize)


@pytest.mark.parametrize("asked", ASKS, ids=lambda asked: asked.measure)
def test_a_row_brings_far_fewer_numbers_than_there_are_parameters(asked):
    assert bytes_of_a_further_row(_measure(asked), jax.nn.relu) < 0.1


@pytest.mark.parametrize("compute", [_measure(ask("hessian_trace")), _estimate], ids=["exact", "estimated"])
def test_a_row_brings_the_trace_of_a_smooth_net_far_fewer_numbers_than_there_are_parameters(compute):
    assert bytes_of_a_further_row(compute, jnp.tanh) < 0.1


def test_a_gradient_for_each_row_is_found_out():
    def squares(point):
        one = jax.grad(lambda theta, x, y: point.landscape.model.loss(theta, x[None], y[None]))
        rows = jax.vmap(one, (None, 0, 0))(point.theta, point.landscape.x, point.landscape.y)
        return rows @ rows.T

    assert bytes_of_a_further_row(squares, jax.nn.relu) > 0.9
