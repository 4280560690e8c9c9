"""One Ray for the tests of a module, and both executors over it."""

import os
import sys
from pathlib import Path

import pytest

from cluster.executor import Executor, InProcessExecutor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ray_cluster(starts_ray: None):
    """Ray on this machine with two CPUs."""
    import ray

    from cluster.runtime import connect

    connect("local", num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def ray_executor(ray_cluster):
    """A Ray executor with two workers that the tests of a module share."""
    from cluster.ray_executor import RayExecutor

    with RayExecutor(n_workers=2, env={"PYTHONPATH": str(ROOT)}) as executor:
        yield executor


@pytest.fixture(params=["in-process", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Executor:
    """Each executor in turn."""
    return InProcessExecutor() if request.param == "in-process" else request.getfixturevalue("ray_executor")


@pytest.fixture
def python():
    """Runs a script of this project in a fresh interpreter, without the tests' environment; gives its output."""
    import subprocess

    def run(script: str, *arguments: str, **environment: str) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.endswith(("_NUM_THREADS", "XLA_FLAGS", "_NPROC"))}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            env=kept | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
