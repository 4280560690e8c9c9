"""One call of the Ray executor: packs to actors, events from them, and what is done when one dies or falls behind."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError

from cluster.attempts import Attempts, Death, death_of
from cluster.errors import ClusterError
from cluster.executor import checkpoints_of, datum
from cluster.packing import LOOK_AHEAD, PACK_SECONDS, Pack, Taker, Waiting
from cluster.pool import LOOK_SECONDS, Actor, Job, Pool
from cluster.resources import Resources
from cluster.streaming import GivenBack
from cluster.work import Arrays, Lost, Work, one_line
from models.runs.events import START, Checkpoint, Event, Progress, late

_WORTH_ASKING = 1.0  # seconds of work that an idle worker is given from a busy one; a new worker wants a pack
_START_SECONDS = 300.0  # what a worker's start may take, on a machine that is busy or far away
_SAY_SO = 30.0  # seconds of that after which a person is told


class Dispatch:
    """Hands runs to a pool's actors until all have ended.

    Args:
        budget: deaths after which a run is given up.
        patience: seconds to wait for a machine while nobody is at work.
        seconds: that a run may take.
        tell: told in a sentence what is waited for.
        is_broken: whether the Ray of this process is about to end it.
        restart: leaves that Ray, and starts another.
    """

    def __init__(
        self,
        pool: Pool,
        waiting: Waiting,
        work: Work,
        data: Mapping[str, Any],
        checkpoints: Mapping[str, Arrays],
        *,
        budget: int,
        patience: float,
        seconds: float,
        tell: Callable[[str], None],
        is_broken: Callable[[], bool],
        restart: Callable[[], None],
    ):
        self._pool = pool
        self._waiting = waiting
        self._work = work
        self._data = data
        self._refs: dict[str, ray.ObjectRef] = {}
        self._given = checkpoints
        self._newest: dict[str, Arrays] = {}  # of runs that have not ended
        self._attempts = Attempts(budget)
        self._patience = patience
        self._seconds = seconds
        self._tell = tell
        self._is_broken = is_broken
        self._restart = restart
        self._jobs = 0
        self._stall: _Stall | None = None

    def events(self) -> Iterator[Event | Lost]:
        """Run everything; see `Executor.execute`. Given up early, it ends the actors that are at work.

        Raises:
            ClusterError: there is no worker for a run, and none comes.
            ValueError: a run key occurs twice, or an item's data is absent.
        """
        try:
            while True:
                if self._is_broken():
                    yield from self._start_again()
                try:
                    self._hand_out()
                    if not self._waiting and not self._busy():
                        return
                    self._ask_back()
                    self._mind_stalling()
                    yield from self._end_late()
                    yield from self._serve()
                except RayError:
                    if not self._is_broken():
                        raise
        finally:
            for actor in self._busy():
                self._pool.end(actor)

    def _start_again(self) -> Iterator[Lost]:
        """Go on with another Ray: what was at work is done again from its last checkpoints.

        Raises:
            ClusterError: Ray does not start, or did so too often.
        """
        lost = self._leave()
        self._restart()
        yield from lost

    def _leave(self) -> list[Lost]:
        """Hold nothing any more of a Ray that died, and wait for what was at work with it.

        Another one could not tell whose references they are. And where an object is lost that is still referred to, Ray
        ends this process without a word a tenth of a second later.
        """
        lost = []
        for actor in self._busy():
            job = self._pool.release(actor)
            for event in self._again(actor, job, Death("Ray on its machine died", accident=True)):
                self._note(event, job)
                lost.append(event)
        self._pool.forget()
        self._refs.clear()
        return lost

    def _busy(self) -> list[Actor]:
        return [actor for actor in self._pool.actors if actor.job]

    def _hand_out(self) -> None:
        """Give every idle actor a pack and start more actors; read on while somebody would still have nothing to do."""
        pool, waiting = self._pool, self._waiting
        waiting.fill()
        while True:
            pool.retire(waiting.kinds())
            for actor in [actor for actor in pool.actors if actor.idle]:
                share_of = max(1, min(len(pool.alike(actor.resources)), pool.room(actor.resources)))
                taker = Taker(actor.resources, share_of, pool.memory(actor.resources), actor.last, actor.node)
                if pack := waiting.take(taker, Counter(busy.last for busy in self._busy() if busy.last)):
                    self._send(actor, pack)
            pool.staff(waiting.kinds())
            unused = any(actor.idle for actor in pool.actors) or pool.spare()
            if not (unused and waiting.read(LOOK_AHEAD)):
                break
        if pool.dismiss(waiting.kinds()):
            pool.staff(waiting.kinds())

    def _send(self, actor: Actor, pack: Pack) -> None:
        self._jobs += 1
        if pack.data not in self._refs:
            self._refs[pack.data] = ray.put(datum(self._data, pack))
        data = self._refs[pack.data]
        actor.job = Job(self._jobs, pack, {item.run_key: item for item in pack.items}, data)
        actor.last = pack.program
        checkpoints = checkpoints_of(pack, self._given) | checkpoints_of(pack, self._newest)
        arguments = (self._jobs, self._work, pack.items, [data], checkpoints)
        actor.waits_on = actor.handle.run.remote(*arguments)

    def _serve(self) -> Iterator[Event | Lost]:
        """Wait for something from an actor, for a while, and see to it."""
        actors = {actor.waits_on: actor for actor in self._pool.actors if actor.waits_on is not None}
        answers = {job.asked: actor for actor in self._busy() if (job := actor.job) and job.asked is not None}
        if not actors:
            time.sleep(LOOK_SECONDS)
            return
        for ready in ray.wait([*actors, *answers], num_returns=1, timeout=LOOK_SECONDS)[0]:
            actor = actors.get(ready) or answers[ready]
            # To the end of the line, so that a talkative actor does not keep the others waiting.
            self._pool.actors.remove(actor)
            self._pool.actors.append(actor)
            if ready in answers:
                self._take_answer(actor)
            elif actor.up:
                yield from self._receive(actor)
            else:
                self._pool.greet(actor)

    def _receive(self, actor: Actor) -> Iterator[Event | Lost]:
        """Take the next events of an actor's job, or its end."""
        job = actor.job
        assert job is not None, "it is waited for"
        try:
            batch = ray.get(next(actor.waits_on))
        except StopIteration:
            self._pool.release(actor)
            self._waiting.speeds.note(job.pack.program, job.done, time.monotonic() - job.since)
            batch = self._again(actor, job, Death("its last events were lost", accident=True))
        except RayTaskError as error:  # the worker lives
            self._pool.release(actor)
            if isinstance(error, ObjectLostError):
                if self._refs.get(job.pack.data) == job.data:  # else another job has found out before this one
                    del self._refs[job.pack.data]
                batch = self._again(actor, job, death_of(error))
            else:  # a pack that cannot be unpacked, or an event packed
                batch = [Lost(run_key, one_line(error.cause), 1) for run_key in job.unfinished]
        except RayError as error:
            self._pool.end(actor)
            batch = self._again(actor, job, death_of(error))
        for event in batch:
            if isinstance(event, GivenBack):
                self._take_back(job, [event.run_key])
            else:
                self._note(event, job)
                yield event

    def _note(self, event: Event | Lost, job: Job) -> None:
        """Keep what a later attempt needs to know of an event."""
        job.begun.add(event.run_key)
        job.heard.setdefault(event.run_key, time.monotonic())
        if isinstance(event, Progress):
            job.announces |= event.phase == START
        elif isinstance(event, Checkpoint):
            self._newest[event.run_key] = event.arrays
            self._attempts.progressed(event.run_key)
        else:
            if item := job.unfinished.pop(event.run_key, None):
                job.done += item.cost
            self._newest.pop(event.run_key, None)
            self._waiting.end(event.run_key)

    def _again(self, actor: Actor, job: Job, death: Death) -> list[Lost]:
        """Plan anew what a job left unfinished; gives the runs that have no attempt left."""
        if not job.unfinished:
            return []
        after = self._attempts.after(job.unfinished.values(), job.begun, death)
        self._waiting.put_back(after.again)
        for item in after.alone:
            self._waiting.put_alone(item, actor.node)
        return after.lost

    def _end_late(self) -> Iterator[Lost]:
        """End the workers whose runs take too long, and with them these runs alone."""
        for actor in self._busy():
            job = actor.job
            if job is None or not (run_keys := job.late(self._seconds)):
                continue
            self._pool.end(actor)
            for run_key in run_keys:
                lost = Lost(run_key, late(self._seconds), 1)
                self._note(lost, job)
                yield lost
            self._waiting.put_back(list(job.unfinished.values()))

    def _ask_back(self) -> None:
        """Where workers have nothing to do, ask those with most work before them for what they have not begun."""
        for resources in {actor.resources for actor in self._busy()} - self._waiting.kinds().keys():
            alike = self._pool.alike(resources)
            idle = sum(actor.idle for actor in alike)
            takers = idle or int(self._pool.wants(resources))
            asked = sum(bool(actor.job and actor.job.asked) for actor in alike)
            jobs = [(actor.job.seconds_not_begun(), actor) for actor in alike if actor.job and actor.job.may_be_asked]
            jobs.sort(key=lambda each: each[0], reverse=True)
            for seconds, actor in jobs[: max(0, takers - asked)]:
                if actor.job and seconds >= (_WORTH_ASKING if idle else PACK_SECONDS):
                    actor.job.asked = actor.handle.give_back.remote(actor.job.number)

    def _take_answer(self, actor: Actor) -> None:
        job = actor.job
        assert job is not None, "it was asked about its job"
        try:
            self._take_back(job, ray.get(job.asked))
        except RayError:
            pass  # it died, and its job's events say so
        finally:
            job.asked, job.answered = None, True

    def _take_back(self, job: Job, run_keys: Iterable[str]) -> None:
        """Runs that an actor has not done, and will not do, wait for another."""
        self._waiting.put_back([item for key in run_keys if (item := job.unfinished.pop(key, None))])

    def _mind_stalling(self) -> None:
        """Wait with patience while nobody is at work, but not for ever.

        Raises:
            ClusterError: the patience is at its end.
        """
        kinds = self._waiting.kinds()
        homeless = [resources for resources in kinds if not self._pool.room(resources)]
        if homeless and not self._pool.grows:
            raise ClusterError(_homeless(homeless[0]))
        if self._busy() or not kinds:
            self._stall = None
            return
        no_machine = len(homeless) == len(kinds)
        why = _homeless(homeless[0]) if no_machine else "no worker has started, although there are machines for it"
        patience = self._patience if no_machine else max(self._patience, _START_SECONDS)
        if self._stall is None or self._stall.why != why:
            self._stall = _Stall(why, time.monotonic())
        seconds = time.monotonic() - self._stall.since
        if seconds >= patience:
            raise ClusterError(f"{why}. Nothing came in {patience:g} s; what is finished is kept")
        if not self._stall.told and (no_machine or seconds >= _SAY_SO):
            self._stall.told = True
            self._tell(f"{why}. Waiting for {patience:g} s")


@dataclass
class _Stall:
    """Nobody is at work: why, since when, and whether a person was told."""

    why: str
    since: float
    told: bool = False


def _homeless(resources: Resources) -> str:
    return (
        f"runs ask for {resources.cpus:g} CPUs and {resources.gpus:g} GPUs on one machine, and no machine of the "
        "cluster has as many: ask for less, or add a machine"
    )
