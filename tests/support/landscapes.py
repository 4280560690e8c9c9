"""Matrices with chosen spectra, small models of every family, and the dense twins of what is computed by products."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.landscape import Landscape
from models.geometry.operators.products import Operator
from models.joint import likelihoods
from models.joint.likelihoods import Family
from models.joint.model import build
from models.predictors.linear import LinearNet
from models.predictors.mlp import MLPNet

FAMILIES = {
    "categorical": likelihoods.categorical(3),
    "categorical-reference": likelihoods.categorical(3, reference=True),
    "bernoulli": likelihoods.bernoulli(),
    "gaussian": likelihoods.gaussian(),
    "heteroscedastic-gaussian": likelihoods.heteroscedastic_gaussian(),
    "student-t": likelihoods.student_t(5.0),
    "poisson": likelihoods.poisson(),
    "negative-binomial": likelihoods.negative_binomial(),
}
# One of classes, one of two outputs a row and one with a parameter of its own; the other families by `make soak`.
SOME = ("categorical", "heteroscedastic-gaussian", "student-t")
SOME_FAMILIES = [name if name in SOME else pytest.param(name, marks=pytest.mark.soak) for name in FAMILIES]


class Dense(eqx.Module):
    """A symmetric matrix as an operator."""

    matrix: jax.Array

    @property
    def like(self):
        return jnp.zeros(len(self.matrix), self.matrix.dtype)

    def linearise(self):
        return lambda v: self.matrix @ v


def with_spectrum(eigenvalues: Sequence[float], seed: int = 0, dtype=np.float64) -> Dense:
    """A symmetric matrix of these eigenvalues with uniformly random eigenvectors."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))
    return Dense(jnp.asarray((q * np.asarray(eigenvalues)) @ q.T, dtype))


def target(family: Family, n: int, rng: np.random.Generator) -> np.ndarray:
    if family.name == "categorical":
        return rng.integers(0, 3, n)
    if family.name == "bernoulli":
        return rng.integers(0, 2, n)
    if family.name in ("poisson", "negative-binomial"):
        return rng.poisson(2.0, n)
    return rng.normal(size=n)


def landscape_of(
    family: Family, *, n: int = 20, d: int = 3, widths: tuple[int, ...] = (4,), activation=jax.nn.relu, seed: int = 0
) -> tuple[Landscape, jax.Array]:
    """A landscape and a random theta, biases and the likelihood's own parameters included; no widths: linear."""
    rng = np.random.default_rng(seed)
    k = family.n_outputs
    if widths:
        model = build(family, MLPNet, d, k, widths, activation)
    else:
        model = build(family, LinearNet, d, k)
    x = jnp.asarray(rng.normal(size=(n, d)))
    theta = jnp.asarray(0.5 * rng.normal(size=model.n_parameters))
    return Landscape(model, x, jnp.asarray(target(family, n, rng))), theta


def dense_hessian(landscape: Landscape, theta: jax.Array) -> np.ndarray:
    return np.asarray(_hessian(landscape, theta))


@jax.jit
def _hessian(landscape: Landscape, theta: jax.Array) -> jax.Array:
    return jax.hessian(landscape.loss)(theta)


def jacobians(landscape: Landscape, theta: jax.Array) -> np.ndarray:
    """(n, k + m, p) Jacobians of each row's outputs (eta, extras)."""
    return np.asarray(_jacobians(landscape, theta))


@jax.jit
def _jacobians(landscape: Landscape, theta: jax.Array) -> jax.Array:
    model = landscape.model

    def outputs(t):
        eta, extra = model.predict(t, landscape.x), model.extra(t)
        return jnp.concatenate([eta, jnp.broadcast_to(extra, (len(eta), extra.size))], axis=1)

    return jax.jacrev(outputs)(theta)


def columns(operator: Operator) -> np.ndarray:
    """(p, p) the operator's matrix, by its products with the basis vectors."""
    return np.asarray(_columns(operator))


@jax.jit
def _columns(operator: Operator) -> jax.Array:
    return jax.vmap(operator.linearise(), out_axes=1)(jnp.eye(operator.like.size))
