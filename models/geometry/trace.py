"""The trace of the Hessian: exact for piecewise-linear nets, otherwise an estimate with its standard error."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.krylov import begin, orthogonalise, random_direction, step
from models.geometry.landscape import Landscape
from models.geometry.products import Operator
from models.likelihoods import Family
from models.predictors.linear import LinearNet
from models.predictors.mlp import MLPNet

ROWS_AT_ONCE = 256
PROBES_AT_ONCE = 10
MIN_PROBES = 30


class Trace(NamedTuple):
    """Trace, its standard error (0 where exact), and the products with A it took."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    n_products: Int[Array, ""]


def piecewise_layers(net: eqx.Module) -> tuple[eqx.nn.Linear, ...] | None:
    """The affine layers of a net that `exact_trace` applies to, else None."""
    match net:
        case LinearNet():
            return (net.layer,)
        case MLPNet(activation=jax.nn.relu):
            return net.layers
        case _:
            return None


def exact_trace(landscape: Landscape, theta: Float[Array, " p"]) -> Trace:
    """Trace of the mean loss's Hessian for linear predictors and ReLU MLPs, in two passes.

    Eta is linear in any single weight where it is differentiable, so the second derivatives d2 L / d theta_i2 are those
    of the generalised Gauss-Newton matrix with the OBSERVED Hessian M_n of -log p in eta. With a_{l-1} the input of
    layer l and D_l its Jacobian d eta / d z_l:

        tr H = sum_l mean_n (|a_{l-1}|^2 + 1) tr(D_l' M_n D_l)  +  tr d2 L / d extra2.

    Raises:
        ValueError: a predictor of another kind.
    """
    model = landscape.model
    layers = piecewise_layers(model.unravel(theta[: model.n_weights]))
    if layers is None:
        raise ValueError("the exact trace needs a linear predictor or a ReLU MLP: use `estimate_trace`")
    extra = model.extra(theta)

    def of_row(row: tuple[Array, Array]) -> Array:
        x, y = row
        shifts = [jnp.zeros(layer.out_features, theta.dtype) for layer in layers]
        eta, pull, inputs = jax.vjp(lambda s: _shifted(layers, s, x), shifts, has_aux=True)
        seeds, weights = _seeds(model.family, eta, extra, y)
        (deltas,) = jax.vmap(pull)(seeds)
        terms = [(a @ a + 1.0) * jnp.vdot(weights @ delta, delta) for a, delta in zip(inputs, deltas, strict=True)]
        return jnp.sum(jnp.stack(terms))

    rows = jax.lax.map(of_row, (landscape.x, landscape.y), batch_size=ROWS_AT_ONCE)
    eta = model.predict(theta, landscape.x)
    own = jax.hessian(lambda e: -jnp.mean(model.family.log_density(eta, e, landscape.y)))(extra)
    return Trace(jnp.mean(rows) + jnp.trace(own), jnp.zeros((), theta.dtype), jnp.zeros((), jnp.int32))


def _shifted(
    layers: tuple[eqx.nn.Linear, ...], shifts: list[Array], x: Float[Array, " d"]
) -> tuple[Float[Array, " k"], list[Array]]:
    """Eta of one row with `shifts` added to the layers' outputs, and the layers' inputs."""
    inputs = []
    for i, (layer, shift) in enumerate(zip(layers, shifts, strict=True)):
        inputs.append(x)
        z = layer(x) + shift
        x = jax.nn.relu(z) if i < len(layers) - 1 else z
    return x, inputs


def _seeds(
    family: Family, eta: Float[Array, " k"], extra: Float[Array, " m"], y: Array
) -> tuple[Float[Array, "r k"], Float[Array, "r r"]]:
    """Rows S and a symmetric W with S' W S = -d2 log p / d eta2.

    Classes: S = I - 1 p', W = diag p, which keeps its relative precision where p is all but one-hot; others: S = I.
    """
    if family.name == "categorical":
        assert family.probabilities is not None
        p = family.probabilities(eta[None], extra)[0]
        return (jnp.eye(p.size, dtype=p.dtype) - p)[:, p.size - eta.size :], jnp.diag(p)
    hessian = jax.hessian(lambda e: -family.log_density(e[None], extra, y[None])[0])(eta)
    return jnp.eye(eta.size, dtype=eta.dtype), hessian


