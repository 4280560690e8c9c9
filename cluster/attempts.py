"""Who is to blame for a worker's end, and whether its runs are tried again."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ray.exceptions import ActorUnavailableError, NodeDiedError, ObjectLostError, OutOfMemoryError, RayError

from cluster.packing import Item
from cluster.work import Lost

ACCIDENTS = 10  # losses of machines and objects that a run may meet with: enough for any accident, and not without end


@dataclass(frozen=True)
class Death:
    """Why a worker's runs ended early.

    Attributes:
        cause: in plain words.
        accident: it says nothing of the runs: their machine or an object on it was lost.
    """

    cause: str
    accident: bool


def death_of(error: RayError) -> Death:
    """What Ray's error means."""
    if isinstance(error, OutOfMemoryError):
        return Death("its worker was stopped because the machine ran low on memory", False)
    if isinstance(error, ObjectLostError):
        return Death("an object that it needed was lost", True)
    # An actor is unavailable when neither it nor its machine's raylet, which tells of processes that die, answers.
    if isinstance(error, NodeDiedError | ActorUnavailableError) or "node has died" in str(error):
        return Death("the machine that it ran on was lost", True)
    return Death("its worker process died (killed, crashed, or out of memory)", False)


@dataclass
class Aftermath:
    """What is to be done with the runs of a dead worker: done again in company or alone, or given up."""

    again: list[Item] = field(default_factory=list)
    alone: list[Item] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)


class Attempts:
    """Counts deaths and accidents by run.

    A death counts against those runs alone that had begun and not ended. They go on alone, so that the next death tells
    which of them it is. Where it is not known what had begun, all go on alone, and nothing is counted yet.

    Args:
        budget: deaths without a checkpoint between them after which a run is given up.
    """

    def __init__(self, budget: int):
        self._budget = budget
        self._deaths: Counter[str] = Counter()
        self._accidents: Counter[str] = Counter()

    def progressed(self, run_key: str) -> None:
        """A run got further than ever: what it met with before does not count any more."""
        self._deaths.pop(run_key, None)
        self._accidents.pop(run_key, None)

    def after(self, unfinished: Collection[Item], begun: Collection[str], death: Death) -> Aftermath:
        """Judge the unfinished runs of a dead worker's pack."""
        certain = len(unfinished) == 1
        had_begun = [item for item in unfinished if certain or item.run_key in begun]
        innocent = [item for item in unfinished if not certain and item.run_key not in begun]
        if death.accident:
            after = self._count(self._accidents, ACCIDENTS, had_begun or unfinished, death)
            after.again, after.alone = [*after.alone, *(innocent if had_begun else [])], []
        elif had_begun:
            after = self._count(self._deaths, self._budget, had_begun, death)
            after.again = innocent
        else:
            after = Aftermath(alone=innocent)
        return after

    def _count(self, counts: Counter[str], budget: int, items: Iterable[Item], death: Death) -> Aftermath:
        after = Aftermath()
        for item in items:
            counts[item.run_key] += 1
            n = counts[item.run_key]
            if n < budget:
                after.alone.append(item)
            else:
                after.lost.append(Lost(item.run_key, f"{death.cause}, on attempt {n} of {budget}", n))
        return after
