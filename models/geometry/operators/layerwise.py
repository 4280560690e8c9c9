"""The curvature of the loss in what each layer of a net puts out, row by row.

A layer z_l = W_l a_{l-1} + b_l is affine in each of its weights, and what it reads does not depend on them. So, row by
row, the second derivatives of the loss in its weights are those in z_l times squared inputs:

    d2 l / d W_l[c, j]2 = a_{l-1}[j]^2 Q_l[c, c],    d2 l / d b_l[c]2 = Q_l[c, c],    Q_l = d2 l / d z_l dz_l'

and Q_l follows from the layer above (Botev et al. 2017, section 3). With f the activation and
g_l = W_{l+1}' dl/dz_{l+1}:

    Q_l = diag f'(z_l) W_{l+1}' Q_{l+1} W_{l+1} diag f'(z_l) + diag(f''(z_l) g_l)

Without the last term, Q_l is J' M J for the curvature M in the outputs: k backward passes. That is all for ReLU, and
for matrices that are J' M J by definition, such as the Gauss-Newton. What the last terms add is propagated as a matrix.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.geometry.operators.information import whiten
from models.joint.likelihoods import Family
from models.joint.model import Model
from models.predictors.convnet import ConvolutionalNet
from models.predictors.linear import LinearNet
from models.predictors.mlp import MLPNet

Matrix = Literal["hessian", "gauss-newton", "empirical-fisher"]

# Gradients' worth of work up to which the Q_l of a smooth net are propagated: an estimate to 1 % costs about as much.
WORTH = 100


class RowForm(NamedTuple):
    """What one row contributes to a matrix: S' W S in its natural parameters, and a diagonal in the extras.

    Attributes:
        seeds: S; `weights`: W, symmetric.
        own: diagonal in the likelihood's own parameters.
    """

    seeds: Float[Array, "r k"]
    weights: Float[Array, "r r"]
    own: Float[Array, " m"]


def _expected(family: Family, eta: Float[Array, " k"], extra: Float[Array, " m"], y: Array) -> RowForm:
    """The Fisher information in the outputs; see `whiten`."""
    k = eta.size
    columns = jax.vmap(lambda t: whiten(family, eta[None], extra, y[None], t[None, :k], t[k:])[0])(
        jnp.eye(k + extra.size, dtype=eta.dtype)
    )
    own = jnp.sum(jnp.square(columns[k:]), axis=1)
    return RowForm(columns[:k].T, jnp.eye(columns.shape[1], dtype=eta.dtype), own)


def _observed(family: Family, eta: Float[Array, " k"], extra: Float[Array, " m"], y: Array) -> RowForm:
    """The Hessian of -log p. Where it is the information, `whiten` keeps its precision for p all but one-hot."""
    if family.name in ("categorical", "bernoulli", "poisson"):
        return _expected(family, eta, extra, y)

    def cost(eta: Array, extra: Array) -> Array:
        return -family.log_density(eta[None], extra, y[None])[0]

    own = jnp.diagonal(jax.hessian(cost, argnums=1)(eta, extra))
    return RowForm(jnp.eye(eta.size, dtype=eta.dtype), jax.hessian(cost)(eta, extra), own)


def _score(family: Family, eta: Float[Array, " k"], extra: Float[Array, " m"], y: Array) -> RowForm:
    """The outer product of the gradient of log p."""
    in_eta, in_extra = jax.grad(lambda e, s: family.log_density(e[None], s, y[None])[0], argnums=(0, 1))(eta, extra)
    return RowForm(in_eta[None], jnp.ones((1, 1), eta.dtype), jnp.square(in_extra))


FORMS: dict[Matrix, Callable[..., RowForm]] = {
    "hessian": _observed,
    "gauss-newton": _expected,
    "empirical-fisher": _score,
}


# --- which nets -------------------------------------------------------------------------------------------------------


def stack(net: eqx.Module) -> tuple[tuple[eqx.nn.Linear, ...], Callable[[Array], Array]] | None:
    """The affine layers of a net that is nothing else, and the activation between them."""
    match net:
        case LinearNet():
            return (net.layer,), jax.nn.relu
        case MLPNet():
            return net.layers, net.activation
        case _:
            return None


def has_exact_hessian(model: Model) -> bool:
    """Whether the Hessian's diagonal can be computed exactly, at the price of at most `WORTH` gradients."""
    net = jax.eval_shape(model.unravel, jax.ShapeDtypeStruct((model.n_weights,), jnp.float32))
    match net:
        case LinearNet() | MLPNet(activation=jax.nn.relu) | ConvolutionalNet(activation=jax.nn.relu):
            return True
        case MLPNet():
            return _work(net) <= WORTH * 3 * model.n_weights
        case _:
            return False


def _work(net: MLPNet) -> int:
    """Multiplications per row that propagate Q: from the last hidden layer, where Q's own term is a diagonal."""
    shapes = [layer.weight.shape for layer in net.layers[1:-1]]
    last = len(shapes) - 1
    return sum(out * into * ((i > 0) * into + (i < last) * out) for i, (out, into) in enumerate(shapes))


# --- one row ----------------------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """What one row gives a layer: its inputs a, and the diagonal of Q."""

    inputs: Float[Array, " j"]
    curvature: Float[Array, " c"]


def row_layers(
    layers: tuple[eqx.nn.Linear, ...],
    activation: Callable[[Array], Array],
    cost: Callable[[Array], Array],
    form: Callable[[Array], RowForm],
    bends: bool,
    x: Float[Array, " d"],
) -> tuple[list[Layer], Float[Array, " m"]]:
    """Each layer's part in one row, first to last; `bends` adds the activations' second derivatives."""
    inputs, hidden = [x], []
    for layer in layers[:-1]:
        hidden.append(layer(inputs[-1]))
        inputs.append(activation(hidden[-1]))
    eta = layers[-1](inputs[-1])
    seeds, weights, own = form(eta)
    curvatures = [jnp.sum((weights @ seeds) * seeds, axis=0)]
    slope, bend = jax.vmap(jax.grad(activation)), jax.vmap(jax.grad(jax.grad(activation)))
    gradient, bent = jax.grad(cost)(eta), None
    for i in reversed(range(len(hidden))):
        z, weight = hidden[i], layers[i + 1].weight
        steep = slope(z)
        seeds = (seeds @ weight) * steep
        curvature = jnp.sum((weights @ seeds) * seeds, axis=0)
        if bends:
            gradient = gradient @ weight
            diagonal = bend(z) * gradient
            gradient = gradient * steep
            bent = _pulled(bent, weight, steep, diagonal, whole=i > 0)
            curvature += bent if bent.ndim == 1 else jnp.diagonal(bent)
        curvatures.append(curvature)
    return [Layer(a, q) for a, q in zip(inputs, curvatures[::-1], strict=True)], own


def _pulled(
    bent: Array | None,
    weight: Float[Array, "c j"],
    steep: Float[Array, " j"],
    diagonal: Float[Array, " j"],
    whole: bool,
) -> Array:
    """Diag(steep) W' B W diag(steep) + diag(diagonal), or its diagonal alone; a vector B stands for a diagonal."""
    if bent is None:
        return diagonal
    if not whole:
        through = bent @ jnp.square(weight) if bent.ndim == 1 else jnp.sum(weight * (bent @ weight), axis=0)
        return through * jnp.square(steep) + diagonal
    scaled = weight * steep
    right = bent[:, None] * scaled if bent.ndim == 1 else bent @ scaled
    return scaled.T @ right + jnp.diag(diagonal)
