"""Norms of the weights, and of the function through its weights.

A layer's matrix W_l is its weight as it is stored: (out, in), and (out, kernel positions x in) for a convolution, the
reshaped kernel of Yoshida and Miyato (2017, section 3.2), whose norm is not that of the convolution as a linear map.
Biases belong to theta, not to the matrices. The likelihood's own parameters, such as log sigma, belong to neither.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.geometry.definition import Definition, Estimate, NoSettings, NotApplicableError, Point
from models.joint.model import Model
from models.predictors.convnet import ConvolutionalNet, max_pool
from models.predictors.linear import LinearNet
from models.predictors.mlp import MLPNet


def weight_matrices(model: Model, theta: Float[Array, " p"]) -> dict[str, Float[Array, "out in"]]:
    """Each layer's weight matrix, first to last."""
    return {
        leaf.name.rpartition(".")[0]: theta[leaf.start : leaf.stop].reshape(leaf.shape)
        for leaf in model.leaves
        if len(leaf.shape) == 2
    }


def spectral_norms(model: Model, theta: Float[Array, " p"]) -> Float[Array, " layers"]:
    """The largest singular value of each layer's matrix."""
    return jnp.stack([jnp.linalg.norm(w, ord=2) for w in weight_matrices(model, theta).values()])


def path_norm(model: Model, theta: Float[Array, " p"]) -> Float[Array, ""]:
    """The root of the sum, over all paths from an input or a bias to an output, of the product of squared weights.

    One pass of an all-ones input through the squared weights (Neyshabur et al. 2015, Path-SGD; Jiang et al.
    2020, equation 44); a bias is a path from an input that is 1. Activations are left out: ReLU is the identity there.
    A convolution's weights count once for each position that they are used at, and max-pooling passes on the largest of
    its window, so that the value is that of the routing with the largest norm.

    Raises:
        NotApplicableError: a predictor that is not a stack of layers.
    """
    net = model.unravel(jnp.square(theta[: model.n_weights]))
    match net:
        case LinearNet():
            h = net.layer(jnp.ones(net.layer.in_features, theta.dtype))
        case MLPNet():
            h = jnp.ones(net.layers[0].in_features, theta.dtype)
            for layer in net.layers:
                h = layer(h)
        case ConvolutionalNet():
            h = jnp.ones(net.shape, theta.dtype)
            for block in net.blocks:
                h = max_pool(block(h))
            h = net.output(net.hidden(h.reshape(-1)))
        case _:
            raise NotApplicableError("the path norm needs a stack of layers: a linear predictor, an mlp or a convnet")
    return jnp.sqrt(jnp.sum(h))


def fisher_rao_norm(point: Point) -> Float[Array, ""]:
    """The root of (1/n) sum_i <theta, d log p(y_i | x_i, theta) / d theta>^2, theta the predictor's weights and biases.

    Liang et al. (2019), definition 2, with the labels as observed. One directional derivative, hence of n numbers only.
    For a ReLU net of L layers without biases <theta, d/d theta> is L <eta, d/d eta> (their lemma 2.1).
    """
    landscape, theta = point.landscape, point.theta
    model = landscape.model
    along = theta.at[model.n_weights :].set(0.0)
    _, rows = jax.jvp(lambda t: model.log_likelihood(t, landscape.x, landscape.y), (theta,), (along,))
    return jnp.sqrt(jnp.mean(jnp.square(rows)))


# --- as measures ------------------------------------------------------------------------------------------------------


def _l2_norm(point: Point, settings: NoSettings) -> Estimate:
    del settings
    return Estimate(jnp.linalg.norm(point.theta[: point.landscape.model.n_weights]), 0.0, 0)


def _distance(point: Point, settings: NoSettings) -> Estimate:
    del settings
    if point.initial is None:
        raise NotApplicableError(
            "this fit kept no start of its own, so there is no distance from it: use 'l2_norm', the distance from zero"
        )
    return Estimate(jnp.linalg.norm((point.theta - point.initial)[: point.landscape.model.n_weights]), 0.0, 0)


def _layers(point: Point, settings: NoSettings) -> tuple[str, ...]:
    del settings
    return tuple(weight_matrices(point.landscape.model, point.theta))


def _spectral_norms(point: Point, settings: NoSettings) -> Estimate:
    del settings
    return Estimate(spectral_norms(point.landscape.model, point.theta), 0.0, 0)


def _log_spectral_norm_product(point: Point, settings: NoSettings) -> Estimate:
    del settings
    return Estimate(jnp.sum(jnp.log(spectral_norms(point.landscape.model, point.theta))), 0.0, 0)


def _stable_rank_sum(point: Point, settings: NoSettings) -> Estimate:
    del settings
    model = point.landscape.model
    squares = [jnp.sum(jnp.square(w)) for w in weight_matrices(model, point.theta).values()]
    return Estimate(jnp.sum(jnp.stack(squares) / jnp.square(spectral_norms(model, point.theta))), 0.0, 0)


def _log_spectral_complexity(point: Point, settings: NoSettings) -> Estimate:
    """Bartlett et al. (2017), equation 1.2: ln of prod_l s_l (sum_l (|W_l|_{2,1} / s_l)^{2/3})^{3/2}."""
    del settings
    model = point.landscape.model
    norms = spectral_norms(model, point.theta)
    rows = [jnp.sum(jnp.linalg.norm(w, axis=1)) for w in weight_matrices(model, point.theta).values()]
    spread = jnp.sum((jnp.stack(rows) / norms) ** (2.0 / 3.0))
    return Estimate(jnp.sum(jnp.log(norms)) + 1.5 * jnp.log(spread), 0.0, 0)


def _path_norm(point: Point, settings: NoSettings) -> Estimate:
    del settings
    return Estimate(path_norm(point.landscape.model, point.theta), 0.0, 0)


def _fisher_rao_norm(point: Point, settings: NoSettings) -> Estimate:
    del settings
    return Estimate(fisher_rao_norm(point), 0.0, 1)


DEFINITIONS = (
    Definition(
        "l2_norm",
        "norm",
        "Euclidean norm of the predictor's weights and biases",
        _l2_norm,
        "permutation",
        "more complex",
    ),
    Definition(
        "distance_from_initialisation",
        "norm",
        "Euclidean distance of the predictor's weights and biases from where their training began",
        _distance,
        "none",
        "more complex",
    ),
    Definition(
        "spectral_norms",
        "norm",
        "largest singular value of each layer's weight matrix",
        _spectral_norms,
        "permutation",
        "more complex",
        components=_layers,
    ),
    Definition(
        "log_spectral_norm_product",
        "norm",
        "sum over layers of the logarithm of the largest singular value",
        _log_spectral_norm_product,
        "rescaling",
        "more complex",
    ),
    Definition(
        "stable_rank_sum",
        "norm",
        "sum over layers of the squared Frobenius over the squared spectral norm (Jiang et al. 2020, equation 33)",
        _stable_rank_sum,
        "rescaling",
        "more complex",
    ),
    Definition(
        "log_spectral_complexity",
        "norm",
        "logarithm of the spectral complexity with reference matrices of zero (Bartlett et al. 2017, equation 1.2)",
        _log_spectral_complexity,
        "rescaling",
        "more complex",
    ),
    Definition(
        "path_norm",
        "norm",
        "root of the sum over all paths of the product of squared weights",
        _path_norm,
        "rescaling",
        "more complex",
    ),
    Definition(
        "fisher_rao_norm",
        "norm",
        "root mean square over training rows of <theta, gradient of log p>, in nats (Liang et al. 2019)",
        _fisher_rao_norm,
        "rescaling",
        "more complex",
    ),
)
