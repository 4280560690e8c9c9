"""What holds for every executor."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cluster.executor import WIDTH
from cluster.packing import LOOK_AHEAD, Item
from cluster.resources import Resources
from cluster.work import Lost
from models.runs.events import Checkpoint, Progress, Result
from tests.support import works


def items_of(arguments, data: str = "none", resources: Resources = Resources()) -> list[Item]:  # noqa: B008 - frozen
    return [Item(f"run-{i}", (f"run-{i}", a), "p", data, 1.0, resources) for i, a in enumerate(arguments)]


def execute(executor, items, work, data=None, checkpoints=None):
    return executor.execute(items, work, {"none": None} if data is None else data, checkpoints or {})


def values(events) -> dict[str, object]:
    return {event.run_key: event.value for event in events if isinstance(event, Result)}


def test_every_run_has_one_result(executor):
    events = list(execute(executor, items_of(range(100)), works.square))
    assert values(events) == {f"run-{i}": i * i for i in range(100)}
    assert Counter(type(event) for event in events) == {Progress: 100, Result: 100}


def test_the_first_run_of_a_program_travels_alone_and_later_ones_in_packs(executor):
    company = values(execute(executor, items_of(range(200)), works.company))
    packs = {tuple(pack) for pack in company.values()}
    assert sorted(key for pack in packs for key in pack) == sorted(company)
    assert company["run-0"] == ["run-0"]
    assert 16 < max(map(len, packs)) <= WIDTH


def test_no_items_no_events(executor):
    assert list(execute(executor, [], works.square)) == []


def test_runs_are_read_as_they_are_needed(executor):
    read = 0

    def items():
        nonlocal read
        for item in items_of(range(3 * LOOK_AHEAD)):
            read += 1
            yield item

    events = execute(executor, items(), works.square)
    seen = [next(events)]
    assert read < 2 * LOOK_AHEAD
    assert len(values([*seen, *events])) == 3 * LOOK_AHEAD


def test_events_come_while_the_work_goes_on(executor, tmp_path: Path):
    seen = []
    for event in execute(executor, items_of([str(tmp_path)] * 2), works.wait_for_sign):
        seen.append(event)
        if isinstance(event, Progress):
            (tmp_path / event.run_key).touch()  # the work waits for this, so it cannot have ended
    for key in ("run-0", "run-1"):
        assert [type(event) for event in seen if event.run_key == key] == [Progress, Result]


def test_an_exception_loses_the_unfinished_runs_of_its_pack_only(executor):
    items = [*items_of([2]), Item("other", ("other", 7), "another program", "none", 1.0, Resources())]
    events = list(execute(executor, items, works.fail_at_two))
    assert values(events) == {"other": 7}
    assert [e for e in events if isinstance(e, Lost)] == [Lost("run-0", "ValueError: two is bad luck", 1)]


def test_a_run_without_a_result_is_lost_and_a_second_result_is_dropped(executor):
    events = list(execute(executor, items_of(range(4)), works.forget_two))
    assert values(events) == {"run-0": 0, "run-1": 1, "run-3": 3}
    assert [e for e in events if isinstance(e, Lost)] == [Lost("run-2", "its work ended without a result", 1)]
    assert len(events) == 4


def test_work_that_exits_loses_its_runs_and_no_more(executor):
    events = list(execute(executor, items_of(range(2)), works.exit_early))
    assert {event.run_key: event for event in events} == {
        f"run-{i}": Lost(f"run-{i}", "its work ended without a result", 1) for i in range(2)
    }
    assert len(values(execute(executor, items_of(range(2)), works.square))) == 2


def test_work_reads_the_data_that_its_pack_names(executor):
    data = {name: works.CountedData(np.full(50_000, value)) for name, value in (("ones", 1.0), ("twos", 2.0))}
    items = [Item(f"{n}-{i}", (f"{n}-{i}", i), "p", n, 1.0, Resources()) for n in data for i in range(6)]
    totals = values(execute(executor, items, works.total, data))
    assert {key: total for key, (total, _) in totals.items()} == {
        f"{n}-{i}": i * value * 50_000 for n, value in (("ones", 1.0), ("twos", 2.0)) for i in range(6)
    }


def test_checkpoints_are_handed_to_their_own_runs(executor, tmp_path: Path):
    saved = {"run-1": {"count": np.asarray(7), "draws": np.ones(3)}, "elsewhere": {"count": np.asarray(9)}}
    (tmp_path / "run-0").touch()
    events = list(execute(executor, items_of([str(tmp_path)] * 2), works.count_up, checkpoints=saved))
    assert values(events) == {"run-0": (0, 0.0), "run-1": (7, 3.0)}
    (checkpoint,) = (event for event in events if isinstance(event, Checkpoint))
    assert checkpoint.run_key == "run-0"
    np.testing.assert_array_equal(checkpoint.arrays["draws"], np.arange(100_000.0))


def test_a_plan_that_cannot_be_accounted_for_is_refused(executor):
    twice = [*items_of([1]), *items_of([2])]
    with pytest.raises(ValueError, match="'run-0' is planned twice"):
        list(execute(executor, twice, works.square))
    with pytest.raises(ValueError, match="needs the data 'absent'"):
        list(execute(executor, items_of([1], data="absent"), works.square))


def test_an_interrupt_comes_through_keeps_what_was_finished_and_the_executor_goes_on(executor, tmp_path: Path):
    (tmp_path / "run-0").touch()
    items = items_of([str(tmp_path)] * 2)
    kept = []

    def interrupted():
        for event in execute(executor, items, works.wait_for_sign):
            kept.append(event)
            if len(kept) == 3:  # run-0 has ended, and run-1, which waits for a sign that never comes, has begun
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert values(kept) == {"run-0": "seen"}
    assert len(values(execute(executor, items_of(range(4)), works.square))) == 4


def test_an_iterator_that_is_given_up_ends_its_work(executor, tmp_path: Path):
    events = execute(executor, items_of([str(tmp_path)]), works.wait_for_sign)
    next(events)
    events.close()
    assert len(values(execute(executor, items_of(range(4)), works.square))) == 4


def test_both_executors_compute_the_same_bits(ray_executor, python):
    script = """
from cluster.resources import Resources, apply_environment
apply_environment(Resources())
from cluster.executor import InProcessExecutor
from tests.support import works
from tests.cluster.test_executor_contract import execute, items_of, values
with InProcessExecutor() as executor:
    items = items_of(range(2), "regression")
    print(values(execute(executor, items, works.gradient_steps, {"regression": works.regression_data()})))
"""
    items = items_of(range(2), "regression")
    on_ray = values(execute(ray_executor, items, works.gradient_steps, {"regression": works.regression_data()}))
    assert len(set(on_ray.values())) == 2
    assert python(script).strip() == str(dict(sorted(on_ray.items())))
