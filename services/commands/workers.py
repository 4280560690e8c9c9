"""Wiring: what every command that computes needs: an environment for JAX, a store to write to, workers."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.console import Console

from cluster.resources import Resources, apply_environment
from services.errors import ServiceError
from services.execution.interrupts import terminable
from services.settings import settings

if TYPE_CHECKING:
    from cluster.executor import Executor
    from cluster.work import Lost
    from models.runs.events import Event
    from services.execution.status import Doing
    from services.execution.tally import Tally
    from services.store.store import Store
    from services.store.writer import Writer


@dataclass(frozen=True)
class Workplace:
    """Where a command computes, and where it keeps things.

    Attributes:
        workers: Ray actors; 0 works in this process; None is one for each core and missing run.
        address: of a Ray cluster; None starts one on this machine.
        resources: what a net's run asks of a worker.
    """

    store: str
    cache: Path
    workers: int | None
    address: str | None
    resources: Resources


class Crew(NamedTuple):
    """Who does the work, and who is told of it."""

    executor: "Executor"
    on_event: "Callable[[Event | Lost], None]"
    n_workers: int
    tally: "Tally"


def workplace(store: str | None, workers: int | None, gpus: float | None, address: str | None) -> Workplace:
    """Options over environment variables. It sets JAX's environment, so JAX must not have been imported before.

    Raises:
        ServiceError: options that contradict each other, or a cache folder that cannot be made.
    """
    environment = settings()
    if address and workers == 0:
        raise ServiceError(
            "--workers 0 works in this process, so no cluster is asked: leave --address or --workers out"
        )
    try:
        resources = Resources(gpus=gpus or 0.0)
    except ValueError as error:
        raise ServiceError(f"--gpus: {error}") from None
    _make_cache(environment.cache)
    # Workers have devices of their own: this process takes one only where it does the work.
    apply_environment(resources if workers == 0 else Resources(), environment.cache)
    return Workplace(store or environment.store, environment.cache, workers, address or environment.address, resources)


def _make_cache(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"cannot make the cache folder {path}: {error.strerror}; name another one by BASIN_CACHE"
        ) from error


def check_idle_at_once(place: Workplace, sweep: str) -> None:
    """Say that another command is at this sweep before anything is read or waited for, where there is a store at all.

    Raises:
        ServiceError: one is.
    """
    from services.execution.status import check_idle
    from services.store.location import exists
    from services.store.store import Store

    if exists(place.store):
        check_idle(Store(place.store), sweep)


@contextmanager
def store_of(place: Workplace, sweep: str) -> "Iterator[Writer]":
    """Open the store for writing once no other command is at this sweep, and say which of its runs were damaged.

    Raises:
        StoreError: as `services.store.writer.writing` does.
    """
    from services.execution.turns import turn
    from services.store.writer import writing

    def tell_waiting() -> None:
        tell(
            f"waiting for another command at sweep {sweep!r}: what it stores is not fitted again (Ctrl-C ends this one)"
        )

    with turn(place.store, sweep, tell_waiting), writing(place.store) as writer:
        for name in writer.set_aside:
            warn(f"the stored run {name} was damaged: it is in {place.store}/damaged now, and is fitted again")
        yield writer


@contextmanager
def crew(place: Workplace, waiting: Mapping[str, str]) -> Iterator[Crew]:
    """Workers for what is waiting, in words by its key, and its progress on stderr. Nothing waiting starts no Ray.

    Raises:
        ClusterError: no worker can be had.
        Abort: after Ctrl-C, with what is kept.
    """
    from services.commands.progress import ProgressView

    n_workers = place.workers if place.workers is not None else min(os.cpu_count() or 1, max(1, len(waiting)))
    # FORCE_COLOR, which notebooks and some CI set, asks for colours and not for bars that are drawn over and over.
    console = Console(stderr=True, force_terminal=sys.stderr.isatty())
    view = ProgressView(waiting, console, gpus=place.resources.gpus)
    with _executor(place, n_workers if waiting else 0) as executor, terminable(), view:
        try:
            yield Crew(executor, view.consume, max(1, n_workers), view.tally)
        except KeyboardInterrupt:
            raise typer.Abort(
                f"interrupted: finished runs are kept in {place.store}; the same command goes on from here"
            ) from None


@contextmanager
def attend(
    store: "Store", sweep: str, runs: int, reused: int, crew: Crew, doing: "Doing" = "fitting"
) -> Iterator[None]:
    """Let others see how the sweep stands while the block runs, and stop it.

    Raises:
        Abort: it was asked to stop.
    """
    from services.execution.status import StoppedError, attended

    try:
        with attended(store, sweep, runs, reused, crew.tally, doing):
            yield
    except StoppedError as stopped:
        raise typer.Abort(str(stopped)) from None


def _executor(place: Workplace, n_workers: int) -> "Executor":
    seconds = 3600 * settings().run_hours
    if n_workers:
        from cluster.ray_executor import RayExecutor

        return RayExecutor(n_workers, place.address, place.cache, seconds=seconds)
    from cluster.executor import InProcessExecutor

    return InProcessExecutor(seconds=seconds)


def again(**options: str | None) -> str:
    """Options as the person gave them, for a command that is named to them as the next one."""
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in options.items() if value)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    tell(f"warning: {text}")


def tell(text: str) -> None:
    """Print on stderr, so that stdout holds the result alone; what a name may have in it moves no cursor."""
    from services.rendering.formatting import printable

    text = "\n".join(map(printable, text.split("\n")))
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)
