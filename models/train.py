"""Training runs of one program: one after another on a CPU, side by side in fixed widths on an accelerator."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from models.inference.optimise import Data, Fit, Rates, Trainer, vmapped

# Lock-step width on an accelerator. Fixed, and padded to, so that a run's bits do not depend on its company.
WIDTH = 16
CHUNKS = 20


class Member(NamedTuple):
    """One run of a program: where it starts, its randomness, its scalars and its rows."""

    theta: Float[Array, " p"]
    key: PRNGKeyArray
    rates: Rates
    data: Data


def train(program: Trainer, members: Sequence[Member], epochs: int, on_epoch: Callable[[int, int], None]) -> list[Fit]:
    """Train every member; `on_epoch(member, epochs done)` is called about `CHUNKS` times for each.

    On a CPU the members share one compiled program and take turns: vmapping them brings nothing there, and each run's
    bits are its own. On an accelerator `WIDTH` of them advance in lock step, the last group padded with copies.
    """
    if jax.default_backend() == "cpu":
        return [_train_one(program, m, epochs, lambda e, i=i: on_epoch(i, e)) for i, m in enumerate(members)]
    fits: list[Fit] = []
    for start in range(0, len(members), WIDTH):
        group = list(members[start : start + WIDTH])
        padded = group + [group[-1]] * (WIDTH - len(group))
        stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *padded)

        def report(epoch: int, start: int = start, size: int = len(group)) -> None:
            for i in range(start, start + size):
                on_epoch(i, epoch)

        fit = _train_one(vmapped(program), stacked, epochs, report)
        fits += [jax.tree.map(lambda leaf, i=i: leaf[i], fit) for i in range(len(group))]
    return fits


def _train_one(program: Trainer, member: Member, epochs: int, on_epoch: Callable[[int], None]) -> Fit:
    rates = Rates(*(jnp.asarray(r) for r in member.rates))
    state = program.init(member.theta, rates)
    step = max(1, -(-epochs // CHUNKS))
    for limit in range(step, epochs + step, step):
        state = program.run(state, member.key, rates, member.data, min(limit, epochs))
        reached = int(jnp.max(state.epoch))
        on_epoch(reached)
        if reached < min(limit, epochs):  # every run has stopped early
            break
    return program.finish(state, rates)
