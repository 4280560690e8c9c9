"""Costs of the geometry in full-batch gradients, side by side with PyHessian, curvlinops and eigenthings.

The same weights and rows for all; Basin and the peers take turns, in several rounds with fresh seeds. Each value is
compared with the truth in float64, so that nothing looks cheap by being wrong. The peers run in the interpreter that
BASIN_TORCH_PYTHON names, since they are no dependencies of Basin. A unit is a gradient of the same implementation.
"""

import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.geometry_problem import Problem, Truth, digits, problem, truth
from benchmarks.peer import run_peer
from benchmarks.peers.unit_costs import costs, unit_seconds
from benchmarks.table import Table, figure
from models.geometry.definition import Point
from models.geometry.families.spectral_density import lanczos_quadrature, spectral_density
from models.geometry.operators.lanczos import top_eigenpairs
from models.geometry.operators.products import Hessian
from models.geometry.operators.trace import estimate_trace, exact_trace
from models.measuring.at_points import measure as measure_at
from models.measuring.catalogue import ask

WORKS = {
    "product": "Hessian product",
    "products together": "Hessian product, of ten at once",
    "eigenvalues": "five eigenvalues to 1e-3",
    "trace": "trace",
    "density": "spectral density, 100 steps",
}
CURVATURE = (ask("hessian_top_eigenvalue"), ask("hessian_trace"))


@dataclass(frozen=True)
class Plan:
    """What is measured, and at which sizes.

    Attributes:
        works: for each activation, the works and how often each is done in a round.
        nets: the ReLU nets that are measured in one call.
        enlarge: how many pixels a pixel of the digits becomes, each way.
        steps: of a spectral density.
        together: directions of one call.
    """

    works: dict[str, dict[str, int]]
    rows: int = 2000
    enlarge: int = 3
    widths: tuple[int, ...] = (128, 128)
    epochs: int = 2
    nets: int = 32
    rounds: int = 3
    k: int = 5
    tolerance: float = 1e-3
    relative_error: float = 0.01
    steps: int = 100
    together: int = 10


FULL = Plan(
    works={
        "relu": {"product": 10, "products together": 5, "eigenvalues": 1, "trace": 1, "density": 1},
        "tanh": {"trace": 2},
    }
)


class Case(NamedTuple):
    """A piece of work; `call` takes a seed. `share`: how many results one call gives."""

    work: str
    how: str
    call: Callable[[int], Any]
    share: int = 1


def measure(plan: Plan = FULL) -> dict[str, Any]:
    """Costs and errors of all works, and the cost of many nets in one call."""
    x, y = digits(plan.rows, plan.enlarge)
    problems = {
        activation: problem(x, y, activation, plan.widths, plan.epochs, plan.nets if activation == "relu" else 1)
        for activation in plan.works
    }
    truths = {activation: truth(p, plan.k) for activation, p in problems.items()}
    basin = [_basin(name, p, truths[name], plan) for name, p in problems.items()]
    most = max(n for works in plan.works.values() for n in works.values())
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    versions = None
    units: dict[str, list[float]] = {"Basin": []}
    for round_ in range(plan.rounds):
        seeds = list(range(round_ * most, (round_ + 1) * most))
        found = [row for measured in basin for row in measured(seeds)]
        units["Basin"] += [unit_seconds(_unit(p)) for p in problems.values()]
        theirs = peers(x, y, problems, truths, plan, seeds)
        if theirs is not None:
            versions = theirs["versions"]
            units.setdefault("PyTorch", []).extend(theirs["unit_seconds"])
            found += theirs["rows"]
        for row in found:
            name = tuple(row[key] for key in ("net", "work", "by", "how"))
            kept = rows.setdefault(name, row | {"costs": [], "values": []})
            kept["costs"] += row["costs"]
            kept["values"] += row["values"]
    return {
        "net": "-".join(map(str, (x.shape[1], *plan.widths, 10))),
        "plan": asdict(plan),
        "peers": versions or "not measured: BASIN_TORCH_PYTHON names no interpreter with them",
        "truth": {name: {"eigenvalues": t.eigenvalues.tolist(), "trace": t.trace} for name, t in truths.items()},
        "rows": [_summary(row, truths[row["net"]]) for row in rows.values()],
        "unit_seconds": {name: statistics.median(seconds) for name, seconds in units.items()},
        "pack": _pack(problems["relu"]) if "relu" in problems else None,
    }


def _summary(row: dict[str, Any], true: Truth) -> dict[str, Any]:
    """Median and range of the costs, and the error of the values: the root mean square for traces, else the worst."""
    values = row.pop("values")
    match row["work"]:
        case "eigenvalues":
            error = float(np.max(np.abs(np.asarray(values) / true.eigenvalues - 1.0)))
        case "trace":
            error = math.sqrt(statistics.fmean((value / true.trace - 1.0) ** 2 for value in values))
        case "density":
            error = None if None in values else max(abs(value / true.eigenvalues[0] - 1.0) for value in values)
        case _:
            error = max(values)
    found = row.pop("costs")
    return row | {"cost": statistics.median(found), "range": [min(found), max(found)], "n": len(found), "error": error}


# --- Basin ------------------------------------------------------------------------------------------------------------


def _basin(activation: str, p: Problem, true: Truth, plan: Plan) -> Callable[[list[int]], Iterator[dict[str, Any]]]:
    """What measures one round with its seeds, compiled by now: one row for each work, as the peers give them."""
    works = plan.works[activation]
    unit = _unit(p)
    cases = [case for case in _cases(activation, p, true, plan) if case.work in works]
    for case in cases:
        case.call(0)

    def measured(seeds: list[int]) -> Iterator[dict[str, Any]]:
        for case in cases:
            found, values = costs(case.call, unit, seeds[: works[case.work]])
            row = {"net": activation, "work": case.work, "by": "Basin", "how": case.how}
            yield row | {"costs": [c / case.share for c in found], "values": values}

    return measured


