"""Machines that are killed, that vanish and that come, under one cluster of three for all tests."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import ClusterError
from cluster.packing import Item
from cluster.ray_executor import RayExecutor
from cluster.resources import Resources
from cluster.runtime import HEALTH_CHECKS, connect
from cluster.work import Lost
from models.runs.events import Checkpoint, Result
from tests.cluster.conftest import ROOT
from tests.cluster.test_executor_contract import execute, items_of, values
from tests.support import works
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    # Ray forks to start its processes, which run another program at once; JAX warns of it if another test imported it.
    pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning"),
]


class Machines:
    """A cluster whose head, where the driver is, has no CPU, and machines of one CPU each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.alive: list[Any] = []
        self.have(3)
        connect(self._cluster.address)

    def have(self, n: int) -> None:
        """Bring their number to n."""
        while len(self.alive) < n:
            self.add()
        while len(self.alive) > n:
            self.remove(self.alive[0])

    def add(self, **resources: float) -> Any:
        """One more."""
        self.alive.append(self._cluster.add_node(num_cpus=resources.pop("num_cpus", 1), **resources))
        return self.alive[-1]

    def remove(self, machine: Any) -> None:
        """All of its processes at once."""
        self.alive.remove(machine)
        self._cluster.remove_node(machine, allow_graceful=False)

    def kill_raylet(self, machine: Any) -> None:
        """Its raylet alone, as the kernel would."""
        os.kill(machine.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self.remove(machine)

    def of(self, node_id: str) -> Any:
        """The machine of an id."""
        return next(machine for machine in self.alive if machine.node_id == node_id)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster(starts_ray: None) -> Iterator[Machines]:
    import ray

    before = {name: os.environ.get(name) for name in HEALTH_CHECKS}
    os.environ.update(HEALTH_CHECKS)
    machines = Machines()
    yield machines
    ray.shutdown()
    machines.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def machines(cluster: Machines) -> Machines:
    """Three of them, whatever the last test left."""
    cluster.have(3)
    return cluster


def _executor(**settings: Any) -> RayExecutor:
    return RayExecutor(env={"PYTHONPATH": str(ROOT)}, **settings)


def _places(folder: Path) -> dict[str, set[str]]:
    """Where each run began, by what `works.place` left."""
    found: dict[str, set[str]] = {}
    for sign in folder.glob("run-*@*"):
        run_key, node_id = sign.name.split("@")
        found.setdefault(run_key, set()).add(node_id)
    return found


@pytest.mark.parametrize("kill", [Machines.remove, Machines.kill_raylet])
def test_runs_of_a_lost_machine_go_on_elsewhere_from_their_checkpoints(
    machines: Machines, tmp_path: Path, kill: Callable[[Machines, Any], None]
):
    events, moved = [], ""
    with _executor(attempts=1) as executor:  # a lost machine takes no attempt
        for event in execute(executor, items_of([str(tmp_path)] * 3), works.count_up_somewhere):
            events.append(event)
            if isinstance(event, Checkpoint) and not moved:
                moved = event.run_key  # which waits for a sign that never comes, unless it begins at its checkpoint
                (node_id,) = _places(tmp_path)[moved]
                kill(machines, machines.of(node_id))
                for other in {"run-0", "run-1", "run-2"} - {moved}:
                    (tmp_path / other).touch()
    assert values(events).keys() == {"run-0", "run-1", "run-2"}
    assert Counter(type(event) for event in events)[Result] == 3
    assert len(_places(tmp_path)[moved]) == 2
    assert values(events)[moved] == (5, np.arange(100_000.0).sum())


def test_a_machine_that_joins_gets_work_that_waits(machines: Machines, tmp_path: Path):
    machines.have(1)
    with _executor() as executor:
        events = execute(executor, items_of([str(tmp_path)] * 4), works.place)
        seen = [next(events)]
        joined = machines.add().node_id
        threading.Thread(target=_open_when, args=(tmp_path, lambda: _is_used(tmp_path, joined))).start()
        assert joined in values([*seen, *events]).values()


def test_without_a_machine_it_waits_and_goes_on_when_one_comes(machines: Machines, tmp_path: Path):
    machines.have(1)
    said: list[str] = []

    def add_one(text: str) -> None:
        said.append(text)
        machines.add()
        (tmp_path / "go").touch()

    with _executor(patience=120, tell=add_one) as executor:
        events = execute(executor, items_of([str(tmp_path)] * 4), works.place)
        seen = [next(events)]
        machines.have(0)
        assert len(values([*seen, *events])) == 4
    assert len(said) == 1
    assert "no machine of the cluster has as many" in said[0]


def test_the_patience_has_an_end(machines: Machines, tmp_path: Path):
    machines.have(1)
    with _executor(patience=2, tell=lambda text: None) as executor:
        events = execute(executor, items_of([str(tmp_path)]), works.place)
        next(events)
        machines.have(0)
        with pytest.raises(ClusterError, match=r"add a machine\. Nothing came in 2 s; what is finished is kept"):
            list(events)


def test_a_run_that_kills_its_worker_is_tried_on_another_machine(machines: Machines, tmp_path: Path):
    with _executor() as executor:
        (lost,) = execute(executor, items_of([str(tmp_path)]), works.place_and_die)
    assert isinstance(lost, Lost)
    assert lost.attempts == 3
    assert len(_places(tmp_path)["run-0"]) >= 2


def test_data_whose_only_copy_is_lost_while_runs_wait_are_put_again_once(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    machines.have(1)
    (first,) = machines.alive
    real_put, puts = ray.put, []

    def put(value: Any) -> Any:
        """The first time not here, but on the machine that will be lost."""
        puts.append(value)
        if len(puts) > 1:
            return real_put(value)
        there = NodeAffinitySchedulingStrategy(first.node_id, soft=False)
        return ray.remote(lambda: value).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()

    monkeypatch.setattr(ray, "put", put)
    data = {"ones": np.ones(50_000)}
    with _executor(attempts=1) as executor:  # a single death would be one too many
        events = execute(executor, items_of([str(tmp_path)] * 8, "ones"), works.total_when_told, data)
        seen = [next(events)]  # one run is at work, and the others wait
        machines.have(4)
        machines.remove(first)  # the workers of the other three all miss the data now
        _kill(int((tmp_path / "pid").read_text()))  # which outlives its machine's raylet for a moment
        (tmp_path / "go").touch()
        events = [*seen, *events]
    assert values(events) == {f"run-{i}": 50_000.0 for i in range(8)}
    assert not any(isinstance(event, Lost) for event in events)
    assert len(puts) == 2


def test_nets_on_gpus_and_formulas_on_cpus_go_side_by_side(machines: Machines, tmp_path: Path):
    machines.have(2)
    with_gpu = machines.add(num_gpus=1, num_cpus=1).node_id
    cpu = [Item(f"run-c{i}", (f"run-c{i}", str(tmp_path)), "c", "none", 1.0, Resources()) for i in range(6)]
    gpu = [Item(f"run-g{i}", (f"run-g{i}", str(tmp_path)), "g", "none", 1.0, Resources(gpus=1)) for i in range(2)]

    def both_at_work() -> bool:
        return {key[:5] for key in _places(tmp_path)} == {"run-c", "run-g"}

    threading.Thread(target=_open_when, args=(tmp_path, both_at_work)).start()
    with _executor() as executor:
        found = values(execute(executor, [*cpu, *gpu], works.place))  # the GPU's only CPU is not taken by the first
    assert len(found) == 8
    assert {found[item.run_key] for item in gpu} == {with_gpu}
    assert executor.spent.cpu_seconds > executor.spent.gpu_seconds > 0


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _is_used(folder: Path, node_id: str) -> bool:
    return bool(node_id) and any(node_id in places for places in _places(folder).values())


def _open_when(folder: Path, condition: Callable[[], bool]) -> None:
    wait_until(condition)
    (folder / "go").touch()
