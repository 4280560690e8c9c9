"""Laplace's approximation of the log evidence, log p(y | x) with the parameters integrated out.

    log p(y | x) ~ log p(y | x, theta) + log p(theta) + p/2 log 2 pi - 1/2 log det(n G + P)
                 = log p(y | x, theta) - 1/2 |theta / s|^2 - 1/2 log det(I + n S G S),    S = diag s,  P = S^-2

(MacKay 1992, section 4; Immer et al. 2021, section 3). G is the generalised Gauss-Newton matrix of the MEAN loss over n
rows, s the prior's standard deviations. In nats per DATA SET, a sum and not a mean; a density of y on the scale that
the landscape has it on, so that only models of the same targets on the same scale compare.

Theta is taken for the mode of the log joint. Away from it, as at a posterior draw or where training stopped early, this
is no approximation of the evidence: the slope that is left is not accounted for.

A flat prior has no evidence. A parameter of the likelihood's own that is flat, as log sigma is beside a weight decay,
is held at its value and taken as known, as MacKay holds his noise level: it has no Occam factor, which favours the
likelihood that has it by about 1/2 log n over one without.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from models.geometry.definition import Definition, Estimate, NoSettings, NotApplicableError, Point
from models.geometry.families.effective_dimension import dense_gauss_newton
from models.geometry.landscape import Landscape
from models.geometry.operators.diagonal import gauss_newton_diagonal
from models.geometry.operators.kronecker import kronecker_factors, log_det_shifted
from models.geometry.operators.layerwise import stack
from models.joint.model import Model, build
from models.predictors.convnet import ConvolutionalNet
from models.predictors.linear import LinearNet
from models.predictors.mlp import MLPNet

# Parameters up to which dense algebra is used.
DENSE_LIMIT = 2048


# --- the prior --------------------------------------------------------------------------------------------------------


def _widths(point: Point) -> Float[Array, " p"]:
    """The scales s in theta's precision, 0 for parameters that are taken as known; NaN where a weight's is infinite."""
    scales = jnp.asarray(point.scales, point.theta.dtype)
    is_weight = np.arange(scales.size) < point.landscape.model.n_weights
    return jnp.where(jnp.isfinite(scales), scales, jnp.where(is_weight, jnp.nan, 0.0))


def _refuse_flat(point: Point) -> None:
    """Refuse a flat prior of a weight, whose log evidence is minus infinity."""
    if not _is_proper(point):
        raise NotApplicableError(
            "the evidence needs a proper prior on every weight, and some scales here are infinite: "
            "state a prior or a weight decay"
        )


def _is_proper(point: Point) -> bool:
    return bool(np.all(np.isfinite(np.asarray(point.scales)[: point.landscape.model.n_weights])))


# What is known of a prior's scales only outside of a trace decides whether there is one: `compute` then refuses, with
# the concrete point that it is given. Within a trace an unfit prior is NaN.
def _proper(point: Point, settings: NoSettings) -> bool:
    del settings
    return _is_proper(point)


def _never(point: Point, settings: NoSettings) -> bool:
    del point, settings
    return False


def _is_traced(point: Point) -> bool:
    return isinstance(point.scales, Tracer)


@jax.jit
def _penalised_fit(
    landscape: Landscape, theta: Float[Array, " p"], widths: Float[Array, " p"], centre: Array | np.ndarray
) -> Float[Array, ""]:
    """Log p(y | x, theta) - 1/2 |(theta - centre) / s|^2 over the parameters that are not taken as known."""
    known = widths == 0
    squares = jnp.square((theta - centre) / jnp.where(known, 1.0, widths))
    return -len(landscape.x) * landscape.loss(theta) - 0.5 * jnp.sum(jnp.where(known, 0.0, squares))


# --- the structures ---------------------------------------------------------------------------------------------------


def _full(point: Point, settings: NoSettings) -> Estimate:
    """All of G, dense, in float64."""
    del settings
    _refuse_flat(point)
    landscape, theta, p = point.landscape, point.theta, point.theta.size
    if p > DENSE_LIMIT:
        raise NotApplicableError(
            f"a dense {p} x {p} matrix is too large, at most {DENSE_LIMIT} parameters are taken: ask for "
            "laplace_evidence_kronecker, laplace_evidence_diagonal or laplace_evidence_last_layer"
        )
    widths = _widths(point)
    s = np.asarray(widths, np.float64)
    with np.errstate(invalid="ignore"):  # NaN stays NaN
        log_det = np.linalg.slogdet(np.eye(p) + s[:, None] * dense_gauss_newton(landscape, theta) * s)[1]
    return Estimate(float(_penalised_fit(landscape, theta, widths, point.centre)) - 0.5 * log_det, 0.0, 0)


def _diagonal(point: Point, settings: NoSettings) -> Estimate:
    """G's diagonal alone, exactly."""
    del settings
    if not _is_traced(point):
        _refuse_flat(point)
    landscape, theta, widths = point.landscape, point.theta, _widths(point)
    curvature = len(landscape.x) * gauss_newton_diagonal(landscape, theta)
    log_det = jnp.sum(jnp.log1p(jnp.square(widths) * curvature))
    return Estimate(
        _penalised_fit(landscape, theta, widths, point.centre) - 0.5 * log_det, jnp.zeros((), theta.dtype), 0
    )


