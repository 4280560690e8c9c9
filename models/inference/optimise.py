"""Stochastic gradient training: one compiled loop over epochs and steps, the same for every run of a pack.

Minimises L(theta) = mean_i NLL_i(theta) - log p(theta) / n + w / 2 * |weights - centre|^2, a mean over the n training
rows; w is the weight decay, and the centre that of the prior. Everything that may differ within a pack is an argument:
data, start, key, the prior's scales and centre, and `Rates`.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.joint.model import Model, log_prior

Optimiser = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "cosine", "plateau"]
Scalar = Array | float | int
CURVES = ("train_loss", "validation_loss", "learning_rate", "gradient_norm")


class Rates(NamedTuple):
    """Scalar settings, free to differ between runs of one program.

    Attributes:
        clip: largest Euclidean norm of a gradient; a longer one is scaled down to it.
        warmup: share of all steps during which a cosine schedule rises linearly.
        factor: what a plateau schedule multiplies the learning rate by.
        plateau: epochs without improvement before it does.
        patience: epochs without improvement before the run stops; 0 never stops.
    """

    learning_rate: Scalar
    momentum: Scalar = 0.9
    weight_decay: Scalar = 0.0
    dropout: Scalar = 0.0
    clip: Scalar = float("inf")
    warmup: Scalar = 0.0
    factor: Scalar = 0.1
    plateau: Scalar = 10
    patience: Scalar = 0


class Data(NamedTuple):
    """Training and validation rows, the prior's scales and its centre; float32 throughout."""

    x: Float[Array, "n d"]
    y: Array
    validation_x: Float[Array, "m d"]
    validation_y: Array
    scales: Float[Array, " p"]
    centre: Array | float = 0.0


class State(NamedTuple):
    """All that one run carries from epoch to epoch.

    Attributes:
        epoch: epochs done.
        best_theta, best_loss: parameters and loss of the best validation epoch.
        stale: epochs since the best; `plateau_stale` since the best or the last cut of the learning rate.
        factor: the plateau schedule's factor so far.
        curves: (epochs, 4) by `CURVES`; rows not reached are NaN.
    """

    theta: Float[Array, " p"]
    optimiser: Any
    epoch: Int[Array, ""]
    best_theta: Float[Array, " p"]
    best_loss: Float[Array, ""]
    stale: Int[Array, ""]
    plateau_stale: Int[Array, ""]
    factor: Float[Array, ""]
    diverged: Array
    curves: Float[Array, "e 4"]


class Fit(NamedTuple):
    """What training ends in: `theta` is the best validation epoch's with patience, else the last epoch's."""

    theta: Float[Array, " p"]
    epochs: Int[Array, ""]
    diverged: Array
    curves: Float[Array, "e 4"]


class Trainer(NamedTuple):
    """The functions of one program.

    `run` goes on to epoch `limit`, or stops earlier for want of improvement or because the loss is no longer finite.
    """

    init: Callable[[Array, Rates], State]
    run: Callable[[State, PRNGKeyArray, Rates, Data, Array | int], State]
    finish: Callable[[State, Rates], Fit]


def _transform(optimiser: Optimiser, rates: Rates) -> optax.GradientTransformation:
    """The direction before the learning rate: heavy-ball momentum, or Adam (Kingma and Ba 2015, algorithm 1)."""
    if optimiser == "sgd":
        return optax.trace(decay=rates.momentum)
    if optimiser == "adam":
        return optax.scale_by_adam()
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(rates.weight_decay))


