"""Kronecker factors of the Gauss-Newton matrix, layer by layer (Martens and Grosse 2015, section 3).

For a layer z = W a + b with a~ = [a; 1], and the seeds delta_r of a row, which are the rows of R dz_out/dz for the
information R'R in the outputs (see `whiten`):

    G_layer ~ B (x) A,    A = mean_i a~_i a~_i',    B = mean_i sum_r delta_ir delta_ir'

in the order in which theta has W, the bias as W's last column. Equal to G's block where a~ and delta are independent
over the rows, as for one affine layer under a Gaussian likelihood. Blocks between layers are left out.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.geometry.landscape import Landscape
from models.geometry.operators.layerwise import FORMS, stack

ROWS_AT_ONCE = 256
# Numbers that a block of rows may hold: fewer rows at once where each needs more.
CHUNK = 2**22


class Factors(NamedTuple):
    """One layer's factors by their triangular roots, A = U'U and B = V'V for the MEAN loss.

    A root in float32 keeps eigenvalues down to eps^2 of the largest; A itself only to eps.

    Attributes:
        inputs: U, the bias's 1 last; `outputs`: V.
    """

    inputs: Float[Array, "j j"]
    outputs: Float[Array, "c c"]


class Kronecker(NamedTuple):
    """The factors of each layer, first to last, and the diagonal of G in the likelihood's own parameters (exact)."""

    layers: tuple[Factors, ...]
    own: Float[Array, " m"]


def kronecker_factors(landscape: Landscape, theta: Float[Array, " p"]) -> Kronecker:
    """The factors of every layer, by QR factors of blocks of rows stacked on what the blocks before have left.

    Memory: the roots, a block of rows, and a copy of the inputs x in the column order of QR.

    Raises:
        ValueError: a net that is not a stack of affine layers.
    """
    model, n = landscape.model, len(landscape.x)
    affine = stack(model.unravel(theta[: model.n_weights]))
    if affine is None:
        raise ValueError("Kronecker factors are those of affine layers: a linear predictor or an mlp has them")
    layers, activation = affine
    extra, slope = model.extra(theta), jax.vmap(jax.grad(activation))

    def of_row(x: Array, y: Array) -> tuple[list[tuple[Array, Array]], Array]:
        inputs, hidden = [x], []
        for layer in layers[:-1]:
            hidden.append(layer(inputs[-1]))
            inputs.append(activation(hidden[-1]))
        form = FORMS["gauss-newton"](model.family, layers[-1](inputs[-1]), extra, y)
        seeds = [form.seeds]
        for z, layer in zip(hidden[::-1], layers[:0:-1], strict=True):
            seeds.append((seeds[-1] @ layer.weight) * slope(z))
        return [(jnp.append(a, 1.0), s) for a, s in zip(inputs, seeds[::-1], strict=True)], form.own

    n_blocks = -(-n // max(1, min(ROWS_AT_ONCE, CHUNK // _numbers_per_row(landscape, layers))))
    size = -(-n // n_blocks)

    def fold(i: Array, found: Kronecker) -> Kronecker:
        start = jnp.minimum(i * size, n - size)  # the last block is as long as the others, and overlaps
        x, y = (jax.lax.dynamic_slice_in_dim(a, start, size) for a in (landscape.x, landscape.y))
        keep = (start + jnp.arange(size) >= i * size).astype(theta.dtype)
        rows, own = jax.vmap(of_row)(x, y)
        grown = tuple(
            Factors(
                _stacked(root.inputs, keep[:, None] * a),
                _stacked(root.outputs, (keep[:, None, None] * s).reshape(-1, s.shape[-1])),
            )
            for root, (a, s) in zip(found.layers, rows, strict=True)
        )
        return Kronecker(grown, found.own + keep @ own)

    empty = tuple(
        Factors(*(jnp.zeros((k, k), theta.dtype) for k in (layer.weight.shape[1] + 1, layer.weight.shape[0])))
        for layer in layers
    )
    total = jax.lax.fori_loop(0, n_blocks, fold, Kronecker(empty, jnp.zeros_like(extra)))
    roots = jax.tree.map(lambda root: root / jnp.sqrt(n), total.layers)
    return Kronecker(roots, total.own / n)


def _numbers_per_row(landscape: Landscape, layers: tuple[eqx.nn.Linear, ...]) -> int:
    n_seeds = landscape.model.family.n_outputs + 1
    return sum(layer.weight.shape[1] + 1 + n_seeds * layer.weight.shape[0] for layer in layers)


def _stacked(root: Float[Array, "j j"], rows: Float[Array, "n j"]) -> Float[Array, "j j"]:
    """The triangular root of root' root + rows' rows."""
    return jnp.linalg.qr(jnp.concatenate([root, rows]), mode="r")


def log_det_shifted(factors: Factors, input_scales: Float[Array, " j"], n: int) -> Float[Array, ""]:
    """Log det(I + n S (B (x) A) S) for S = I (x) diag(input_scales), by the eigenvalues of both factors.

    A scale for each input, the bias's last, leaves S (B (x) A) S a Kronecker product, and so this is exact.
    """
    a, b = (jnp.linalg.svd(m, compute_uv=False) for m in (factors.inputs * input_scales, factors.outputs))
    return jnp.sum(jnp.log1p(n * jnp.square(b[:, None] * a)))
