"""What only actors can suffer: death, pending resources, objects that travel."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from cluster.errors import ClusterError
from cluster.packing import Item
from cluster.ray_executor import RayExecutor
from cluster.resources import Resources, worker_environment
from cluster.work import Lost
from models.runs.events import Checkpoint, Progress, Result
from tests.cluster.conftest import ROOT
from tests.cluster.test_executor_contract import execute, items_of, values
from tests.support import works


@pytest.fixture
def ray_executor(ray_cluster):
    """An executor of the test's own: one that idles would hold the CPUs that another waits for."""
    with RayExecutor(n_workers=2, env={"PYTHONPATH": str(ROOT)}) as executor:
        yield executor


def _pids(events) -> set[int]:
    return {int(event.facts["pid"]) for event in events if isinstance(event, Progress)}


def _gone(pids: set[int], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(psutil.pid_exists(pid) for pid in pids)


def test_runs_of_a_killed_actor_go_on_from_their_checkpoints_and_nothing_comes_twice(ray_executor, tmp_path: Path):
    (tmp_path / "run-0").touch()
    events, pid = [], 0
    (tmp_path / "run-2").touch()
    for event in execute(ray_executor, items_of([str(tmp_path)] * 3), works.count_up):
        events.append(event)
        if isinstance(event, Progress) and event.run_key == "run-1":
            pid = int(event.facts["pid"])
        if isinstance(event, Checkpoint) and event.run_key == "run-1":
            os.kill(pid, signal.SIGKILL)
    assert values(events) == {"run-0": (0, 0.0), "run-1": (5, np.arange(100_000.0).sum()), "run-2": (0, 0.0)}
    assert sum(isinstance(event, Result) for event in events) == 3
    assert pid in _pids(events)


def test_a_run_that_kills_its_workers_is_lost_after_three_attempts_and_harms_no_other(ray_executor):
    events = list(execute(ray_executor, items_of([False, True, False, False]), works.die_if_told))
    assert values(events) == {f"run-{i}": "alive" for i in (0, 2, 3)}
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.run_key, lost.attempts) == ("run-1", 3)
    assert "its worker process died" in lost.reason
    assert len(events) == 4


def test_the_attempts_are_a_setting(ray_cluster):
    with RayExecutor(n_workers=1, env={"PYTHONPATH": str(ROOT)}, attempts=1) as executor:
        events = list(execute(executor, items_of([True, False]), works.die_if_told))
    assert {type(event): event.run_key for event in events} == {Lost: "run-0", Result: "run-1"}


def test_data_are_packed_once_and_read_in_place(ray_executor):
    data = {"ones": works.CountedData(np.ones(50_000))}
    totals = values(execute(ray_executor, items_of(range(6), "ones"), works.total, data))
    assert data["ones"].pickled == 1
    assert {writeable for _, writeable in totals.values()} == {False}


def test_an_event_that_cannot_travel_loses_its_run_with_the_reason(ray_executor):
    (lost,) = execute(ray_executor, items_of([1]), works.unpicklable)
    assert isinstance(lost, Lost)
    assert "generator" in lost.reason
    assert len(values(execute(ray_executor, items_of(range(2)), works.square))) == 2


def test_two_workers_share_the_packs_and_no_actor_outlives_the_executor(ray_cluster, tmp_path: Path):
    with RayExecutor(n_workers=2, env={"PYTHONPATH": str(ROOT)}) as executor:
        pids = set(values(execute(executor, items_of([(str(tmp_path), 2)] * 2), works.meet)).values())
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert _gone(pids)


def test_workers_of_half_a_cpu_share_a_core(ray_cluster, tmp_path: Path):
    items = items_of([(str(tmp_path), 3)] * 3, resources=Resources(cpus=0.5))
    with RayExecutor(env={"PYTHONPATH": str(ROOT)}) as executor:  # three meet at once on two CPUs
        assert len(set(values(execute(executor, items, works.meet)).values())) == 3


def test_one_worker_takes_the_most_expensive_pack_first(ray_cluster):
    items = [Item(f"run-{c}", (f"run-{c}", c), "p", "none", float(c), Resources()) for c in (2, 9, 4)]
    with RayExecutor(n_workers=1, env={"PYTHONPATH": str(ROOT)}) as executor:
        events = list(execute(executor, items, works.square))
    assert list(values(events)) == ["run-9", "run-4", "run-2"]
    assert len(_pids(events)) == 1


