"""What a run asks of a worker, and the environment that makes its numbers the same on any worker."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from cluster.errors import ClusterError

# XLA sizes its thread pool by the CPUs it may use and splits sums by the pool's size, so results change with the
# number of cores unless both are fixed: the first flag alone does not suffice (measured with JAX 0.12).
# One thread gains nothing from the pieces that XLA cuts a program into, to compile them side by side.
_ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_cpu_parallel_codegen_split_count=1",
    "PJRT_NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
_GPU_SHARE = 0.9  # of a card's memory that JAX may claim; contexts and libraries of each process need the rest

_CACHE_BYTES = 2**32  # JAX locks its cache only if it has a size to keep, and else reads what another half wrote


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs of one worker; fractions share a core or a card.

    Raises:
        ValueError: no CPU, a negative number of GPUs, or more than one GPU and a fraction.
    """

    cpus: float = 1
    gpus: float = 0

    def __post_init__(self):
        if not self.cpus > 0:
            raise ValueError(f"a worker needs a share of a CPU: cpus is {self.cpus}, expected more than 0")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise ValueError(f"gpus is {self.gpus}: expected 0, a fraction of one card or a whole number of cards")


def worker_environment(resources: Resources, cache: Path | None = None) -> dict[str, str]:
    """Environment variables to set before JAX, NumPy, numba or PyTensor are imported.

    One thread for each computation, whatever the number of cores, so that no bit of a result depends on it; the CPU
    backend unless a GPU is asked for, and its share of memory for a fraction of one. Compiled programs are kept under
    `cache`, where it is given, and shared by all processes.
    """
    env = dict(_ONE_THREAD, JAX_PLATFORMS="cuda,cpu" if resources.gpus else "cpu")
    if 0 < resources.gpus < 1:
        env["XLA_CLIENT_MEM_FRACTION"] = f"{_GPU_SHARE * resources.gpus:.3f}"
    if cache is not None:
        env |= {
            "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_COMPILATION_CACHE_MAX_SIZE": str(_CACHE_BYTES),
            "NUMBA_CACHE_DIR": str(cache / "numba"),
            "PYTENSOR_FLAGS": f"base_compiledir={cache / 'pytensor'}",
        }
    return env


def apply_environment(resources: Resources, cache: Path | None = None) -> Mapping[str, str]:
    """Give this process a worker's environment, for runs executed in it; returns what was set.

    BLAS libraries that are loaded already are held to one thread as well.

    Raises:
        ClusterError: JAX was imported under another setting that its results depend on.
    """
    env = worker_environment(resources, cache)
    if "jax" in sys.modules:
        for name in ("XLA_FLAGS", "PJRT_NPROC", "JAX_PLATFORMS"):
            if os.environ.get(name) != env[name]:
                raise ClusterError(
                    f"JAX was imported with {name}={os.environ.get(name, '')!r}, and runs in this process need "
                    f"{env[name]!r}: call apply_environment before importing JAX, or set {name} in the shell"
                )
    os.environ.update(env)
    threadpool_limits(limits=1)
    return env
