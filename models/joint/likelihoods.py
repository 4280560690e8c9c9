"""Likelihoods: the density of a target given natural parameters eta and the family's own parameters.

Each `Family` is a record of pure functions over n rows: eta is (n, k), `extra` is (m,), y is (n,). Log densities are in
nats, one per row (no reduction). Real targets are on the scale the caller standardised them to.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.special import betaln

from models.joint import counts, null
from models.joint.null import Null

Eta = Float[Array, "n k"]
Extra = Float[Array, " m"]
Target = Float[Array, " n"] | Int[Array, " n"]
Rows = Float[Array, " n"]


@dataclass(frozen=True)
class Family:
    """One likelihood.

    Attributes:
        n_outputs: k, the natural parameters per row.
        extras: names of the family's own parameters, unconstrained.
        log_density: (eta, extra, y) -> (n,) log p(y | eta, extra).
        mean: (eta, extra) -> (n,) E[y]; None for classes.
        probabilities: (eta, extra) -> (n, K) class probabilities; None unless the target is classes.
        sample: (key, eta, extra) -> (n,) one draw per row; None for classes.
        log_link: whether eta is the logarithm of the mean.
        null: y -> (k,) eta and (m,) extra of the null model, one distribution for all rows (see
        `models.joint.null`); None
            for a family that nothing is fitted by.
    """

    name: str
    n_outputs: int
    extras: tuple[str, ...]
    log_density: Callable[[Array, Array, Array], Array]
    mean: Callable[[Array, Array], Array] | None = None
    probabilities: Callable[[Array, Array], Array] | None = None
    sample: Callable[[PRNGKeyArray, Array, Array], Array] | None = None
    null: Callable[[np.ndarray], Null] | None = None
    log_link: bool = False


@functools.cache
def categorical(n_classes: int, *, reference: bool = False) -> Family:
    """p(y = c) = softmax(eta)_c; with `reference` eta has K - 1 columns and the first class's logit is 0."""

    def logits(eta: Eta) -> Float[Array, "n c"]:
        return jnp.pad(eta, ((0, 0), (1, 0))) if reference else eta

    def log_density(eta: Eta, extra: Extra, y: Int[Array, " n"]) -> Rows:
        del extra
        return jnp.take_along_axis(jax.nn.log_softmax(logits(eta)), y[:, None], axis=1)[:, 0]

    def probabilities(eta: Eta, extra: Extra) -> Float[Array, "n c"]:
        del extra
        return jax.nn.softmax(logits(eta))

    def start(y: np.ndarray) -> Null:
        return null.categorical(y, n_classes, reference=reference)

    return Family("categorical", n_classes - reference, (), log_density, null=start, probabilities=probabilities)


@functools.cache
def bernoulli() -> Family:
    """P(y = 1) = 1 / (1 + exp(-eta))."""

    def log_density(eta: Eta, extra: Extra, y: Int[Array, " n"]) -> Rows:
        del extra
        return jax.nn.log_sigmoid(jnp.where(y == 1, eta[:, 0], -eta[:, 0]))

    def probabilities(eta: Eta, extra: Extra) -> Float[Array, "n 2"]:
        del extra
        return jnp.stack([jax.nn.sigmoid(-eta[:, 0]), jax.nn.sigmoid(eta[:, 0])], axis=1)

    return Family("bernoulli", 1, (), log_density, null=null.bernoulli, probabilities=probabilities)


def _normal_log_density(y: Rows, mean: Rows, log_sigma: Array) -> Rows:
    return -0.5 * jnp.square((y - mean) * jnp.exp(-log_sigma)) - log_sigma - 0.5 * jnp.log(2.0 * jnp.pi)


