"""How the executor scales over machines: sleeping runs, so that this machine's cores do not bind.

The machines are Ray nodes on this one (`ray.cluster_utils.Cluster`), each with a raylet and an object store of its own;
the driver is on a head that takes no runs. Machines are added to the running cluster from step to step, and time is
measured when their workers are up. The executor does not know how long a run sleeps: all have the same cost.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.table import Table, figure
from benchmarks.work import sleep
from cluster.packing import Item
from cluster.ray_executor import RayExecutor
from cluster.resources import Resources
from cluster.runtime import HEALTH_CHECKS, connect
from models.runs.events import Result

CPUS = 2  # of each machine
SECONDS = (0.1, 0.3)  # the shortest and the longest run


def measure(machines: Sequence[int] = (1, 2, 4, 8), runs: int = 1500) -> dict[str, Any]:
    """Seconds that the same runs take on ever more machines, beside those that they would take at best."""
    seconds = np.random.default_rng(0).uniform(*SECONDS, runs)
    steps = []
    with _cluster() as cluster, RayExecutor() as executor:
        for n in machines:
            while len(cluster.worker_nodes) < n:
                cluster.add_node(num_cpus=CPUS)
            _warm_up(executor, n * CPUS)
            start = time.perf_counter()
            workers = _executed(executor, seconds)
            wall = time.perf_counter() - start
            assert len(workers) == n * CPUS, f"{len(workers)} of {n * CPUS} workers took part"
            steps.append({"machines": n, "seconds": wall, "at_best": float(seconds.sum()) / (n * CPUS)})
    return {"runs": runs, "cpus": CPUS, "steps": steps}


def tables(found: dict[str, Any]) -> list[Table]:
    """One row for each number of machines."""
    first = found["steps"][0]
    rows = [
        [
            str(step["machines"]),
            str(step["machines"] * found["cpus"]),
            figure(step["seconds"]),
            figure(step["at_best"]),
            f"{step['at_best'] / step['seconds']:.3f}",
            f"{first['seconds'] * first['machines'] / step['seconds'] / step['machines']:.3f}",
        ]
        for step in found["steps"]
    ]
    header = ["machines", "workers", "seconds", "at best", "efficiency", "against the first row"]
    return [Table(f"{found['runs']:,} runs that sleep {SECONDS[0]:g} to {SECONDS[1]:g} s", header, rows)]


@contextmanager
def _cluster() -> Iterator[Any]:
    """A head without a CPU, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.update(HEALTH_CHECKS)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        connect(cluster.address)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def _warm_up(executor: RayExecutor, workers: int) -> None:
    """Until so many workers are up."""
    until = time.monotonic() + 300
    while len(_executed(executor, np.full(4 * workers, 0.25))) < workers:
        assert time.monotonic() < until, f"{workers} workers did not start in five minutes"


def _executed(executor: RayExecutor, seconds: np.ndarray) -> set[int]:
    """Sleep so often; the processes that did."""
    items = (Item(f"run-{i}", (f"run-{i}", s), "sleep", "none", 1.0, Resources()) for i, s in enumerate(seconds))
    events = list(executor.execute(items, sleep, {"none": None}, {}))
    results = [event.value for event in events if isinstance(event, Result)]
    assert len(results) == len(seconds), f"{len(results)} of {len(seconds)} runs came back"
    return set(results)
