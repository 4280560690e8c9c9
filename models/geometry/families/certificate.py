"""A PAC-Bayes bound on the error of classifiers drawn from a Gaussian over the weights, and the Gaussian for it.

Dziugaite and Roy (2017), section 3, with Maurer's (2004) constant. The rows are taken as independent draws.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from models.geometry.families.kl import gaussian_kl, inverse_binary_kl
from models.geometry.families.margins import training_error
from models.geometry.landscape import Landscape

# The prior's variance is c exp(-j / b) for j = 1, 2, ...: c above the variance of any weights that were sensibly
# initialised, b for steps of one per cent.
C, B = 100.0, 100.0
# Of delta, what the Monte Carlo estimate of the Gibbs error may spend.
MONTE_CARLO_SHARE = 0.2


class Gaussian(NamedTuple):
    """Q = N(mean, diag exp(2 log_sd)) over the predictor's w weights."""

    mean: Float[Array, " w"]
    log_sd: Float[Array, " w"]

    def draw(self, key: PRNGKeyArray) -> Float[Array, " w"]:
        """One net's weights."""
        return self.mean + jnp.exp(self.log_sd) * jax.random.normal(key, self.mean.shape, self.mean.dtype)


def prior_variance(j: Float[Array, ""]) -> Float[Array, ""]:
    """The j-th variance that the prior may have."""
    return C * jnp.exp(-j / B)


def complexity(
    shift: Float[Array, " w"], log_sd: Float[Array, " w"], j: Float[Array, ""], n_rows: int, delta: float
) -> Float[Array, ""]:
    """(KL(Q || P_j) + ln(2 sqrt n / delta_j)) / n; P_j = N(prior mean, c exp(-j / b) I), delta_j = 6 delta / (pi j)^2.

    Maurer (2004), theorem 5, with the union bound over j of Dziugaite and Roy (2017), section 3.1. With probability
    1 - delta over n independent rows, kl(training error of Q || error of Q) is at most this for all Q and j at once.
    """
    divergence = gaussian_kl(shift, log_sd, prior_variance(j))
    surprise = math.log(2.0 * math.sqrt(n_rows) / delta) + math.log(math.pi**2 / 6.0) + 2.0 * jnp.log(j)
    return (divergence + surprise) / n_rows


def _best_prior(shift: Float[Array, " w"], log_sd: Float[Array, " w"]) -> Float[Array, ""]:
    """The real j >= 1 whose variance minimises the KL: the mean of shift^2 + sd^2."""
    variance = jnp.mean(jnp.square(shift) + jnp.exp(2.0 * log_sd))
    return jnp.maximum(B * jnp.log(C / variance), 1.0)


def optimise_posterior(
    landscape: Landscape,
    start: Gaussian,
    prior_mean: Float[Array, " w"],
    key: PRNGKeyArray,
    steps: int,
    learning_rate: float,
    delta: float,
) -> Gaussian:
    """Minimise E_Q[loss] / ln 2 + sqrt(complexity / 2) over Q by Adam, one draw of Q a step.

    Dziugaite and Roy (2017), section 3.2; loss / ln 2 is at least the error for any number of classes. The prior's
    variance is the best one for Q throughout, in place of a parameter of its own.
    """

    def objective(q: Gaussian, key: PRNGKeyArray) -> Array:
        shift = q.mean - prior_mean
        j = _best_prior(shift, q.log_sd)
        penalty = complexity(shift, q.log_sd, j, len(landscape.x), delta)
        return landscape.loss(q.draw(key)) / math.log(2.0) + jnp.sqrt(0.5 * penalty)

    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def step(i: Array, carry: tuple[Gaussian, optax.OptState]) -> tuple[Gaussian, optax.OptState]:
        q, state = carry
        updates, state = optimiser.update(jax.grad(objective)(q, jax.random.fold_in(key, i)), state)
        return optax.apply_updates(q, updates), state  # pyright: ignore[reportReturnType]

    q, _ = jax.lax.fori_loop(0, steps, step, (start, optimiser.init(start)))  # pyright: ignore[reportArgumentType]
    return q


class Certificate(NamedTuple):
    """An upper bound on the error of Q, KL(Q || P) in nats, and the mean training error of the nets drawn from Q."""

    bound: Float[Array, ""]
    divergence: Float[Array, ""]
    empirical: Float[Array, ""]


def certify(
    landscape: Landscape, q: Gaussian, prior_mean: Float[Array, " w"], key: PRNGKeyArray, *, samples: int, delta: float
) -> Certificate:
    """Bound the error of nets drawn from Q, with probability 1 - delta over the n rows and the `samples` draws.

        error of Q <= kl^-1(kl^-1(mean training error of the draws | ln(2 / delta') / samples) | complexity),

    where delta' is a fifth of delta and the complexity has the rest (Langford and Caruana 2002; Dziugaite and Roy 2017,
    section 3.3). Q may depend on the rows, the prior's mean may not.
    """
    monte_carlo = MONTE_CARLO_SHARE * delta
    keys = jax.random.split(key, samples)
    empirical = jnp.mean(jax.lax.map(lambda k: training_error(landscape, q.draw(k)), keys))
    on_all_rows = inverse_binary_kl(empirical, math.log(2.0 / monte_carlo) / samples)
    shift = q.mean - prior_mean
    best = _best_prior(shift, q.log_sd)
    tried = jnp.stack([jnp.floor(best), jnp.ceil(best)])
    allowed = jax.vmap(lambda j: complexity(shift, q.log_sd, j, len(landscape.x), delta - monte_carlo))(tried)
    divergence = gaussian_kl(shift, q.log_sd, prior_variance(tried[jnp.argmin(allowed)]))
    return Certificate(inverse_binary_kl(on_all_rows, jnp.min(allowed)), divergence, empirical)