def test_an_idle_worker_takes_over_what_a_busy_one_has_not_begun(ray_executor, tmp_path: Path):
    # The one long run comes when the program's speed is known from many short ones, so that others travel with it.
    items = items_of([(str(tmp_path), i == 40) for i in range(100)])
    finished_while_it_waits = set()
    for event in execute(ray_executor, items, works.one_waits):
        if isinstance(event, Result):
            finished_while_it_waits.add(event.run_key)
        if len(finished_while_it_waits) == 99:
            (tmp_path / "go").touch()
    assert len(finished_while_it_waits) == 100


def test_data_that_were_lost_are_put_into_the_store_again(ray_executor, monkeypatch: pytest.MonkeyPatch):
    import ray

    class Owner:
        def put(self, value):
            return [ray.put(value)]

    real_put, losses = ray.put, 0

    def put(value):
        nonlocal losses
        if losses == 1:
            return real_put(value)
        losses += 1
        owner = ray.remote(Owner).options(num_cpus=0).remote()
        (ref,) = ray.get(owner.put.remote(value))
        ray.kill(owner)  # the object goes with its owner
        return ref

    monkeypatch.setattr(ray, "put", put)
    data = {"ones": SimpleNamespace(values=np.ones(50_000))}
    totals = values(execute(ray_executor, items_of([3], "ones"), works.total, data))
    assert losses == 1
    assert totals == {"run-0": (150_000.0, False)}


def test_packs_of_different_resources_give_way_to_each_other(ray_cluster):
    small, large = items_of(range(4)), items_of(range(4), resources=Resources(cpus=2))
    large = [Item("large-" + i.run_key, ("large-" + i.run_key, 1), "p", "none", 3.0, i.resources) for i in large]
    with RayExecutor(env={"PYTHONPATH": str(ROOT)}) as executor:  # a worker with both CPUs leaves room for no other
        assert len(values(execute(executor, [*small, *large], works.square))) == 8


def test_resources_that_no_machine_has_are_waited_for_with_a_word_and_then_refused(ray_cluster):
    said = []
    with (
        RayExecutor(env={"PYTHONPATH": str(ROOT)}, patience=3, tell=said.append) as executor,
        pytest.raises(ClusterError, match=r"ask for 1 CPUs and 1 GPUs on one machine.*Nothing came in 3 s"),
    ):
        list(execute(executor, items_of([1], resources=Resources(gpus=1)), works.square))
    assert len(said) == 1
    assert said[0].endswith("add a machine. Waiting for 3 s")


def test_workers_have_their_environment(ray_executor):
    expected = worker_environment(Resources())
    names = ["PJRT_NPROC", "OMP_NUM_THREADS", "JAX_PLATFORMS", "XLA_FLAGS"]
    found = values(execute(ray_executor, items_of(names), works.environment))
    assert [found[f"run-{i}"][0] for i in range(4)] == [expected[name] for name in names]
    assert expected["PJRT_NPROC"] == "1" and "multi_thread_eigen=false" in expected["XLA_FLAGS"]


def test_a_worker_that_cannot_start_is_an_error_and_not_a_wait_without_end(ray_cluster, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['cluster'] = None")  # as if not installed
    with (
        RayExecutor(n_workers=1, env={"PYTHONPATH": str(tmp_path)}) as executor,
        pytest.raises(ClusterError, match="cannot start a worker"),
    ):
        list(execute(executor, items_of([1]), works.square))


@pytest.mark.parametrize("settings", [{"n_workers": 0}, {"attempts": 0}, {"width": 0}])
def test_no_workers_no_attempts_and_no_width_are_refused(settings):
    with pytest.raises(ValueError, match="at least 1 each"):
        RayExecutor(**settings)


def test_a_run_that_takes_too_long_is_ended_with_the_reason_and_the_others_go_on(ray_cluster):
    """Whether or not it says anything meanwhile."""
    with RayExecutor(n_workers=1, env={"PYTHONPATH": str(ROOT)}, seconds=2.0) as executor:
        found = list(execute(executor, items_of(range(5)), works.two_never_ends))
    (lost,) = [event for event in found if isinstance(event, Lost)]
    assert (lost.run_key, lost.attempts) == ("run-2", 1)
    assert lost.reason.startswith("it took more than 0.00055556 hours, the most that a run may take here, and was")
    assert values(found) == {f"run-{i}": i for i in (0, 1, 3, 4)}
