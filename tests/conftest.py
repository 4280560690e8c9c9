"""Settings for all tests: the environment that workers have, and shapes checked by beartype."""

import os
from pathlib import Path

from cluster.resources import Resources, worker_environment

# Before JAX and NumPy start: one thread per computation, as in a worker, so that bits can be compared.
os.environ.update(worker_environment(Resources()))

import tests.typecheck  # noqa: F401 - the hook below finds it by name
from jaxtyping import install_import_hook

_hook = install_import_hook("models", "tests.typecheck.check")

import pytest


@pytest.fixture(scope="session")
def basin_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where BASIN_DATA does not name it."""
    folder = os.environ.get("BASIN_DATA")
    if not folder:
        pytest.skip("BASIN_DATA is not set: it names the folder of real data sets")
    return Path(folder)
