"""Training runs of one program: one after another on a CPU, side by side in fixed widths on an accelerator."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from models.inference.optimise import Data, Fit, Rates, State, Trainer, vmapped

# Lock-step width on an accelerator. Fixed, and padded to, so that a run's bits do not depend on its company.
WIDTH = 16
CHUNKS = 20

Report = Callable[[int, int, Callable[[], State]], None]
"""`report(member, epochs done, state)`: the state is fetched from the device where it is asked for."""


class Member(NamedTuple):
    """One run of a program: where it starts, its randomness, its scalars and its rows."""

    theta: Float[Array, " p"]
    key: PRNGKeyArray
    rates: Rates
    data: Data


def train(program: Trainer, members: Sequence[Member], epochs: int, on_epoch: Callable[[int, int], None]) -> list[Fit]:
    """Train every member to its end; `on_epoch(member, epochs done)` is called about `CHUNKS` times for each."""
    starts = [start(program, member) for member in members]
    states = advance(program, members, starts, epochs, lambda i, epoch, _: on_epoch(i, epoch))
    return [finish(program, member.rates, state) for member, state in zip(members, states, strict=True)]


def start(program: Trainer, member: Member) -> State:
    """The state before the first epoch."""
    return program.init(member.theta, _arrays(member.rates))


def finish(program: Trainer, rates: Rates, state: State) -> Fit:
    """What a member's training ended in."""
    return program.finish(state, _arrays(rates))


def advance(
    program: Trainer, members: Sequence[Member], states: Sequence[State], limit: int, report: Report
) -> list[State]:
    """Train every member on to epoch `limit`; `report` is called about `CHUNKS` times for each.

    On a CPU the members share one compiled program and take turns: vmapping them brings nothing there, and each run's
    bits are its own. On an accelerator `WIDTH` of them advance in lock step, the last group padded with copies; those
    that are ahead wait for the others. Neither where a member starts from nor `limit` changes a bit of its epochs.
    """
    if jax.default_backend() == "cpu":
        return [
            _advance(program, member, state, limit, functools.partial(_report_one, report, i))
            for i, (member, state) in enumerate(zip(members, states, strict=True))
        ]
    done: list[State] = []
    for first in range(0, len(members), WIDTH):
        group = list(zip(members, states, strict=True))[first : first + WIDTH]
        padded = group + [group[-1]] * (WIDTH - len(group))
        member, state = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *padded)
        lanes = functools.partial(_report_lanes, report, range(first, first + len(group)))
        state = jax.device_get(_advance(vmapped(program), member, state, limit, lanes))
        done += [_lane(state, i) for i in range(len(group))]
    return done


def _advance(program: Trainer, member: Member, state: State, limit: int, on_chunk: Callable[[State], None]) -> State:
    """One member, or a stack of them in lock step."""
    rates = _arrays(member.rates)
    reached = int(jnp.min(state.epoch))
    while reached < limit:
        reached = min(reached + -(-limit // CHUNKS), limit)
        state = program.run(state, member.key, rates, member.data, reached)
        on_chunk(state)
        if int(jnp.max(state.epoch)) < reached:  # every run has stopped early
            break
    return state


def _report_one(report: Report, i: int, state: State) -> None:
    report(i, int(state.epoch), lambda: state)


def _report_lanes(report: Report, members: Sequence[int], state: State) -> None:
    on_host = functools.cache(lambda: jax.device_get(state))
    for lane, (i, epoch) in enumerate(zip(members, np.asarray(state.epoch), strict=False)):
        report(i, int(epoch), lambda lane=lane: _lane(on_host(), lane))


def _lane(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _arrays(rates: Rates) -> Rates:
    return Rates(*(jnp.asarray(rate) for rate in rates))
