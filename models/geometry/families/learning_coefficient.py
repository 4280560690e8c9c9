"""The local learning coefficient and WBIC: how fast the likelihood falls off around theta, singular minima included.

    lambda(theta) = n beta (E[L(w)] - L(theta)),   w ~ p(w) prop. exp(-n beta L(w) - gamma/2 |w - theta|^2)

with L the MEAN negative log-likelihood and n beta = n / log n (Lau et al. 2023, "The local learning coefficient",
section 4; Watanabe 2013). At a regular minimum it is p/2, less what the localisation holds back: on a quadratic with
eigenvalues h it is 1/2 sum n beta h / (n beta h + gamma). A minimum whose neighbourhood is degenerate has less.

The expectation is over Markov chains that start at theta, and its standard error is their Monte Carlo error. Where the
chains disagree, a trajectory diverged, or a check of the sampler fails that it has not come round, there is no value.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from models.diagnostics.convergence import convergence, mcse_mean
from models.geometry.definition import Definition, Estimate, NotApplicableError, Point
from models.geometry.families.local_posterior import TARGET_HMC, TARGET_MALA, Trace, hamiltonian, langevin
from models.geometry.landscape import Landscape
from models.joint.model import Model, log_prior
from models.spec.settings import MOST, Count, Positive, Settings

MAX_R_HAT = 1.05
MIN_ESS = 100.0
MAX_Z = 3.0  # of a difference that is 0 but for the Monte Carlo error
PARTS = ("", "r_hat", "ess", "divergences", "step_sizes", "virial")


class Chains(Settings):
    """The Metropolis-adjusted chains.

    Attributes:
        sampler: "hmc", or "mala", which is HMC with one leapfrog step: cheaper, but no sampler for valleys that are
            degenerate and whose walls are steep, such as x^4's (Roberts and Tweedie 1996), where it mostly has no
            value: one step seldom diverges where it is too long, but the virial is off.
        chains: at least 2, or nothing could disagree.
        draws: of each chain after `warmup`, and as many again at half the step for a check, at twice their cost.
        max_leapfrog: a transition of HMC takes 1 to so many leapfrog steps, each a gradient over all rows.
    """

    sampler: Literal["hmc", "mala"] = "hmc"
    chains: Annotated[int, Field(ge=2, le=MOST)] = 4
    warmup: Count = 500
    draws: Annotated[int, Field(ge=4, le=MOST)] = 500
    max_leapfrog: Count = 32


class LocalChains(Chains):
    """The chains around theta.

    Attributes:
        sampler: "sgld" takes one gradient over `batch_size` random rows in place of a transition, and rejects nothing:
            its bias grows with `step_size` and is not in the standard error, and there is no value only where the
            checks show it. The loss is still over all rows.
        gamma: strength of the localisation.
        n_beta: inverse temperature; None is n / log n.
        step_size: of SGLD, squared length of its noise in units of the localisation.
    """

    sampler: Literal["hmc", "mala", "sgld"] = "hmc"  # pyright: ignore[reportIncompatibleVariableOverride]
    gamma: Positive = 1.0
    n_beta: Positive | None = None
    step_size: Positive = 1e-4
    batch_size: Count = 64


# --- judging the chains -----------------------------------------------------------------------------------------------


def judged(trace: Trace, factor: float, baseline: float) -> Estimate:
    """Factor times (mean of the trace - baseline), R-hat, effective sample size and divergences, with standard errors.

    R-hat is the worse of the trace's and of the squared distances' from the start: chains that have not come round a
    singular minimum agree about the loss long before they agree about how far they have strayed, and their mean is then
    too low. Where trajectories diverged, the step was too long for a part of the space, such as the narrow neck of a
    valley: all chains keep out of it alike, agree, and have a mean that is too low; so there is none (Betancourt 2017,
    section 6.2). Nor is there where one of two checks is off by more than `MAX_Z` of its errors, in either direction:
    "step_sizes", the larger difference of the trace's and the distances' means between the full and half of the step;
    and "virial", the larger mean of the virials at the two, which is 0 unless the chains are held out of a part of the
    space or still drift. The mean's error is sd / sqrt(ESS), at the full step. Those of R-hat and ESS are by the
    jackknife over chains; a check counts in its own errors, and so has an error of 1.
    """
    values, distances, virials = (_stacked(pair) for pair in zip(trace.full, trace.half, strict=True))
    both = np.stack([values[..., 0], distances[..., 0]], axis=2)
    chains = len(values)

    def diagnose(some: np.ndarray) -> np.ndarray:
        found = convergence(some)
        return np.array([np.max(found.r_hat), found.ess_bulk[0] * chains / len(some)])

    r_hat, ess = diagnose(both)
    with np.errstate(invalid="ignore", divide="ignore"):
        without = np.stack([diagnose(np.delete(both, i, axis=0)) for i in range(chains)])
        errors = np.sqrt((chains - 1) * np.var(without, axis=0))
        step_sizes = np.max([_difference(values), _difference(distances)])
        virial = np.max(np.abs(_means(virials)) / mcse_mean(virials))
    divergences = int(np.sum(trace.divergences))
    checked = divergences == 0 and step_sizes <= MAX_Z and virial <= MAX_Z
    agree = r_hat <= MAX_R_HAT and ess >= MIN_ESS and checked
    mean = factor * (_means(values)[0] - baseline) if agree else math.nan
    return Estimate(
        np.array([mean, r_hat, ess, divergences, step_sizes, virial]),
        np.array([factor * mcse_mean(values)[0], *errors, 0.0, 1.0, 1.0]),
        int(trace.n_gradients),
    )


def _stacked(pair: tuple[Array, Array]) -> np.ndarray:
    """(chains, draws, 2) of the full step and half of it."""
    return np.stack([np.asarray(some, np.float64) for some in pair], axis=2)


def _means(draws: np.ndarray) -> np.ndarray:
    return np.mean(draws, axis=(0, 1))


def _difference(draws: np.ndarray) -> float:
    """How far the two means are apart, in errors of their difference."""
    full, half = _means(draws)
    return abs(full - half) / np.hypot(*mcse_mean(draws))


def _parts(point: Point, settings: Settings) -> tuple[str, ...]:
    del point, settings
    return PARTS


def _untraced(point: Point, settings: Settings) -> bool:
    """The diagnostics are NumPy's."""
    del point, settings
    return False


