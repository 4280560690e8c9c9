"""Packs on Ray actors: placing, streaming, and going on when an actor dies."""

import heapq
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError

from cluster.errors import ClusterError
from cluster.executor import Arrays, Lost, Work, check, checkpoints_of, one_line
from cluster.packing import Item, Pack
from cluster.resources import Resources, worker_environment
from cluster.runtime import connect
from cluster.worker import Worker
from models.events import Checkpoint, Event, Result

_LOOK_SECONDS = 2.0  # how often the cluster is looked at anew, while runs wait for a worker


@dataclass(eq=False)
class _Actor:
    """A worker that is starting, idle (`waits_on` is None) or busy with a pack, some of whose runs are unfinished."""

    handle: Any
    resources: Resources
    waits_on: Any
    started: bool = False
    unfinished: dict[str, Item] = field(default_factory=dict)


class _Plan:
    """What is left to do, what its runs last saved, and how many workers died of each."""

    def __init__(
        self, packs: Iterable[Pack], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays], budget: int
    ):
        self.work = work
        self.checkpoints = dict(checkpoints)
        self._data = data
        self._refs: dict[str, ray.ObjectRef] = {}
        self._budget = budget
        self._deaths: Counter[str] = Counter()
        self._queues: defaultdict[Resources, list[tuple[float, int, Pack]]] = defaultdict(list)
        self._order = itertools.count()
        for pack in packs:
            self._put(pack)

    def _put(self, pack: Pack) -> None:
        heapq.heappush(self._queues[pack.resources], (-pack.cost, next(self._order), pack))

    def take(self, resources: Resources) -> Pack | None:
        """The most expensive pack left for such a worker."""
        return heapq.heappop(self._queues[resources])[2] if self._queues[resources] else None

    def waiting(self) -> dict[Resources, int]:
        """Numbers of packs left, those resources first that the most expensive one asks for."""
        queues = sorted((queue[0][:2], resources) for resources, queue in self._queues.items() if queue)
        return {resources: len(self._queues[resources]) for _, resources in queues}

    def data(self, key: str) -> ray.ObjectRef:
        """A data object in Ray's object store, put there once."""
        if key not in self._refs:
            self._refs[key] = ray.put(self._data[key])
        return self._refs[key]

    def note(self, event: Event | Lost, unfinished: dict[str, Item]) -> None:
        """Keep what a later attempt needs to know of an event."""
        if isinstance(event, Checkpoint):
            self.checkpoints[event.run_key] = event.arrays
        elif isinstance(event, Result | Lost):
            del unfinished[event.run_key]
            self.checkpoints.pop(event.run_key, None)

    def lose(self, unfinished: Iterable[Item], cause: str) -> list[Lost]:
        """Plan the runs of a dead worker anew, each alone, and give up those that have no attempt left."""
        given_up = []
        for item in unfinished:
            self._deaths[item.run_key] += 1
            attempts = self._deaths[item.run_key]
            if attempts < self._budget:
                self._put(Pack((item,)))
            else:
                given_up.append(Lost(item.run_key, f"{cause}, on attempt {attempts} of {self._budget}", attempts))
        return given_up