def _layer_scales(model: Model, scales: Array | np.ndarray) -> list[Array | np.ndarray]:
    """(c, j + 1) scales of each layer, the bias's column last."""
    parts = [scales[leaf.start : leaf.stop].reshape(leaf.shape[0], -1) for leaf in model.leaves]
    return [
        (jnp if isinstance(scales, jax.Array) else np).concatenate(pair, axis=1)
        for pair in zip(parts[::2], parts[1::2], strict=True)
    ]


def _factorises(point: Point, settings: NoSettings) -> bool:
    """Whether units share their scales within each layer, and so the prior's precision has Kronecker factors."""
    layers = _layer_scales(point.landscape.model, np.asarray(point.scales))
    return _proper(point, settings) and all(np.all(s == s[0]) for s in layers)


def _kronecker(point: Point, settings: NoSettings) -> Estimate:
    """Kronecker factors of each layer's block, G's own block in the likelihood's parameters; exact given these."""
    landscape, theta, widths = point.landscape, point.theta, _widths(point)
    model, n = landscape.model, len(landscape.x)
    net = jax.eval_shape(model.unravel, jax.ShapeDtypeStruct((model.n_weights,), theta.dtype))
    if stack(net) is None:
        raise NotApplicableError(
            "Kronecker factors are taken of affine layers alone, a linear predictor's or an mlp's: for other nets ask "
            "for laplace_evidence_diagonal or laplace_evidence_last_layer"
        )
    if not _is_traced(point):
        _refuse_flat(point)
        if not _factorises(point, settings):
            raise NotApplicableError(
                "the prior's scales differ between the units of a layer, and then have no Kronecker factors: ask for "
                "laplace_evidence_diagonal or laplace_evidence_last_layer"
            )
    found = kronecker_factors(landscape, theta)
    log_det = jnp.sum(jnp.log1p(n * jnp.square(model.extra(widths)) * found.own))
    for factors, scales in zip(found.layers, _layer_scales(model, widths), strict=True):
        shared = jnp.where(jnp.all(scales == scales[0]), scales[0], jnp.nan)
        log_det += log_det_shifted(factors, shared, n)
    return Estimate(
        _penalised_fit(landscape, theta, widths, point.centre) - 0.5 * log_det, jnp.zeros((), theta.dtype), 0
    )


@functools.partial(jax.jit, static_argnames="model")
def _features(model: Model, weights: Float[Array, " w"], x: Float[Array, "n d"]) -> Float[Array, "n j"]:
    """What the last layer reads."""
    net = model.unravel(weights)
    match net:
        case LinearNet():
            return x
        case MLPNet():
            net = eqx.tree_at(lambda n: n.layers, net, (*net.layers[:-1], eqx.nn.Identity()))
        case ConvolutionalNet():
            net = eqx.tree_at(lambda n: n.output, net, eqx.nn.Identity())
        case _:
            raise NotApplicableError(
                "this predictor has no affine last layer: a linear predictor, an mlp or a convnet has"
            )
    return jax.vmap(net)(x)


def _last_layer(point: Point, settings: NoSettings) -> Estimate:
    """The evidence of the last layer on fixed features: the other weights are taken as known, their prior left out."""
    landscape, theta = point.landscape, point.theta
    model = landscape.model
    features = _features(model, theta[: model.n_weights], landscape.x)
    readout = build(model.family, LinearNet, features.shape[1], model.family.n_outputs)
    tail = slice(model.n_parameters - readout.n_parameters, None)
    last = Point(
        Landscape(readout, features, landscape.y),
        theta[tail],
        np.asarray(point.scales)[tail],
        point.key,
        centre=np.broadcast_to(point.centre, theta.shape)[tail],
    )
    return _full(last, settings)


# A larger evidence is a better supported model and not a simpler one: it pays for complexity by fit.
DEFINITIONS = (
    Definition(
        "laplace_evidence_full",
        "bayesian",
        "Laplace log evidence in nats per data set, with the full Gauss-Newton matrix",
        _full,
        "permutation",
        "neither",
        traced=_never,
    ),
    Definition(
        "laplace_evidence_diagonal",
        "bayesian",
        "Laplace log evidence in nats per data set, with the Gauss-Newton matrix's diagonal",
        _diagonal,
        "permutation",
        "neither",
        traced=_proper,
    ),
    Definition(
        "laplace_evidence_kronecker",
        "bayesian",
        "Laplace log evidence in nats per data set, with Kronecker factors of each layer's Gauss-Newton matrix",
        _kronecker,
        "permutation",
        "neither",
        traced=_factorises,
    ),
    Definition(
        "laplace_evidence_last_layer",
        "bayesian",
        "Laplace log evidence of the last layer in nats per data set, the features below it taken as known",
        _last_layer,
        "permutation",
        "neither",
        traced=_never,
    ),
)
