"""A pack at work in a thread, and asking for the runs that it has not begun."""

import threading

from cluster.executor import InProcessExecutor
from cluster.packing import Item
from cluster.resources import Resources
from cluster.streaming import GivenBack, Stream
from cluster.work import Lost
from models.runs.events import START, Progress, Result, begun
from tests.support import works


def _items(n: int) -> list[Item]:
    return [Item(f"run-{i}", f"run-{i}", "p", "none", 1.0, Resources()) for i in range(n)]


class Gate:
    """Work that begins its runs `at_once` at a time and waits before it computes each such group."""

    def __init__(self, at_once: int = 1, announces: bool = True):
        self.at_once = at_once
        self.announces = announces
        self.opened = threading.Semaphore(0)

    def work(self, payloads, data, checkpoints, emit):
        for start in range(0, len(payloads), self.at_once):
            group = payloads[start : start + self.at_once]
            for key in group:
                emit(begun(key) if self.announces else Progress(key, "steps", 1, 2, {}))
            assert self.opened.acquire(timeout=60)
            for key in group:
                emit(Result(key, "computed"))


def _ends(batches) -> dict[str, type]:
    return {e.run_key: type(e) for batch in batches for e in batch if isinstance(e, Result | Lost | GivenBack)}


def test_runs_that_have_not_begun_are_given_back_and_what_was_begun_is_finished():
    gate = Gate()
    stream = Stream(gate.work, _items(5), None, {})
    events = iter(stream)
    gate.opened.release()
    seen = []
    while Progress("run-1", START, 0, 1, {}) not in (event for batch in seen for event in batch):
        seen.append(next(events))
    assert sorted(stream.give_back()) == ["run-2", "run-3", "run-4"]
    gate.opened.release(9)
    ends = _ends([*seen, *events])
    assert ends == dict.fromkeys(("run-0", "run-1"), Result) | dict.fromkeys(("run-2", "run-3", "run-4"), GivenBack)


def test_nothing_is_given_back_before_the_first_run_begins_or_where_that_is_not_said():
    assert Stream(Gate().work, _items(2), None, {}).give_back() == []
    gate = Gate(announces=False)
    stream = Stream(gate.work, _items(3), None, {})
    events = iter(stream)
    seen = [next(events)]
    assert stream.give_back() == []
    gate.opened.release(9)
    assert set(_ends([*seen, *events]).values()) == {Result}


def test_no_result_of_a_group_that_is_computed_together_is_thrown_away():
    gate = Gate(at_once=3)
    stream = Stream(gate.work, _items(6), None, {})
    events = iter(stream)
    seen = []
    while Progress("run-2", START, 0, 1, {}) not in (event for batch in seen for event in batch):
        seen.append(next(events))
    assert sorted(stream.give_back()) == ["run-3", "run-4", "run-5"]
    gate.opened.release(9)
    ends = _ends([*seen, *events])
    assert ends == {f"run-{i}": Result if i < 3 else GivenBack for i in range(6)}


def test_a_group_that_is_asked_for_while_it_begins_is_given_back_as_a_whole():
    inside, go_on = threading.Event(), threading.Event()

    def work(payloads, data, checkpoints, emit):
        emit(begun(payloads[0]))
        inside.set()
        assert go_on.wait(60)
        for key in payloads[1:]:
            emit(begun(key))
        raise AssertionError("it was stopped before this")

    stream = Stream(work, _items(3), None, {})
    events = iter(stream)
    seen = [next(events)]
    assert inside.wait(60)
    assert sorted(stream.give_back()) == ["run-1", "run-2"]
    go_on.set()
    assert _ends([*seen, *events]) == dict.fromkeys(("run-0", "run-1", "run-2"), GivenBack)


def test_a_run_that_goes_on_too_long_is_told_so_when_it_says_something_and_the_others_go_on():
    items = [Item(f"run-{i}", (f"run-{i}", i), "p", "none", 1.0, Resources()) for i in range(4)]
    with InProcessExecutor(seconds=0.2) as executor:
        found = list(executor.execute(items, works.two_goes_on, {"none": None}, {}))
    ends = {event.run_key: event.value for event in found if isinstance(event, Result)}
    reason = ends.pop("run-2")
    assert ends == {"run-0": 0, "run-1": 1, "run-3": 3}
    assert reason.startswith("it took more than") and "let BASIN_RUN_HOURS allow more" in reason
