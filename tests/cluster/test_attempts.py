"""Deaths and accidents, and whom they are held against."""

import pytest
from ray.exceptions import ActorUnavailableError, NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError

from cluster.attempts import ACCIDENTS, Attempts, Death, death_of
from cluster.packing import Item
from cluster.resources import Resources

KILLED = Death("its worker process died", accident=False)
MACHINE_LOST = Death("the machine was lost", accident=True)


def _items(n: int) -> list[Item]:
    return [Item(f"run-{i}", None, "p", "none", 1.0, Resources()) for i in range(n)]


def _keys(items) -> list[str]:
    return [item.run_key for item in items]


def test_a_death_counts_against_the_runs_that_had_begun_alone():
    attempts = Attempts(2)
    after = attempts.after(_items(3), {"run-1"}, KILLED)
    assert (_keys(after.alone), _keys(after.again), after.lost) == (["run-1"], ["run-0", "run-2"], [])
    for run in _items(3):
        lost = attempts.after([run], {run.run_key}, KILLED).lost
        assert [(each.run_key, each.attempts) for each in lost] == ([("run-1", 2)] if run.run_key == "run-1" else [])


def test_where_it_is_not_known_who_had_begun_all_go_on_alone_and_nothing_is_counted():
    attempts = Attempts(1)
    after = attempts.after(_items(3), set(), KILLED)
    assert (_keys(after.alone), after.again, after.lost) == (["run-0", "run-1", "run-2"], [], [])


def test_the_only_run_that_was_left_is_to_blame():
    (lost,) = Attempts(1).after(_items(1), set(), KILLED).lost
    assert lost.reason == "its worker process died, on attempt 1 of 1"


def test_a_lost_machine_leaves_its_runs_their_attempts_and_their_company_but_not_for_ever():
    attempts = Attempts(2)
    for _ in range(ACCIDENTS - 1):
        after = attempts.after(_items(3), {"run-0"}, MACHINE_LOST)
        assert (sorted(_keys(after.again)), after.alone, after.lost) == (["run-0", "run-1", "run-2"], [], [])
    assert attempts.after(_items(3)[1:], {"run-1"}, KILLED).lost == []
    (lost,) = attempts.after(_items(3), {"run-0"}, MACHINE_LOST).lost
    assert (lost.run_key, lost.attempts) == ("run-0", ACCIDENTS)


def test_a_checkpoint_gives_a_run_its_attempts_back():
    attempts = Attempts(2)
    for _ in range(5):
        assert attempts.after(_items(1), set(), KILLED).lost == []
        attempts.progressed("run-0")
    assert attempts.after(_items(1), set(), KILLED).lost == []
    assert attempts.after(_items(1), set(), KILLED).lost != []


@pytest.mark.parametrize(
    ("error", "cause", "accident"),
    [
        (OutOfMemoryError("low"), "ran low on memory", False),
        (RayActorError(), "its worker process died", False),
        (NodeDiedError("gone"), "the machine that it ran on was lost", True),
        (ActorUnavailableError("no answer", None), "the machine that it ran on was lost", True),
        (ObjectLostError("aa", None, ""), "an object that it needed was lost", True),
    ],
)
def test_errors_in_plain_words(error, cause, accident):
    death = death_of(error)
    assert cause in death.cause
    assert death.accident == accident