def _unit(p: Problem) -> Callable[[], Any]:
    """A gradient of the full batch, compiled."""
    theta = jnp.asarray(p.thetas[0])
    gradient = jax.jit(lambda landscape, t: jax.grad(landscape.loss)(t)).lower(p.landscape, theta).compile()
    return lambda: gradient(p.landscape, theta).block_until_ready()


def _cases(activation: str, p: Problem, true: Truth, plan: Plan) -> Iterator[Case]:
    theta = jnp.asarray(p.thetas[0])
    of = Hessian(p.landscape, theta)
    direction = jnp.asarray(true.direction, theta.dtype)
    several = jax.random.normal(jax.random.key(0), (plan.together, theta.size), theta.dtype).at[0].set(direction)

    def error(product: Array) -> float:
        return float(np.linalg.norm(np.asarray(product, float) - true.product) / np.linalg.norm(true.product))

    product = jax.jit(lambda of, v: of(v))
    together = jax.jit(lambda of, vs: jax.lax.map(of.linearise(), vs))
    eigenpairs = jax.jit(lambda of, key: top_eigenpairs(of, key, k=plan.k, tolerance=plan.tolerance))
    exact = jax.jit(exact_trace)
    estimate = jax.jit(lambda of, key: estimate_trace(of, key, relative_error=plan.relative_error, max_products=1000))

    @jax.jit
    def density(of: Hessian, key: Array) -> Any:
        quadrature = lanczos_quadrature(of, key, steps=plan.steps, probes=1)
        return jnp.max(quadrature.nodes), spectral_density(quadrature, plan.steps)

    yield Case("product", "", lambda seed: error(product(of, direction)))
    yield Case("products together", "", lambda seed: error(together(of, several)[0]), plan.together)
    yield Case("eigenvalues", "certified", lambda seed: eigenpairs(of, jax.random.key(seed)).values.tolist())
    yield Case("trace", "exact", lambda seed: float(exact(p.landscape, theta).value))
    if activation != "relu":
        how = f"to {plan.relative_error:.0%} standard error"
        yield Case("trace", how, lambda seed: float(estimate(of, jax.random.key(seed)).value))
    yield Case("density", "", lambda seed: float(jax.block_until_ready(density(of, jax.random.key(seed)))[0]))


def _pack(p: Problem) -> dict[str, Any]:
    """Top eigenvalue and trace of all nets in one call, and of each alone."""
    points = [
        Point(p.landscape, jnp.asarray(theta), jnp.full(theta.size, jnp.inf), jax.random.key(i))
        for i, theta in enumerate(p.thetas)
    ]

    def take(chosen: list[Point]) -> None:
        for asked in CURVATURE:
            measure_at(chosen, asked)

    take(points[:1])
    alone, _ = costs(lambda point: take([point]), _unit(p), points)
    together, _ = costs(take, _unit(p), [points])
    mean = statistics.fmean(alone)
    return {"nets": len(points), "together": together[0], "mean_alone": mean, "ratio": together[0] / mean}


# --- the peers --------------------------------------------------------------------------------------------------------


def peers(
    x: np.ndarray, y: np.ndarray, problems: dict[str, Problem], truths: dict[str, Truth], plan: Plan, seeds: list[int]
) -> dict[str, Any] | None:
    """The rows of one round and the peers' versions, or None where there is no interpreter for them."""
    settings = asdict(plan) | {"classes": 10, "seeds": seeds}
    arrays = {"x": x, "y": y.astype(np.int64), "settings": json.dumps(settings)}
    for name, p in problems.items():
        arrays[f"{name}_theta"] = p.thetas[0]
        arrays[f"{name}_direction"], arrays[f"{name}_product"] = truths[name].direction, truths[name].product
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problem.npz"
        np.savez(file, **arrays)
        return run_peer("BASIN_TORCH_PYTHON", "geometry_torch.py", str(file))


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any]) -> list[Table]:
    """One row for each work and whom it is done by, and the pack."""
    plan = found["plan"]
    rows = []
    for activation, works in plan["works"].items():
        for work in works:
            for row in found["rows"]:
                if (row["net"], row["work"]) == (activation, work):
                    label = f"{WORKS[work]}{f' of a {activation} net' if work == 'trace' else ''}: {row['by']}"
                    low, high = row["range"]
                    rows.append(
                        [
                            f"{label}, {row['how']}" if row["how"] else label,
                            figure(row["cost"]),
                            f"{figure(low)} to {figure(high)}",
                            "–" if row["error"] is None else f"{row['error']:.1e}",
                        ]
                    )
    title = f"Geometry of {found['net']} nets on {plan['rows']:,} rows, float32, one thread"
    header = ["what, by whom", "gradients", "range", "relative error"]
    made = [
        Table(title, header, rows),
        Table(
            "The unit: one full-batch gradient",
            ["in", "milliseconds"],
            [[name, figure(1e3 * seconds)] for name, seconds in found["unit_seconds"].items()],
        ),
    ]
    if pack := found["pack"]:
        made.append(
            Table(
                f"Top eigenvalue and exact trace of {pack['nets']} trained nets",
                ["what", "gradients", "times one net"],
                [
                    ["a net alone, mean", figure(pack["mean_alone"]), "1"],
                    [f"{pack['nets']} nets in one call", figure(pack["together"]), figure(pack["ratio"])],
                ],
            )
        )
    return made
