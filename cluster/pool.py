"""The actors: how many of which kind the cluster's machines have room for, starting and ending them."""

import itertools
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from cluster.attempts import death_of
from cluster.errors import ClusterError
from cluster.executor import Spent
from cluster.packing import Item, Pack
from cluster.resources import Resources, worker_environment
from cluster.work import one_line
from cluster.worker import Worker

LOOK_SECONDS = 2.0  # how often the cluster is looked at anew
_FAILED_STARTS = 3  # in a row, by the fault of what is started
_KILLED_STARTS = 20  # in a row, by accident
_WORKER = ray.remote(  # pyright: ignore[reportCallIssue] - Ray's stub wants the names of groups alone
    max_restarts=0, max_task_retries=0, concurrency_groups={"control": 1}
)(Worker)
_numbers = itertools.count()  # of actors, for names that are unique in this process and so in Ray's namespace


@dataclass
class Job:
    """A pack at an actor.

    Attributes:
        unfinished: its runs without a result, by key.
        data: the object that it reads.
        done: cost of its runs that have ended.
        begun: keys of those that were heard of.
        heard: when each of them was first, by key.
        announces: whether its work says what it begins, so that the rest can be asked back.
        asked: the answer to that, where it is waited for.
        answered: whether it was asked and has answered.
    """

    number: int
    pack: Pack
    unfinished: dict[str, Item]
    data: ray.ObjectRef
    since: float = field(default_factory=time.monotonic)
    done: float = 0.0
    begun: set[str] = field(default_factory=set)
    heard: dict[str, float] = field(default_factory=dict)
    announces: bool = False
    asked: Any = None
    answered: bool = False

    @property
    def may_be_asked(self) -> bool:
        """Whether it can give runs back, and was not asked yet."""
        return self.announces and self.asked is None and not self.answered

    def late(self, seconds: float) -> list[str]:
        """Runs that began longer ago, and have not ended."""
        now = time.monotonic()
        return [key for key in self.unfinished if now - self.heard.get(key, now) > seconds]

    def not_begun(self) -> list[Item]:
        """Runs that nothing was heard of."""
        return [item for key, item in self.unfinished.items() if key not in self.begun]

    def seconds_not_begun(self) -> float:
        """How long they will take, at the pack's speed so far."""
        left = math.fsum(item.cost for item in self.not_begun())
        elapsed = time.monotonic() - self.since
        return elapsed * left / self.done if self.done > 0 else elapsed if left else 0.0


@dataclass(eq=False)
class Actor:
    """A worker that is starting, idle or at a job.

    Attributes:
        waits_on: what Ray will give next: that it is up, or events of its job.
        node: id of the machine that it is on, once it is up.
        last: program of its last pack.
    """

    handle: Any
    resources: Resources
    waits_on: Any
    up: bool = False
    node: str = ""
    job: Job | None = None
    last: str | None = None

    @property
    def idle(self) -> bool:
        """Whether it could take a pack."""
        return self.up and self.job is None