class RayExecutor:
    """Runs packs on Ray actors, each with one pack at a time.

    A worker that dies takes nothing with it but the time since its runs' last checkpoints: each unfinished run of its
    pack goes on alone on another worker, so that one that kills its workers harms no other, and is `Lost` when
    `attempts` workers have died of it. Ray itself retries nothing.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        address: str | None = None,
        cache: Path | None = None,
        env: Mapping[str, str] | None = None,
        attempts: int = 3,
    ):
        """Connect to Ray, unless this process is connected already.

        At most `n_workers` actors live at a time; None is as many as the cluster has room for. `cache` is the folder
        of compiled programs on the workers' machines, and `env` adds to their environment.

        Raises:
            ClusterError: Ray cannot be reached or started.
            ValueError: `n_workers` or `attempts` is less than 1.
        """
        if (n_workers is not None and n_workers < 1) or attempts < 1:
            raise ValueError(f"n_workers is {n_workers} and attempts {attempts}: expected at least 1 each")
        self._n_workers = math.inf if n_workers is None else n_workers
        self._cache = cache
        self._env = dict(env or {})
        self._attempts = attempts
        self._actors: list[_Actor] = []
        self._failed_starts = 0
        self._looked = -math.inf
        self._nodes: list[Mapping[str, float]] = []
        self._connected_here = not ray.is_initialized()
        if self._connected_here:
            connect(address)

    def execute(
        self, packs: Sequence[Pack], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[Event | Lost]:
        """Run all packs, the most expensive first; see `Executor`.

        Raises:
            ClusterError: no machine of the cluster could hold a worker for a pack, or no worker starts.
            ValueError: a run key occurs twice, or a pack's data is absent.
        """
        check(packs, data)
        plan = _Plan(packs, work, data, checkpoints, self._attempts)
        try:
            while True:
                self._assign(plan)
                self._staff(plan)
                if not any(actor.started and actor.waits_on for actor in self._actors) and not plan.waiting():
                    return
                yield from self._serve(plan)
        finally:
            for actor in [actor for actor in self._actors if actor.started and actor.waits_on]:
                self._end(actor)

    def close(self) -> None:
        """End all actors; leave Ray, and stop it if it was started here, unless it was there before this executor."""
        for actor in list(self._actors):
            self._end(actor)
        if self._connected_here and ray.is_initialized():
            ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _assign(self, plan: _Plan) -> None:
        """Give every idle actor the most expensive pack that it can run."""
        for actor in self._actors:
            if actor.waits_on is None and (pack := plan.take(actor.resources)):
                actor.unfinished = {item.run_key: item for item in pack.items}
                actor.waits_on = actor.handle.run.remote(
                    plan.work, pack.items, [plan.data(pack.data)], checkpoints_of(pack, plan.checkpoints)
                )

    def _staff(self, plan: _Plan) -> None:
        """Start actors for the packs that wait, as many as there is room for; end those that hold it for nothing."""
        waiting = plan.waiting()
        if not waiting:
            return
        for actor in list(self._actors):
            at_work = actor.started and actor.waits_on is not None
            if not at_work and actor.resources not in waiting:
                self._end(actor)
        for resources, n_packs in waiting.items():
            alike = [actor for actor in self._actors if actor.resources == resources]
            starting = sum(not actor.started for actor in alike)
            room = self._room(resources)
            if room < 1 and starting == len(alike):
                raise ClusterError(
                    f"runs ask for {resources.cpus:g} CPUs and {resources.gpus:g} GPUs on one machine, and no machine "
                    "of the cluster has as many: ask for less, or add a machine"
                )
            free = min(self._n_workers - len(self._actors), room - len(alike), n_packs - starting)
            for _ in range(max(0, int(free))):
                self._start(resources)

    def _room(self, resources: Resources) -> int:
        """How many such workers the cluster's machines could hold, if they held no others."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._looked = time.monotonic()
        asked = {"CPU": resources.cpus, "GPU": resources.gpus}
        # 1e-9: 1 / 0.1 workers of a tenth of a CPU are 10, not 9.
        return sum(
            min(math.floor(node.get(name, 0) / share + 1e-9) for name, share in asked.items() if share)
            for node in self._nodes
        )

    def _start(self, resources: Resources) -> None:
        env = worker_environment(resources, self._cache) | self._env
        handle = (
            ray.remote(Worker)
            .options(
                num_cpus=resources.cpus,
                num_gpus=resources.gpus,
                max_restarts=0,
                max_task_retries=0,
                runtime_env={"env_vars": env},
            )
            .remote()
        )
        self._actors.append(_Actor(handle, resources, handle.ready.remote()))

    def _end(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        ray.kill(actor.handle)

    def _serve(self, plan: _Plan) -> Iterator[Event | Lost]:
        """Wait for something from an actor, for a while, and see to it."""
        actors: dict[Any, _Actor] = {actor.waits_on: actor for actor in self._actors if actor.waits_on is not None}
        ready: list[Any] = ray.wait(list(actors), num_returns=1, timeout=_LOOK_SECONDS)[0]
        for waited in ready:
            actor = actors[waited]
            # To the end of the line, so that a talkative actor does not keep the others waiting.
            self._actors.remove(actor)
            self._actors.append(actor)
            if not actor.started:
                self._greet(actor)
                continue
            try:
                batch = ray.get(next(waited))
            except StopIteration:
                actor.waits_on = None
                continue
            except RayTaskError as error:  # the worker lives: a pack that cannot be unpacked, or an event packed
                actor.waits_on = None
                batch = [Lost(run_key, one_line(error.cause), 1) for run_key in actor.unfinished]
            except RayError as error:
                self._end(actor)
                batch = plan.lose(actor.unfinished.values(), _cause(error))
            for event in batch:
                plan.note(event, actor.unfinished)
                yield event

    def _greet(self, actor: _Actor) -> None:
        """An actor is up, or could not be started."""
        try:
            ray.get(actor.waits_on)
        except RayError as error:
            self._end(actor)
            self._failed_starts += 1
            if self._failed_starts >= self._attempts:
                raise ClusterError(f"Ray cannot start a worker: {one_line(error)}") from error
        else:
            self._failed_starts = 0
            actor.started, actor.waits_on = True, None


def _cause(error: RayError) -> str:
    """Why a worker died, in plain words."""
    if isinstance(error, OutOfMemoryError) or "low on memory" in str(error):
        return "its worker was stopped because the machine ran low on memory"
    if isinstance(error, NodeDiedError) or "node has died" in str(error):
        return "the machine that it ran on was lost"
    return "its worker process died (killed, crashed, or out of memory)"
