"""Memory of the geometric measures: what it grows with, by the compiler's account and by the process's peak.

The compiler accounts for results and scratch space of a compiled program, its inputs left out. The peak is that of a
process that takes one measure and does nothing else: `python -m benchmarks.memory NAME WIDTH ROWS`. Settings that
change the time alone are small.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.process import peak_bytes
from benchmarks.table import Table, figure
from models.geometry.definition import Point
from models.geometry.landscape import Landscape
from models.geometry.operators.products import Hessian
from models.geometry.operators.trace import estimate_trace
from models.joint import likelihoods
from models.joint.model import build
from models.measuring.catalogue import ask
from models.predictors.mlp import ACTIVATIONS, MLPNet

MIB = 2**20
N_INPUTS, N_CLASSES = 64, 10
FLOAT = 4


class Program(NamedTuple):
    """A function of a point, and the activation of the net that it is measured at."""

    call: Callable[[Point], Any]
    activation: str = "relu"


def _measure(name: str, activation: str = "relu", **settings: Any) -> Program:
    asked = ask(name, **settings)
    return Program(lambda point: asked.definition.compute(point, asked.settings), activation)


PROGRAMS: Mapping[str, Program] = {
    "gradient, for comparison": Program(lambda point: jax.grad(point.landscape.loss)(point.theta)),
    "Hessian product": Program(lambda point: Hessian(point.landscape, point.theta)(point.theta)),
    "hessian_top_eigenvalue, 100 products at most": _measure("hessian_top_eigenvalue", max_products=100),
    "hessian_trace, exact": _measure("hessian_trace"),
    "hessian_trace of a tanh net, exact": _measure("hessian_trace", "tanh"),
    "estimate_trace": Program(
        lambda point: estimate_trace(Hessian(point.landscape, point.theta), point.key, max_products=60)
    ),
    "hessian_spectral_density, 30 steps": _measure("hessian_spectral_density", steps=30, probes=2),
    "sharpness_sam": _measure("sharpness_sam"),
    "adaptive_sharpness_gaussian": _measure("adaptive_sharpness_gaussian", max_products=60),
    "fisher_rao_norm": _measure("fisher_rao_norm"),
    "path_norm": _measure("path_norm"),
    "pac_bayes_sigma": _measure("pac_bayes_sigma", pairs=2),
}


@dataclass(frozen=True)
class Plan:
    """Widths of both hidden layers, and numbers of rows, from small to large."""

    widths: tuple[int, int, int]
    rows: tuple[int, int, int]


# About 1e4, 1e5 and 1e6 parameters.
FULL = Plan(widths=(70, 280, 963), rows=(500, 2000, 8000))


def measure(plan: Plan = FULL) -> list[dict[str, Any]]:
    """For each program: bytes by the account at each size, and the process's peak with the fewest and most parameters.

    By rows with the middle one of the widths, by parameters with the middle one of the rows.
    """
    few, middle, many = plan.widths
    rows = plan.rows[1]
    return [
        {
            "name": name,
            "by_parameters": [account(program, width, rows) for width in plan.widths],
            "by_rows": [account(program, middle, n) for n in plan.rows],
            "peak": [peak(name, width, rows) for width in (few, many)],
        }
        for name, program in PROGRAMS.items()
    ]


def n_parameters(width: int) -> int:
    """Weights and biases of the net of that width."""
    return (N_INPUTS + 1) * width + (width + 1) * width + (width + 1) * N_CLASSES


def point(width: int, rows: int, activation: str) -> Point:
    """A net with random weights on random rows."""
    model = build(
        likelihoods.categorical(N_CLASSES), MLPNet, N_INPUTS, N_CLASSES, (width, width), ACTIVATIONS[activation]
    )
    x = jax.random.normal(jax.random.key(0), (rows, N_INPUTS))
    y = jax.random.randint(jax.random.key(1), (rows,), 0, N_CLASSES)
    theta = model.init(jax.random.key(2))
    return Point(Landscape(model, x, y), theta, jnp.full(theta.size, jnp.inf), jax.random.key(3))


def account(program: Program, width: int, rows: int) -> int:
    """Bytes of results and scratch space of the compiled program; nothing is computed."""
    shapes = jax.eval_shape(lambda: point(width, rows, program.activation))
    memory = jax.jit(program.call).lower(shapes).compile().memory_analysis()
    assert memory is not None, "this backend keeps no account of memory"
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def peak(name: str, width: int, rows: int) -> int:
    """Largest resident memory in bytes of a process of its own that takes the measure once; on Linux alone."""
    command = [sys.executable, "-m", "benchmarks.memory", name, str(width), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["peak_bytes"]


def tables(found: list[dict[str, Any]], plan: Plan = FULL) -> list[Table]:
    """The account at each size, what a further parameter and a further row bring, and p and n x p for comparison."""
    p, n = [n_parameters(width) for width in plan.widths], plan.rows
    header = ["what", *(f"MiB at p = {size:,}" for size in p)]
    header += ["bytes per further parameter", "of the process", f"bytes per further row at p = {p[1]:,}"]

    def line(name: str, by_p: list[int], peaks: list[int], by_n: list[int]) -> list[str]:
        growth = [slope(p[1:], by_p[1:]), slope([p[0], p[-1]], peaks), slope([n[0], n[-1]], [by_n[0], by_n[-1]])]
        return [name, *(figure(size / MIB) for size in by_p), *map(figure, growth)]

    body = [line(row["name"], row["by_parameters"], row["peak"], row["by_rows"]) for row in found]
    for name, times in (("p numbers", lambda _: 1), ("n × p numbers", lambda rows: rows)):
        by_p, by_n = [FLOAT * q * times(n[1]) for q in p], [FLOAT * p[1] * times(m) for m in n]
        body.append(line(f"for comparison: {name}", by_p, [by_p[0], by_p[-1]], by_n))
    return [Table(f"Memory beside the inputs, {N_INPUTS}-w-w-{N_CLASSES} nets on {n[1]:,} rows", header, body)]


def slope(sizes: list[int], n_bytes: list[int]) -> float:
    """Bytes per unit of size between two sizes."""
    return (n_bytes[1] - n_bytes[0]) / (sizes[1] - sizes[0])


def main() -> None:
    """Take one measure once, and print the process's peak."""
    name, width, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    program = PROGRAMS[name]
    jax.block_until_ready(jax.jit(program.call)(point(width, rows, program.activation)))
    print(json.dumps({"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
