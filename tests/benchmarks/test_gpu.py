"""The GPU benchmark, in small on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import gpu, gpu_tables
from benchmarks.gpu_cases import QUICK

ABSENT = ["ray", "polars", "pymc", "bambi", "arviz", "pydantic", "sklearn", "deltalake", "pyarrow", "typer", "rich"]


@pytest.fixture(scope="module")
def found():
    return gpu.measure(QUICK, seconds=600.0)


def _rows(found):
    groups = ("training", "curvature", "densities", "chains")
    return [row for group in groups for rows in found[group].values() for row in rows]


@pytest.mark.soak
def test_every_case_is_measured(found):
    assert [row["reason"] for row in _rows(found)] == [None] * 5
    assert all(v > 0 for row in _rows(found) for k, v in row["result"].items() if k.endswith("_per_second"))


@pytest.mark.soak
def test_a_pack_gives_what_its_members_give_alone(found):
    for check in found["checks"]:
        assert check["result"]["agree"]
        assert set(check["result"]["pack_against_single"]) >= {"training_one_epoch", "hessian_product"}


@pytest.mark.soak
def test_the_figures_survive_json_and_fill_the_tables(found):
    tables = gpu_tables.tables(json.loads(json.dumps(found)))
    assert [len(table.rows) for table in tables] == [2, 1, 1, 1]
    assert all(len(row) == len(table.header) for table in tables for row in table.rows)
    assert "tolerance 1e-04: met" in gpu_tables.sentence(found)


def test_a_case_that_does_not_fit_is_null_with_the_reason_and_the_next_one_runs():
    def case(n):
        jax.block_until_ready(jnp.zeros(n, jnp.float32))
        return {"bytes_per_second": 1.0}

    rows = gpu.Session(600.0).sizes("zeros", [2**50, 8], case)
    assert rows[0] == {"size": 2**50, "result": None, "reason": "out of memory"}
    assert rows[1]["result"]["bytes_per_second"] == 1.0
    header = ["n", "rate", "peak"]
    table = gpu_tables.table("Zeros", header, rows, lambda r: [str(r["bytes_per_second"]), "–"])
    assert table.rows[0] == [f"{2**50:,}", "out of memory", "–"]


def test_a_case_that_lacks_a_module_is_null_with_the_reason():
    def case(_):
        raise ModuleNotFoundError("No module named 'absent'", name="absent")

    assert gpu.Session(600.0).sizes("any", [1], case)[0]["reason"] == "not measured: absent is not installed"


def test_no_case_starts_after_the_time_is_up():
    rows = gpu.Session(-1.0).sizes("never", [1], lambda n: pytest.fail("it started"))
    assert rows == [{"size": 1, "result": None, "reason": "not started: the time was up"}]


def test_it_imports_nothing_that_a_bare_gpu_machine_lacks():
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); import benchmarks.gpu"
    root = Path(gpu.__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
