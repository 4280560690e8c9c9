import os
from pathlib import Path

import pytest

from cluster.resources import Resources, worker_environment

_BITS = """
import sys, psutil
psutil.Process().cpu_affinity(psutil.Process().cpu_affinity()[:int(sys.argv[1])])
if sys.argv[2] == "apply":
    from cluster.resources import Resources, apply_environment
    apply_environment(Resources())
from tests.support import works
works.gradient_steps([("run", 0)], works.regression_data(), {}, lambda event: print(event.value))
"""


@pytest.mark.parametrize(
    ("cpus", "gpus", "message"),
    [(0, 0, "cpus is 0"), (-1, 0, "cpus is -1"), (float("nan"), 0, "cpus"), (1, -1, "gpus is -1"), (1, 1.5, "1.5")],
)
def test_impossible_requests_are_refused(cpus, gpus, message):
    with pytest.raises(ValueError, match=message):
        Resources(cpus, gpus)


def test_a_worker_without_a_gpu_keeps_to_the_cpu_and_one_with_a_fraction_to_its_share():
    assert worker_environment(Resources())["JAX_PLATFORMS"] == "cpu"
    assert "XLA_CLIENT_MEM_FRACTION" not in worker_environment(Resources(gpus=1))
    quarter = worker_environment(Resources(gpus=0.25))
    assert quarter["JAX_PLATFORMS"] == "cuda,cpu"
    assert 0.2 < float(quarter["XLA_CLIENT_MEM_FRACTION"]) < 0.25


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to compare one with")
def test_no_bit_depends_on_the_number_of_cores(python):
    one, more = (python(_BITS, n, "apply") for n in ("1", "99"))
    assert one == more
    assert len(one.strip()) == 64


def test_compiled_programs_are_kept_where_they_were_told_to(python, tmp_path: Path):
    script = f"""
from pathlib import Path
from cluster.resources import Resources, apply_environment
apply_environment(Resources(), Path({str(tmp_path)!r}))
import jax, numba, pytensor
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.block_until_ready(jax.jit(lambda a: a @ a.T + 1)(jax.numpy.ones((9, 9))))
print(numba.config.CACHE_DIR, pytensor.config.base_compiledir, numba.config.NUMBA_NUM_THREADS, sep="\\n")
"""
    assert python(script).split() == [str(tmp_path / "numba"), str(tmp_path / "pytensor"), "1"]
    assert list((tmp_path / "jax").glob("*-cache"))


def test_a_process_that_imported_jax_with_other_settings_is_told_so(python):
    script = """
import jax
from cluster.errors import ClusterError
from cluster.resources import Resources, apply_environment
try:
    apply_environment(Resources())
except ClusterError as error:
    print(error)
"""
    assert "JAX was imported with PJRT_NPROC='2'" in python(
        script, XLA_FLAGS=worker_environment(Resources())["XLA_FLAGS"], PJRT_NPROC="2"
    )
    assert python(script, **worker_environment(Resources())) == ""


def test_blas_that_was_loaded_before_is_held_to_one_thread(python):
    script = """
import numpy, threadpoolctl
from cluster.resources import Resources, apply_environment
apply_environment(Resources())
print({pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""
    assert python(script).strip() == "{1}"
