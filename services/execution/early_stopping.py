"""Early stopping across a sweep: configurations that fall behind at a rung are stopped, all of their runs together.

Rungs and choices are `models.fitting.halving`'s. The losses at the rungs are kept beside the sweep, so that a driver
that is killed, or a later command, comes to the same choices without training anything again.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

import polars as pl

from cluster.executor import Executor
from cluster.packing import Item
from cluster.resources import Resources
from cluster.work import Lost
from models.fitting.halving import (
    Halving,
    RungReached,
    bracket_of,
    configuration_of,
    decide,
    mean_loss,
    reason,
    rungs,
    stopped,
    takes_part,
)
from models.fitting.rung import RungRequest, fit_to_rung
from models.runs.events import Result
from models.runs.result import RunRequest, failure
from services.execution.rung_losses import RungLosses
from services.execution.runner import OnEvent, execute, keep
from services.store.store import Store
from services.store.writer import Writer
from services.sweeps.plan import Plan


@dataclass
class Stopping:
    """What early stopping made of a sweep's missing runs.

    Attributes:
        stopped: keys of those that are not to be fitted, stopped now or before.
        failed: reasons, by key, of those that could not be trained up to a rung.
    """

    stopped: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class _Bracket:
    """Configurations that compete.

    Attributes:
        alive: the requests of each configuration that goes on, by its key.
    """

    epochs: int
    rungs: tuple[int, ...]
    alive: dict[str, list[RunRequest]] = field(default_factory=dict)

    def requests(self) -> Iterator[RunRequest]:
        for runs in self.alive.values():
            yield from runs

    def drop(self, rung: int, losses: Mapping[str, float], halving: Halving) -> Iterator[tuple[RunRequest, str]]:
        """Leave those that go on from a rung; yields the runs of the others, each with the reason."""
        of_each = {key: [losses[run.run_key] for run in runs] for key, runs in self.alive.items()}
        kept = decide(of_each, halving)
        for key in self.alive.keys() - kept:
            why = reason(mean_loss(of_each[key]), rung, self.epochs, len(kept), len(of_each))
            yield from ((run, why) for run in self.alive[key])
        self.alive = {key: runs for key, runs in self.alive.items() if key in kept}


def stop_hopeless(
    plan: Plan, missing: pl.DataFrame, writer: Writer, executor: Executor, on_event: OnEvent, resources: Resources
) -> Stopping:
    """Train what takes part from rung to rung, and store as stopped the runs of configurations that fall behind.

    The survivors have checkpoints, from which their fits go on.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    halving, sweep = plan.sweep.early_stopping, plan.sweep.name
    assert halving is not None
    brackets = _brackets(plan.requests(), halving)
    unfinished = set(missing["run_key"])
    before = _stopped_before(writer, unfinished)
    known = RungLosses(writer, sweep)
    outcome = Stopping()

    def climb(run_keys: Iterable[str], rung_of: Mapping[str, int]) -> dict[str, RungReached]:
        """Train runs to their rungs, from where they are; those that cannot be are stored as failed."""
        reached = {}
        lacking = missing.filter(pl.col("run_key").is_in(list(run_keys)))
        items = _to_rungs(plan.items(lacking, resources), rung_of)
        with closing(execute(items, plan.datasets, writer, executor, fit_to_rung)) as events:
            for item, event in events:
                key = event.run_key
                if isinstance(event, Lost):
                    event = Result(key, failure(key, event.reason))
                if isinstance(event, Result) and isinstance(event.value, RungReached):
                    reached[key] = event.value
                    known.note(key, event.value.epochs, event.value.loss)
                    continue  # it goes on, or is told of when it is stopped
                if isinstance(event, Result):
                    keep(event.value, item.payload.run, plan.datasets, writer, sweep)
                    outcome.failed[key] = event.value.error or "no reason was given"
                    known.note(key, rung_of[key], float("inf"))
                on_event(event)
        return reached

    for i in range(max((len(bracket.rungs) for bracket in brackets), default=0)):
        climbing = [bracket for bracket in brackets if i < len(bracket.rungs) and len(bracket.alive) > 1]
        rung_of = {run.run_key: b.rungs[i] for b in climbing for run in b.requests()}
        known.read_curves({key: rung for key, rung in rung_of.items() if key not in unfinished})
        reached = climb([key for key, rung in rung_of.items() if not known.has(key, rung)], rung_of)
        known.save()
        behind = [
            (run, why)
            for bracket in climbing
            for run, why in bracket.drop(bracket.rungs[i], known.losses(bracket.requests(), bracket.rungs[i]), halving)
            if run.run_key in unfinished and run.run_key not in outcome.failed
        ]
        outcome.stopped |= {run.run_key for run, _ in behind}
        untold = []
        for run, why in behind:
            if run.run_key in before:
                on_event(Result(run.run_key, replace(failure(run.run_key, why), status="stopped")))
            else:
                untold.append((run, why))
        # A driver that was cut off here knew their losses, and what they reached only they know.
        reached |= climb([run.run_key for run, _ in untold if run.run_key not in reached], rung_of)
        for run, why in untold:
            if run.run_key in reached:
                result = stopped(run, reached[run.run_key], why)
                keep(result, run, plan.datasets, writer, sweep)
                on_event(Result(run.run_key, result))
    return outcome


def _brackets(requests: Iterable[RunRequest], halving: Halving) -> list[_Bracket]:
    found: dict[object, _Bracket] = {}
    for request in requests:
        if takes_part(request, halving):
            name = bracket_of(request)
            bracket = found.setdefault(name, _Bracket(name.epochs, rungs(halving, name.epochs)))
            bracket.alive.setdefault(configuration_of(request), []).append(request)
    return list(found.values())


def _to_rungs(items: Iterator[Item], rung_of: Mapping[str, int]) -> Iterator[Item]:
    for item in items:
        rung = rung_of[item.run_key]
        yield replace(item, payload=RungRequest(item.payload, rung), program=f"to epoch {rung}: {item.program}")


def _stopped_before(store: Store, run_keys: Iterable[str]) -> set[str]:
    runs = store.runs().filter(pl.col("status") == "stopped", pl.col("run_key").is_in(list(run_keys)))
    return set(store.collect(runs.select("run_key"))["run_key"])
