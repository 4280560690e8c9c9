"""Counting events: what ended how, what is running, time left and cost."""

from dataclasses import replace

import pytest

from cluster.work import Lost
from models.runs.events import Checkpoint, Progress, Result
from models.runs.result import Seconds
from services.execution.tally import Cost, Tally
from tests.support import factories


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def result(status: str = "finished", wall: float = 36.0, device: str = "cpu") -> Result:
    asked = factories.request()
    return Result("a", replace(factories.result(asked), status=status, seconds=Seconds(wall, 0.0, 0.0), device=device))


def test_runs_are_counted_by_how_they_ended_and_once():
    tally = Tally({"a", "b", "c"}, 3)
    assert tally.consume(result("diverged"))
    assert not tally.consume(result("finished"))
    assert tally.consume(Lost("b", "its worker died", 3))
    assert not tally.consume(Result("stranger", None))
    assert tally.ended == {"diverged": 1, "failed": 1}
    assert tally.done == 2


def test_what_runs_is_known_until_it_ends():
    tally = Tally({"a"}, 1)
    assert tally.consume(Progress("a", "draws", 25, 100, {"divergences": 2.0}))
    assert (tally.running, tally.divergences) == ({"a": 0.25}, {"a": 2})
    assert not tally.consume(Checkpoint("a", {}))
    tally.consume(result())
    assert (tally.running, tally.divergences) == ({}, {"a": 2})


def test_the_time_left_goes_by_the_pace_of_runs_and_their_parts():
    clock = Clock()
    tally = Tally({"a", "b", "c", "d"}, 4, clock=clock)
    clock.now = 30.0
    assert tally.seconds_left() is None
    tally.consume(result())
    tally.consume(Progress("b", "draws", 1, 2, {}))
    assert tally.seconds_left() == pytest.approx(30 * 2.5 / 1.5)


def test_no_time_left_is_told_from_a_start_that_tells_nothing():
    clock = Clock()
    tally = Tally({"a", "b"}, 2, clock=clock)
    clock.now = 30.0
    tally.consume(Progress("a", "draws", 1, 100, {}))
    assert tally.seconds_left() is None
    tally.consume(Progress("a", "draws", 2, 100, {}))
    assert tally.seconds_left() == pytest.approx(30 * 99)
    assert Tally(set(), 0).seconds_left() is None


def test_the_cost_is_hours_of_cores_and_of_shares_of_gpus():
    tally = Tally({"a"}, 1, gpus=0.5)
    tally.consume(result(wall=3600.0, device="NVIDIA H200"))
    assert tally.cost == Cost(1.0, 0.5)
    on_cpu = Tally({"a"}, 1, gpus=0.5)
    on_cpu.consume(result(wall=3600.0))
    assert on_cpu.cost == Cost(1.0, 0.0)