class Pool:
    """At most `n_workers` actors on the machines of the cluster that Ray is connected to.

    Args:
        n_workers: infinity is as many as there is room for.
        cache: folder of compiled programs on the workers' machines.
        env: added to the workers' environment.
        grows: whether machines may come, on demand or by themselves.
    """

    def __init__(self, n_workers: float, cache: Path | None, env: Mapping[str, str], grows: bool):
        self.actors: list[Actor] = []
        self.n_workers = n_workers
        self.grows = grows
        self._cache = cache
        self._env = env
        self._spent = Spent()
        self._failed_starts = self._killed_starts = 0
        self._looked = -math.inf
        self._nodes: dict[str, Mapping[str, float]] = {}

    @property
    def spent(self) -> Spent:
        """What the actors took so far."""
        spent = self._spent
        for actor in self.actors:
            if actor.job:
                spent = spent.plus(actor.resources, time.monotonic() - actor.job.since)
        return spent

    def alike(self, resources: Resources) -> list[Actor]:
        """Actors of one kind, less those whose machine is gone."""
        nodes = self._look()
        return [a for a in self.actors if a.resources == resources and (not a.node or a.node in nodes)]

    def room(self, resources: Resources, waiting: Collection[Resources] = ()) -> int:
        """How many actors of a kind the machines could hold.

        They could hold no others than those with a GPU that are there or waited for: they have the first claim on
        their machines' CPUs.
        """
        claims = self._claims(resources, waiting)
        return sum(_fitting(node, resources, claims) for node in self._look().values())

    def _claims(self, resources: Resources, waiting: Collection[Resources]) -> set[Resources]:
        """Kinds that go before this one."""
        kinds = {actor.resources for actor in self.actors} | set(waiting)
        return set() if resources.gpus else {kind for kind in kinds if kind.gpus}

    def _ahead(self, resources: Resources, waiting: Collection[Resources]) -> int:
        """Actors to start beyond the room: an autoscaler sees that they are pending, and brings machines for them.

        As many as are up, so that their number can double. A request that outlives this process would cost money.
        """
        if not self.grows or resources not in waiting or self._claims(resources, waiting):
            return 0
        return max(1, sum(actor.up for actor in self.alike(resources)))

    def spare(self) -> bool:
        """Whether there are CPUs or GPUs that no actor takes."""
        nodes = self._look().values()
        cpus = sum(node.get("CPU", 0) for node in nodes) - sum(actor.resources.cpus for actor in self.actors)
        gpus = sum(node.get("GPU", 0) for node in nodes) - sum(actor.resources.gpus for actor in self.actors)
        return len(self.actors) < self.n_workers and (cpus >= 1 or gpus > 0)

    def wants(self, resources: Resources) -> bool:
        """Whether there is room for one more actor of a kind."""
        return len(self.actors) < self.n_workers and self.room(resources) > len(self.alike(resources))

    def memory(self, resources: Resources) -> float:
        """An actor's share of the memory of the smallest machine that can hold it, in bytes."""
        nodes = [node for node in self._look().values() if _fitting(node, resources, ())]
        return min((node.get("memory", math.inf) * resources.cpus / node["CPU"] for node in nodes), default=math.inf)

    def staff(self, waiting: Mapping[Resources, int]) -> None:
        """Start actors for the runs that wait, by kind: as many as there is room for, then some that may get room."""
        limits = {resources: self.room(resources, waiting) for resources in waiting}
        without = [resources for resources, limit in limits.items() if limit and not self.alike(resources)]
        for resources, limit in limits.items():
            others = sum(kind != resources for kind in without if not self.alike(kind))  # one place for each of them
            free = self.n_workers - len(self.actors)
            self._start(resources, max(free - others, min(free, resources in without)), limit, waiting[resources])
        for resources, limit in limits.items():
            limit += self._ahead(resources, waiting)
            self._start(resources, self.n_workers - len(self.actors), limit, waiting[resources])

    def _start(self, resources: Resources, free: float, limit: int, n_waiting: int) -> None:
        """Start actors of a kind, so that there are `limit` of them at most and no more than runs that wait."""
        alike = self.alike(resources)
        starting = sum(not actor.up for actor in alike)
        for _ in range(int(min(free, limit - len(alike), n_waiting - starting))):
            env = worker_environment(resources, self._cache) | dict(self._env)
            handle = _WORKER.options(
                name=f"basin {'GPU' if resources.gpus else 'CPU'} worker {next(_numbers)}",
                num_cpus=resources.cpus,
                num_gpus=resources.gpus,
                runtime_env={"env_vars": env},
            ).remote()
            self.actors.append(Actor(handle, resources, handle.ready.remote()))

    def dismiss(self, waiting: Collection[Resources]) -> bool:
        """End actors without a job that hold room for nothing, if others want it; whether there were any."""
        useless = [actor for actor in self.actors if waiting and actor.job is None and actor.resources not in waiting]
        for actor in useless:
            self.end(actor)
        return bool(useless)

    def retire(self, waiting: Collection[Resources]) -> None:
        """End idle actors for which there is no room any more, those first that hold a CPU beside a GPU."""
        for resources in {actor.resources for actor in self.actors}:
            alike = self.alike(resources)
            surplus = len(alike) - self.room(resources, waiting) - self._ahead(resources, waiting)
            if surplus > 0:
                free = [actor for actor in alike if actor.job is None]
                free.sort(key=lambda actor: (actor.up, not self._look().get(actor.node, {}).get("GPU")))
                for actor in free[:surplus]:
                    self.end(actor)

    def greet(self, actor: Actor) -> None:
        """An actor is up, or could not be started.

        Raises:
            ClusterError: the last few could not be started either.
        """
        try:
            actor.node = ray.get(actor.waits_on)
        except RayError as error:
            self.end(actor)
            if "creation task" in str(error) or not isinstance(error, RayActorError):
                self._failed_starts += 1
            elif not death_of(error).accident:
                self._killed_starts += 1
            if self._failed_starts >= _FAILED_STARTS or self._killed_starts >= _KILLED_STARTS:
                raise ClusterError(f"Ray cannot start a worker: {one_line(error)}") from error
        else:
            self._failed_starts = self._killed_starts = 0
            actor.up, actor.waits_on = True, None

    def release(self, actor: Actor) -> Job:
        """An actor has done with its job, or the job with it."""
        job = actor.job
        assert job is not None, "it has a job"
        self._spent = self._spent.plus(actor.resources, time.monotonic() - job.since)
        actor.job = actor.waits_on = None
        actor.last = job.pack.program
        return job

    def end(self, actor: Actor) -> None:
        """End an actor, and its job with it."""
        if actor.job:
            self.release(actor)
        self.actors.remove(actor)
        ray.kill(actor.handle)

    def forget(self) -> None:
        """Have no actors any more: the Ray that they were of is gone."""
        for actor in self.actors:
            if actor.job:
                self.release(actor)
        self.actors.clear()
        self._looked = -math.inf

    def close(self) -> None:
        """End all actors."""
        for actor in list(self.actors):
            self.end(actor)

    def _look(self) -> Mapping[str, Mapping[str, float]]:
        """Resources of the machines that are alive, by id."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
            self._looked = time.monotonic()
        return self._nodes


def _fitting(node: Mapping[str, float], resources: Resources, claims: Collection[Resources]) -> int:
    """How many workers a machine holds beside the largest of the claims."""
    cpus, gpus = node.get("CPU", 0), node.get("GPU", 0)
    cpus -= max((claim.cpus * _fitting(node, claim, ()) for claim in claims), default=0)
    shares = [cpus / resources.cpus, *([gpus / resources.gpus] if resources.gpus else [])]
    return max(0, math.floor(min(shares) + 1e-9))  # 1 / 0.1 workers of a tenth of a CPU are 10, not 9
