"""Products of curvature matrices with vectors; no p x p matrix is ever formed.

An operator is a symmetric matrix that is known by its products. It is a pytree, data and parameters its leaves, so a
program that takes an operator is compiled once for all operators of one kind and shape.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.geometry.landscape import Landscape
from models.geometry.operators.information import whiten

Product = Callable[[Array], Array]


@runtime_checkable
class Operator(Protocol):
    """A symmetric p x p matrix A; `like` tells p and the dtype."""

    @property
    def like(self) -> Float[Array, " p"]:
        """A vector of p entries."""
        ...

    def linearise(self) -> Product:
        """The map v -> A v, after the work that all products share."""
        ...


class Hessian(eqx.Module):
    """H = d2 L / d theta2 of the mean loss, by forward over reverse (Pearlmutter 1994)."""

    landscape: Landscape
    theta: Float[Array, " p"]

    @property
    def like(self) -> Float[Array, " p"]:
        """The parameter vector."""
        return self.theta

    def linearise(self) -> Product:
        """The map v -> H v; the gradient's own pass is done once."""
        return jax.linearize(jax.grad(self.landscape.loss), self.theta)[1]

    def __call__(self, v: Float[Array, " p"]) -> Float[Array, " p"]:
        """H v, at the price of about 1.7 gradients."""
        return jax.jvp(jax.grad(self.landscape.loss), (self.theta,), (v,))[1]


class GaussNewton(eqx.Module):
    """G = (1/n) sum_i J_i' F_i J_i: J_i is the Jacobian of row i's outputs, F_i the information in them (see `whiten`).

    The generalised Gauss-Newton matrix of the mean loss, and its Fisher matrix; positive semi-definite always.
    """

    landscape: Landscape
    theta: Float[Array, " p"]

    @property
    def like(self) -> Float[Array, " p"]:
        """The parameter vector."""
        return self.theta

    def linearise(self) -> Product:
        """The map v -> G v."""
        forward, backward = gauss_newton_factor(self.landscape, self.theta)
        return lambda v: backward(forward(v)) / len(self.landscape.x)

    def __call__(self, v: Float[Array, " p"]) -> Float[Array, " p"]:
        """G v."""
        return self.linearise()(v)


class EmpiricalFisher(eqx.Module):
    """F = (1/n) sum_i g_i g_i', g_i the gradient of row i's negative log-likelihood; positive semi-definite.

    It takes the targets as they were observed, and so is no estimate of the Fisher matrix, which is `GaussNewton`, away
    from the truth (Kunstner et al. 2019).
    """

    landscape: Landscape
    theta: Float[Array, " p"]

    @property
    def like(self) -> Float[Array, " p"]:
        """The parameter vector."""
        return self.theta

    def linearise(self) -> Product:
        """The map v -> F v: forward through the rows' losses and back; no g_i is formed."""
        model, x, y = self.landscape.model, self.landscape.x, self.landscape.y
        _, forward = jax.linearize(lambda t: model.log_likelihood(t, x, y), self.theta)
        transpose = jax.linear_transpose(forward, self.theta)
        return lambda v: transpose(forward(v) / len(x))[0]


class Restricted(eqx.Module):
    """The q x q block of A in the parameters at `entries`, distinct positions in theta; such as those of a layer."""

    operator: Operator
    entries: Int[Array, " q"]

    @property
    def like(self) -> Float[Array, " q"]:
        """Those entries of the vector that tells of A."""
        return self.operator.like[self.entries]

    def linearise(self) -> Product:
        """The map v -> A v on these entries, at the price of a product with A."""
        product, zeros = self.operator.linearise(), jnp.zeros_like(self.operator.like)
        return lambda v: product(zeros.at[self.entries].set(v, unique_indices=True))[self.entries]


class Negative(eqx.Module):
    """-A, whose largest eigenvalues are A's smallest."""

    operator: Operator

    @property
    def like(self) -> Float[Array, " p"]:
        """The vector that tells of A."""
        return self.operator.like

    def linearise(self) -> Product:
        """The map v -> -A v."""
        product = self.operator.linearise()
        return lambda v: -product(v)


def gauss_newton_factor(landscape: Landscape, theta: Float[Array, " p"]) -> tuple[Product, Product]:
    """The maps v -> A v, (n, r), and u -> A' u, (p,), of the factor of the SUM over rows: A' A = n G."""
    model, x, y = landscape.model, landscape.x, landscape.y
    eta, push = jax.linearize(lambda t: model.predict(t, x), theta)

    def forward(v: Float[Array, " p"]) -> Float[Array, "n r"]:
        return whiten(model.family, eta, model.extra(theta), y, push(v), model.extra(v))

    transpose = jax.linear_transpose(forward, theta)
    return forward, lambda u: transpose(u)[0]