@functools.cache
def gaussian() -> Family:
    """Y ~ N(eta, sigma^2), extra = (log sigma,)."""

    def sample(key: PRNGKeyArray, eta: Eta, extra: Extra) -> Rows:
        return eta[:, 0] + jnp.exp(extra[0]) * jax.random.normal(key, eta.shape[:1], eta.dtype)

    return Family(
        "gaussian",
        1,
        ("log_sigma",),
        lambda eta, extra, y: _normal_log_density(y, eta[:, 0], extra[0]),
        null=null.gaussian,
        mean=lambda eta, extra: eta[:, 0],
        sample=sample,
    )


@functools.cache
def heteroscedastic_gaussian() -> Family:
    """Y ~ N(eta_0, exp(eta_1)^2)."""

    def sample(key: PRNGKeyArray, eta: Eta, extra: Extra) -> Rows:
        del extra
        return eta[:, 0] + jnp.exp(eta[:, 1]) * jax.random.normal(key, eta.shape[:1], eta.dtype)

    return Family(
        "heteroscedastic-gaussian",
        2,
        (),
        lambda eta, extra, y: _normal_log_density(y, eta[:, 0], eta[:, 1]),
        null=null.heteroscedastic_gaussian,
        mean=lambda eta, extra: eta[:, 0],
        sample=sample,
    )


@functools.cache
def student_t(degrees: float) -> Family:
    """(y - eta) / sigma ~ Student's t with `degrees` of freedom, extra = (log sigma,)."""
    nu = float(degrees)
    # log Gamma((nu + 1) / 2) - log Gamma(nu / 2) - log(nu pi) / 2, which cancels where nu is large.
    constant = float(-betaln(nu / 2.0, 0.5) - 0.5 * np.log(nu))

    def log_density(eta: Eta, extra: Extra, y: Rows) -> Rows:
        z = (y - eta[:, 0]) * jnp.exp(-extra[0])
        return constant - extra[0] - (nu + 1.0) / 2.0 * jnp.log1p(jnp.square(z) / nu)

    def sample(key: PRNGKeyArray, eta: Eta, extra: Extra) -> Rows:
        return eta[:, 0] + jnp.exp(extra[0]) * jax.random.t(key, nu, eta.shape[:1], eta.dtype)

    return Family(
        "student-t",
        1,
        ("log_sigma",),
        log_density,
        null=lambda y: null.student_t(y, nu),
        mean=lambda eta, extra: eta[:, 0],
        sample=sample,
    )


@functools.cache
def poisson() -> Family:
    """Y ~ Poisson(exp(eta))."""

    def log_density(eta: Eta, extra: Extra, y: Int[Array, " n"]) -> Rows:
        del extra
        return counts.poisson_log_mass(y, eta[:, 0])

    def sample(key: PRNGKeyArray, eta: Eta, extra: Extra) -> Rows:
        del extra
        return jax.random.poisson(key, jnp.exp(eta[:, 0])).astype(eta.dtype)

    return Family(
        "poisson",
        1,
        (),
        log_density,
        null=null.poisson,
        mean=lambda eta, extra: jnp.exp(eta[:, 0]),
        sample=sample,
        log_link=True,
    )


@functools.cache
def negative_binomial() -> Family:
    """Y with mean mu = exp(eta) and variance mu + mu^2 / alpha (NB2), extra = (log alpha,).

    Cameron and Trivedi (2013), section 3.3.
    """

    def log_density(eta: Eta, extra: Extra, y: Int[Array, " n"]) -> Rows:
        return counts.negative_binomial_log_mass(y, eta[:, 0], extra[0])

    def sample(key: PRNGKeyArray, eta: Eta, extra: Extra) -> Rows:
        rate, count = jax.random.split(key)
        alpha = jnp.exp(counts.bounded(extra[0]))
        lam = jax.random.gamma(rate, alpha, eta.shape[:1], eta.dtype) * jnp.exp(eta[:, 0]) / alpha
        return jax.random.poisson(count, lam).astype(eta.dtype)

    return Family(
        "negative-binomial",
        1,
        ("log_alpha",),
        log_density,
        null=null.negative_binomial,
        mean=lambda eta, extra: jnp.exp(eta[:, 0]),
        sample=sample,
        log_link=True,
    )