def _adjusted(
    density: Callable[[Array], tuple[Array, Array]], start: Array, key: PRNGKeyArray, settings: Chains
) -> Trace:
    one = settings.sampler == "mala"
    return hamiltonian(
        density,
        start,
        key,
        chains=settings.chains,
        warmup=settings.warmup,
        draws=settings.draws,
        max_leapfrog=1 if one else settings.max_leapfrog,
        target=TARGET_MALA if one else TARGET_HMC,
    )


# --- the local learning coefficient -----------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="model")
def natural_scales(model: Model, theta: Float[Array, " p"]) -> Float[Array, " p"]:
    """The size s_i > 0 of each parameter that moves with it when layers are rescaled.

    A weight has the root mean square of its layer's weights. A bias has the size of the numbers it is added to on
    inputs of unit size: the product of sqrt(fan-in) times that root mean square over the layers so far. The
    likelihood's own parameters have 1. Multiplying what feeds a layer by a and dividing what reads it by a therefore
    multiplies w, b and their s alike.
    """
    parts, signal = [], jnp.ones((), theta.dtype)
    for leaf in model.leaves:
        if not model.is_bias[leaf.start]:
            size = jnp.sqrt(jnp.mean(jnp.square(theta[leaf.start : leaf.stop])))
            signal = signal * size * math.sqrt(model.fan_in[leaf.start])
        else:
            size = signal
        parts.append(jnp.full(leaf.stop - leaf.start, size, theta.dtype))
    return jnp.concatenate([*parts, jnp.ones(len(model.family.extras), theta.dtype)])


@partial(jax.jit, static_argnames="settings")
def _local_losses(
    landscape: Landscape, theta: Array, scales: Array, n_beta: Array, key: PRNGKeyArray, settings: LocalChains
) -> tuple[Trace, Array]:
    """Losses over all rows along the chains in u = (w - theta) / s, and at theta."""
    gamma = settings.gamma
    start = jnp.zeros_like(theta)

    def loss(u: Array) -> Array:
        return landscape.loss(theta + scales * u)

    def density(u: Array) -> tuple[Array, Array]:
        value = loss(u)
        return -n_beta * value - 0.5 * gamma * u @ u, value

    def drift(u: Array, key: PRNGKeyArray) -> Array:
        rows = jax.random.randint(key, (min(settings.batch_size, len(landscape.x)),), 0, len(landscape.x))
        batch = Landscape(landscape.model, landscape.x[rows], landscape.y[rows])
        return -n_beta * jax.grad(lambda u: batch.loss(theta + scales * u))(u) - gamma * u

    if settings.sampler == "sgld":
        trace = langevin(
            drift,
            loss,
            start,
            key,
            chains=settings.chains,
            warmup=settings.warmup,
            draws=settings.draws,
            step_size=settings.step_size,
        )
    else:
        trace = _adjusted(density, start, key, settings)
    return trace, loss(start)


