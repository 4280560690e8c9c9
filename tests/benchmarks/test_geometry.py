"""The geometry's benchmark in small, and what its figures rest on."""

import json
import os
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import geometry
from benchmarks.geometry_problem import digits, problem, trace, truth
from benchmarks.peers import unit_costs
from tests.support.landscapes import FAMILIES, dense_hessian, landscape_of

QUICK = geometry.Plan(
    works={
        "relu": {"product": 2, "products together": 1, "eigenvalues": 1, "trace": 1, "density": 1},
        "tanh": {"trace": 2},
    },
    rows=60,
    enlarge=1,
    widths=(8,),
    epochs=2,
    nets=2,
    rounds=2,
    steps=20,
    together=3,
)


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BASIN_TORCH_PYTHON", raising=False)
        return geometry.measure(QUICK)


@pytest.mark.soak
def test_every_work_is_measured_in_every_round(found):
    measured = {(row["net"], row["work"], row["how"]): row for row in found["rows"]}
    assert len(measured) == len(found["rows"]) == 7
    for (net, work, _), row in measured.items():
        assert row["n"] == QUICK.rounds * QUICK.works[net][work]
        assert 0 < row["range"][0] <= row["cost"] <= row["range"][1]
    assert found["pack"]["nets"] == 2
    assert "BASIN_TORCH_PYTHON" in found["peers"]


@pytest.mark.soak
def test_basins_values_are_as_near_the_truth_as_they_say(found):
    errors = {(row["work"], row["how"]): row["error"] for row in found["rows"] if row["net"] == "relu"}
    errors |= {(row["work"], row["how"]): row["error"] for row in found["rows"] if row["net"] == "tanh"}
    assert errors["product", ""] < 1e-5
    assert errors["eigenvalues", "certified"] < QUICK.tolerance
    assert errors["trace", "exact"] < 1e-5
    assert errors["trace", "to 1% standard error"] < 5 * QUICK.relative_error
    assert errors["density", ""] < 1e-3


@pytest.mark.soak
def test_the_figures_survive_json_and_fill_the_tables(found):
    tables = geometry.tables(json.loads(json.dumps(found)))
    assert [len(table.rows) for table in tables] == [7, 1, 2]
    assert all(len(row) == len(table.header) for table in tables for row in table.rows)


def test_the_peers_find_the_same_values():
    python = os.environ.get("BASIN_TORCH_PYTHON")
    needed = "import torch, pyhessian, curvlinops, hessian_eigenthings"
    if not python or subprocess.run([python, "-c", needed], capture_output=True, check=False).returncode:
        pytest.skip("BASIN_TORCH_PYTHON names no interpreter with the peers")
    x, y = digits(QUICK.rows, 2)
    problems = {name: problem(x, y, name, QUICK.widths, QUICK.epochs, 1) for name in QUICK.works}
    truths = {name: truth(p, QUICK.k) for name, p in problems.items()}
    rows = geometry.peers(x, y, problems, truths, QUICK, [0, 1])["rows"]
    assert {row["by"] for row in rows} == {"PyHessian", "curvlinops", "eigenthings"}
    for row in rows:
        true = truths[row["net"]]
        if row["work"].startswith("product"):
            assert max(row["values"]) < 1e-5
        elif row["work"] == "eigenvalues" and row["by"] != "PyHessian":  # whose stopping rule is too early
            np.testing.assert_allclose(row["values"][0], true.eigenvalues, rtol=1e-2)
        elif row["work"] == "trace":
            np.testing.assert_allclose(row["values"], true.trace, rtol=0.5)


@pytest.mark.parametrize(
    "activation", [jnp.tanh, *(pytest.param(each, marks=pytest.mark.soak) for each in (jax.nn.relu, jax.nn.gelu))]
)
def test_the_true_trace_is_that_of_the_dense_hessian(activation):
    with jax.enable_x64(True):
        landscape, theta = landscape_of(FAMILIES["categorical"], widths=(4, 5), activation=activation)
        dense = dense_hessian(landscape, theta)
        np.testing.assert_allclose(jax.jit(trace)(landscape, theta), np.trace(dense), rtol=1e-10)


def test_the_true_eigenvalues_and_product_are_those_of_the_dense_hessian():
    x, y = digits(30, 1)
    p = problem(x[:, 40:60], y, "relu", (4,), 2, 1)
    found = truth(p, 3)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, p.landscape)
        dense = dense_hessian(wide, jnp.asarray(p.thetas[0], jnp.float64))
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(dense)[::-1][:3], rtol=1e-7)
    np.testing.assert_allclose(found.product, dense @ found.direction, rtol=1e-9, atol=1e-12)


def test_digits_beyond_the_last_come_again_shifted():
    x, y = digits(1800, 3)
    assert x.shape == (1800, 784)
    assert y[1797] == y[0]
    np.testing.assert_array_equal(x[1797].reshape(28, 28)[:, 1:], x[0].reshape(28, 28)[:, :-1])


def test_a_cost_is_the_time_over_that_of_the_units_around_it(monkeypatch):
    """A unit takes 2 s, but 100 s once; work(i) takes 10 i s."""
    now = 0.0
    slow = iter([100.0])

    def unit():
        nonlocal now
        now += next(slow, 2.0)

    def work(i):
        nonlocal now
        now += 10.0 * i
        return i

    monkeypatch.setattr(unit_costs.time, "process_time", lambda: now)
    assert unit_costs.costs(work, unit, [1, 3]) == ([5.0, 15.0], [1, 3])