@functools.lru_cache(maxsize=64)
def trainer(
    model: Model, *, optimiser: Optimiser, schedule: Schedule, epochs: int, batch_size: int, dropout: bool
) -> Trainer:
    """Build one program. Rows left over by `batch_size` sit an epoch out; each epoch shuffles afresh."""

    def objective(theta: Array, x: Array, y: Array, rates: Rates, data: Data, key: PRNGKeyArray) -> Array:
        if dropout:
            eta = model.predict_dropped(theta, x, jnp.asarray(rates.dropout), key)
        else:
            eta = model.predict(theta, x)
        nll = -jnp.mean(model.family.log_density(eta, model.extra(theta), y))
        loss = nll - log_prior(theta, data.scales, data.centre) / len(data.x)
        if optimiser != "adamw":
            loss += 0.5 * rates.weight_decay * jnp.sum(jnp.square((theta - data.centre)[: model.n_weights]))
        return loss

    def learning_rate(step: Array, n_steps: int, rates: Rates, factor: Array) -> Array:
        if schedule == "constant":
            return jnp.asarray(rates.learning_rate)
        if schedule == "plateau":
            return rates.learning_rate * factor
        warm = rates.warmup * n_steps
        rising = (step + 1.0) / jnp.maximum(warm, 1.0)
        falling = 0.5 * (1.0 + jnp.cos(jnp.pi * (step - warm) / jnp.maximum(n_steps - warm, 1.0)))
        return rates.learning_rate * jnp.where(step < warm, rising, falling)

    def init(theta: Array, rates: Rates) -> State:
        zero = jnp.zeros((), jnp.int32)
        return State(
            theta=theta,
            optimiser=_transform(optimiser, rates).init(theta),
            epoch=zero,
            best_theta=theta,
            best_loss=jnp.full((), jnp.inf, theta.dtype),
            stale=zero,
            plateau_stale=zero,
            factor=jnp.ones((), theta.dtype),
            diverged=jnp.zeros((), bool),
            curves=jnp.full((epochs, len(CURVES)), jnp.nan, theta.dtype),
        )

    def one_epoch(state: State, key: PRNGKeyArray, rates: Rates, data: Data) -> State:
        n = len(data.x)
        size = min(batch_size, n)
        per_epoch = n // size
        shuffle, masks = jax.random.split(jax.random.fold_in(key, state.epoch))
        batches = jax.random.permutation(shuffle, n)[: per_epoch * size].reshape(per_epoch, size)
        transform = _transform(optimiser, rates)

        def step(carry: tuple[Array, Any], inputs: tuple[Array, Array]) -> tuple[tuple[Array, Any], Array]:
            theta, inner = carry
            i, rows = inputs
            loss, gradient = jax.value_and_grad(objective)(
                theta, data.x[rows], data.y[rows], rates, data, jax.random.fold_in(masks, i)
            )
            size = jnp.linalg.norm(gradient)
            gradient *= jnp.minimum(1.0, rates.clip / size)
            direction, inner = transform.update(gradient, inner, theta - data.centre)
            rate = learning_rate(state.epoch * per_epoch + i, epochs * per_epoch, rates, state.factor)
            theta = theta - rate * jnp.asarray(direction)
            return (theta, inner), jnp.stack([loss, rate, size])

        (theta, inner), rows = jax.lax.scan(step, (state.theta, state.optimiser), (jnp.arange(per_epoch), batches))
        train_loss, _, gradient_norm = jnp.mean(rows, axis=0)
        validation_loss = model.loss(theta, data.validation_x, data.validation_y)
        better = validation_loss < state.best_loss
        cut = ~better & (state.plateau_stale + 1 >= rates.plateau)
        row = jnp.stack([train_loss, validation_loss, rows[-1, 1], gradient_norm])
        return State(
            theta=theta,
            optimiser=inner,
            epoch=state.epoch + 1,
            best_theta=jnp.where(better, theta, state.best_theta),
            best_loss=jnp.where(better, validation_loss, state.best_loss),
            stale=jnp.where(better, 0, state.stale + 1),
            plateau_stale=jnp.where(better | cut, 0, state.plateau_stale + 1),
            factor=jnp.where(cut, state.factor * rates.factor, state.factor),
            diverged=~(jnp.isfinite(train_loss) & jnp.all(jnp.isfinite(theta))),
            curves=state.curves.at[state.epoch].set(row),
        )

    def run(state: State, key: PRNGKeyArray, rates: Rates, data: Data, limit: Array | int) -> State:
        def goes_on(state: State) -> Array:
            waiting = (rates.patience == 0) | (state.stale < rates.patience)
            return (state.epoch < limit) & waiting & ~state.diverged

        return jax.lax.while_loop(goes_on, lambda s: one_epoch(s, key, rates, data), state)

    def finish(state: State, rates: Rates) -> Fit:
        theta = jnp.where(rates.patience > 0, state.best_theta, state.theta)
        return Fit(theta, state.epoch, state.diverged, state.curves)

    return Trainer(jax.jit(init), jax.jit(run), jax.jit(finish))


@functools.lru_cache(maxsize=64)
def vmapped(one: Trainer) -> Trainer:
    """The same program over a leading axis of runs in lock step: what wins on a GPU."""
    return Trainer(
        jax.jit(jax.vmap(one.init)),
        jax.jit(jax.vmap(one.run, in_axes=(0, 0, 0, 0, None))),
        jax.jit(jax.vmap(one.finish)),
    )