def estimate_trace(
    operator: Operator,
    key: PRNGKeyArray,
    *,
    relative_error: float = 0.02,
    deflation: int = 20,
    max_products: int = 200,
) -> Trace:
    """Estimate tr A by deflated Hutchinson probes: tr(Q' A Q) + mean of z' (I - QQ') A (I - QQ') z.

    Q is a Krylov basis of `deflation` vectors, which holds most of a net's spectrum (Chen and Hallman 2023; Hutch++ of
    Meyer et al. 2021 with Lanczos as its sketch); z is Rademacher. Given Q the estimate is unbiased, and its standard
    error is that of the probes' mean. Probes are added until it is at most `relative_error` |value| or the
    products are spent; at least `MIN_PROBES` are taken, since stopping on a chance small spread biases the error.
    With p <= max_products Q is the whole space and the trace is exact.
    """
    like = operator.like
    p = like.size
    product = operator.linearise()
    start_key, step_key, probe_key = jax.random.split(key, 3)
    n_basis = p if p <= max_products else deflation
    empty = begin(jnp.zeros_like(like), n_basis)
    krylov = begin(random_direction(start_key, empty.basis, 0), n_basis)
    krylov = jax.lax.fori_loop(0, n_basis, lambda _, s: step(product, s, step_key), krylov)
    head = jnp.sum(krylov.alpha)
    if n_basis == p:
        return Trace(head, jnp.zeros_like(head), jnp.full((), p, jnp.int32))
    # The row at `n_basis` is orthogonal to Q but not part of it.
    basis = krylov.basis.at[n_basis].set(0.0)
    max_probes = max(MIN_PROBES, max_products - n_basis)

    def probe(i: Array) -> Array:
        z = jax.random.rademacher(jax.random.fold_in(probe_key, i), like.shape, like.dtype)
        z = orthogonalise(z, basis, n_basis)
        return z @ product(z)

    values, n = probe_until(
        lambda values, n: standard_error(values, n) <= relative_error * jnp.abs(head + jnp.sum(values) / n),
        probe,
        max_probes,
    )
    return Trace(head + jnp.sum(values) / n, standard_error(values, n), n_basis + n)


def standard_error(values: Float[Array, " m"], n: Int[Array, ""]) -> Float[Array, ""]:
    """Standard error of the mean of the first n values; the rest is zero."""
    mean = jnp.sum(values) / n
    squares = jnp.sum(jnp.where(jnp.arange(values.size) < n, jnp.square(values - mean), 0.0))
    return jnp.sqrt(squares / (n - 1) / n)


def probe_until(
    enough: Callable[[Array, Array], Array], probe: Callable[[Array], Array], max_probes: int
) -> tuple[Float[Array, "m ..."], Int[Array, ""]]:
    """Evaluate probe(0), probe(1), ... until `enough(values, n)`; at least `MIN_PROBES`, at most `max_probes`.

    Returns the values, zero beyond the n that were taken. A value that is not finite ends it.
    """

    def more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, n = carry
        stop = jnp.minimum(jnp.where(n == 0, MIN_PROBES, n + PROBES_AT_ONCE), max_probes)
        return jax.lax.fori_loop(n, stop, lambda i, v: v.at[i].set(probe(i)), values), stop

    def wanting(carry: tuple[Array, Array]) -> Array:
        values, n = carry
        return (n == 0) | ((n < max_probes) & jnp.all(jnp.isfinite(values)) & ~enough(values, n))

    one = jax.eval_shape(probe, jax.ShapeDtypeStruct((), jnp.int32))
    start = (jnp.zeros((max_probes, *one.shape), one.dtype), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(wanting, more, start)
