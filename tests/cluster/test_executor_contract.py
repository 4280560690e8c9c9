"""What holds for every executor."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cluster.executor import Lost
from cluster.packing import Item, Pack, pack
from cluster.resources import Resources
from models.events import Checkpoint, Progress, Result
from tests.cluster import works


def items_of(arguments, data: str = "none", resources: Resources = Resources()) -> list[Item]:  # noqa: B008 - frozen
    return [Item(f"run-{i}", (f"run-{i}", a), "p", data, 1.0, resources) for i, a in enumerate(arguments)]


def execute(executor, packs, work, data=None, checkpoints=None):
    return executor.execute(packs, work, data or {"none": None}, checkpoints or {})


def values(events) -> dict[str, object]:
    return {event.run_key: event.value for event in events if isinstance(event, Result)}


@pytest.mark.parametrize("width", [1, 3, 16])
def test_every_run_has_one_result(executor, width):
    events = list(execute(executor, pack(items_of(range(10)), width), works.square))
    assert values(events) == {f"run-{i}": i * i for i in range(10)}
    assert Counter(type(event) for event in events) == {Progress: 10, Result: 10}


def test_a_pack_travels_as_one(executor):
    company = values(execute(executor, pack(items_of(range(3)), 3), works.company))
    assert set(map(tuple, company.values())) == {("run-0", "run-1", "run-2")}


def test_no_packs_no_events(executor):
    assert list(execute(executor, [], works.square)) == []


def test_events_come_while_the_work_goes_on(executor, tmp_path: Path):
    seen = []
    for event in execute(executor, pack(items_of([str(tmp_path)] * 2), 2), works.wait_for_sign):
        seen.append(event)
        if isinstance(event, Progress):
            (tmp_path / event.run_key).touch()  # the work waits for this, so it cannot have ended
    assert [type(event) for event in seen] == [Progress, Result, Progress, Result]


def test_an_exception_loses_the_unfinished_runs_of_its_pack_only(executor):
    packs = [Pack(tuple(items_of(range(5))[:2])), Pack(tuple(items_of(range(5))[2:]))]
    packs = [*packs, Pack((Item("other", ("other", 7), "p", "none", 0.0, Resources()),))]
    events = list(execute(executor, packs, works.fail_at_two))
    assert values(events) == {"run-0": 0, "run-1": 1, "other": 7}
    lost = [event for event in events if isinstance(event, Lost)]
    assert lost == [Lost(f"run-{i}", "ValueError: two is bad luck", 1) for i in (2, 3, 4)]


def test_a_run_without_a_result_is_lost_and_a_second_result_is_dropped(executor):
    events = list(execute(executor, pack(items_of(range(4)), 4), works.forget_two))
    assert values(events) == {"run-0": 0, "run-1": 1, "run-3": 3}
    assert [e for e in events if isinstance(e, Lost)] == [Lost("run-2", "its work ended without a result", 1)]
    assert len(events) == 4


def test_work_that_exits_loses_its_runs_and_no_more(executor):
    events = list(execute(executor, pack(items_of(range(2)), 2), works.exit_early))
    assert events == [Lost(f"run-{i}", "its work ended without a result", 1) for i in range(2)]
    assert len(values(execute(executor, pack(items_of(range(2)), 2), works.square))) == 2


def test_work_reads_the_data_that_its_pack_names(executor):
    data = {name: works.CountedData(np.full(50_000, value)) for name, value in (("ones", 1.0), ("twos", 2.0))}
    items = [Item(f"{n}-{i}", (f"{n}-{i}", i), "p", n, 1.0, Resources()) for n in data for i in range(6)]
    totals = values(execute(executor, pack(items, 2), works.total, data))
    assert {key: total for key, (total, _) in totals.items()} == {
        f"{n}-{i}": i * value * 50_000 for n, value in (("ones", 1.0), ("twos", 2.0)) for i in range(6)
    }


def test_checkpoints_are_handed_to_their_own_runs(executor, tmp_path: Path):
    saved = {"run-1": {"count": np.asarray(7), "draws": np.ones(3)}, "elsewhere": {"count": np.asarray(9)}}
    (tmp_path / "run-0").touch()
    events = list(execute(executor, pack(items_of([str(tmp_path)] * 2), 2), works.count_up, checkpoints=saved))
    assert values(events) == {"run-0": (0, 0.0), "run-1": (7, 3.0)}
    (checkpoint,) = (event for event in events if isinstance(event, Checkpoint))
    assert checkpoint.run_key == "run-0"
    np.testing.assert_array_equal(checkpoint.arrays["draws"], np.arange(100_000.0))


def test_a_plan_that_cannot_be_accounted_for_is_refused(executor):
    twice = [Pack(tuple(items_of([1]))), Pack(tuple(items_of([2])))]
    with pytest.raises(ValueError, match="'run-0' is planned twice"):
        list(execute(executor, twice, works.square))
    with pytest.raises(ValueError, match="needs the data 'absent'"):
        list(execute(executor, pack(items_of([1], data="absent"), 1), works.square))


def test_an_interrupt_comes_through_keeps_what_was_finished_and_the_executor_goes_on(executor, tmp_path: Path):
    (tmp_path / "run-0").touch()
    items = items_of([str(tmp_path)] * 2)
    kept = []

    def interrupted():
        for event in execute(executor, [Pack((items[0],)), Pack((items[1],))], works.wait_for_sign):
            kept.append(event)
            if len(kept) == 3:  # run-0 has ended and run-1, which waits for a sign that never comes, has begun
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert values(kept) == {"run-0": "seen"}
    assert len(values(execute(executor, pack(items_of(range(4)), 2), works.square))) == 4


def test_an_iterator_that_is_given_up_ends_its_work(executor, tmp_path: Path):
    events = execute(executor, pack(items_of([str(tmp_path)]), 1), works.wait_for_sign)
    next(events)
    events.close()
    assert len(values(execute(executor, pack(items_of(range(4)), 2), works.square))) == 4


def test_both_executors_compute_the_same_bits(ray_executor, python):
    script = """
from cluster.resources import Resources, apply_environment
apply_environment(Resources())
from cluster.executor import InProcessExecutor
from tests.cluster import works
from tests.cluster.test_executor_contract import execute, items_of, values
from cluster.packing import pack
with InProcessExecutor() as executor:
    packs = pack(items_of(range(2), "regression"), 2)
    print(values(execute(executor, packs, works.gradient_steps, {"regression": works.regression_data()})))
"""
    packs = pack(items_of(range(2), "regression"), 1)
    on_ray = values(execute(ray_executor, packs, works.gradient_steps, {"regression": works.regression_data()}))
    assert len(set(on_ray.values())) == 2
    assert python(script).strip() == str(dict(sorted(on_ray.items())))