def _coefficient(point: Point, settings: LocalChains, scales: Float[Array, " p"]) -> Estimate:
    n_beta = settings.n_beta or _tempered(point)
    theta = point.theta
    trace, baseline = _local_losses(
        point.landscape, theta, scales, jnp.asarray(n_beta, theta.dtype), point.key, settings
    )
    return judged(trace, n_beta, float(baseline))


def _tempered(point: Point) -> float:
    """The inverse temperature n / log n of the mean loss."""
    n = len(point.landscape.x)
    if n < 2:
        raise NotApplicableError("the temperature log n needs at least 2 rows: set n_beta, or give more rows")
    return n / math.log(n)


def _scaled(point: Point, settings: LocalChains) -> Estimate:
    """The coefficient with |w - theta|^2 read as sum ((w_i - theta_i) / s_i)^2, s by `natural_scales`.

    Localisation and chains then live in coordinates that rescaling homogeneous layers leaves alone: gamma = 1 lets a
    weight stray by its layer's root mean square where the data do not hold it. Negative values are results: theta is
    no minimum, and the chains found lower losses. A layer of zeros has no size, and there is no value.
    """
    scales = natural_scales(point.landscape.model, point.theta)
    return _coefficient(point, settings, jnp.where(jnp.all(scales > 0), scales, jnp.nan))


def _isotropic(point: Point, settings: LocalChains) -> Estimate:
    """The coefficient as published, with the Euclidean |w - theta|^2: a rescaled net has other neighbours."""
    return _coefficient(point, settings, jnp.ones_like(point.theta))


# --- WBIC -------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="settings")
def _prior_losses(
    landscape: Landscape,
    theta: Array,
    scales: Array,
    centre: Array | np.ndarray,
    n_beta: Array,
    key: PRNGKeyArray,
    settings: Chains,
) -> Trace:
    """Losses along chains from theta in u = w / s, s the prior's scales."""

    def density(u: Array) -> tuple[Array, Array]:
        value = landscape.loss(scales * u)
        return -n_beta * value + log_prior(scales * u, scales, jnp.asarray(centre)), value

    return _adjusted(density, theta / scales, key, settings)


def _wbic(point: Point, settings: Chains) -> Estimate:
    """E[n L(w)] under exp(-beta n L(w)) prior(w) with beta = 1 / log n: a SUM over rows, in nats (Watanabe 2013).

    It approaches the negative log evidence. The chains start at theta, so in a net it is that of theta's mode where
    they do not leave it.
    """
    theta, n = point.theta, len(point.landscape.x)
    if not np.all(np.isfinite(point.scales)):
        raise NotApplicableError("WBIC is an expectation under the prior: it needs a proper one, and this is flat")
    scales = jnp.asarray(point.scales, theta.dtype)
    n_beta = jnp.asarray(_tempered(point), theta.dtype)
    return judged(
        _prior_losses(point.landscape, theta, scales, point.centre, n_beta, point.key, settings), float(n), 0.0
    )


DEFINITIONS = (
    Definition(
        "learning_coefficient",
        "bayesian",
        "local learning coefficient: half the number of parameters that matter near theta, in each layer's own units",
        _scaled,
        "rescaling",
        "more complex",
        LocalChains,
        components=_parts,
        traced=_untraced,
    ),
    Definition(
        "learning_coefficient_isotropic",
        "bayesian",
        "local learning coefficient with the Euclidean localisation of Lau et al.",
        _isotropic,
        "permutation",
        "more complex",
        LocalChains,
        components=_parts,
        traced=_untraced,
    ),
    Definition(
        "wbic",
        "bayesian",
        "widely applicable Bayesian information criterion: about the negative log evidence, in nats, summed over rows",
        _wbic,
        "permutation",
        "more complex",
        Chains,
        components=_parts,
        traced=_untraced,
    ),
)
