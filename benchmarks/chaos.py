"""Chaos equals calm: a sweep whose workers, nodes and driver are killed leaves the results of an undisturbed one.

`survive` runs a sweep on a Ray cluster of three nodes on this machine by the real command, once undisturbed and once
under the strikes of `benchmarks.chaos_monkey`, each into a store of its own.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos_cluster import Nodes
from benchmarks.chaos_monkey import Account, Driver, Kind, Monkey, draw_strikes
from benchmarks.chaos_stores import differences, faults, n_rows
from benchmarks.table import Table, figure
from services.provenance import PROJECT
from services.store import Store

N_NODES = 3

_NET = {"kind": "mlp", "widths": [16]}
_SMALL_NET = {"kind": "mlp", "widths": [4]}
_PRIOR = {"kind": "normal", "scale": 2.0}
_SGD = {"method": "optimise", "optimiser": "sgd", "learning_rate": 0.05, "clip": 1.0}
_CHAINS = {"init": {"epochs": 10, "learning_rate": 0.01}}

# 3 datasets x 10 learners, one of them at two learning rates ... see `n_runs`.
FULL: Mapping[str, Any] = {
    "name": "chaos",
    "datasets": ["iris", "two-moons:n=200", "linear-gaussian:n=150"],
    "splits": 5,
    "seeds": 2,
    "measures": [],
    "vary": {"inference.learning_rate": [0.003, 0.03]},
    "learners": [
        {"name": "net-sgd", "predictor": _NET, "inference": {**_SGD, "epochs": 30}},
        {"name": "net-adam", "predictor": _NET, "inference": {"method": "optimise", "epochs": 30, "dropout": 0.1}},
        {
            "name": "bnn-nuts",
            "predictor": _SMALL_NET,
            "prior": _PRIOR,
            "inference": {"method": "nuts", "chains": 2, "warmup": 200, "draws": 600, "max_tree_depth": 5, **_CHAINS},
        },
        {
            "name": "glm-pymc",
            "predictor": {"kind": "formula"},
            "prior": _PRIOR,
            "inference": {"method": "pymc", "chains": 2, "warmup": 200, "draws": 200},
        },
        {
            "name": "linear-map",
            "predictor": {"kind": "linear"},
            "prior": _PRIOR,
            "inference": {"method": "optimise", "optimiser": "lbfgs", "batch_size": None},
        },
        {"name": "boosted-trees", "predictor": {"kind": "boosted-trees"}, "inference": {"method": "library"}},
    ],
}
STRIKES: Mapping[Kind, int] = {
    Kind.SAMPLING: 3,
    Kind.WORKER: 5,
    Kind.IDLE: 3,
    Kind.NODE: 4,
    Kind.COMMIT: 2,
    Kind.DRIVER: 2,
}


@dataclass(frozen=True)
class Survival:
    """What became of a sweep in calm and in chaos.

    Attributes:
        wrong: in what the results differ, and what else is not as it should be, in words.
        rows: of all tables.
    """

    n_runs: int
    calm: Account
    chaos: Account
    rows: int
    wrong: list[str]


def survive(
    sweep: Mapping[str, Any], counts: Mapping[Kind, int], seed: int, folder: Path, n_workers: int = N_NODES
) -> Survival:
    """Run a sweep in calm and in chaos on one cluster, each into a store of its own in `folder`, and compare these.

    Both find the compiled programs of those before them in one cache.

    Raises:
        RuntimeError: a driver ended by itself, and not well.
    """
    calm_store, chaos_store = folder / "calm" / "store", folder / "chaos" / "store"
    with Nodes(N_NODES) as nodes:
        calm = Monkey(nodes, _driver(sweep, nodes, calm_store, n_workers), calm_store, []).run()
        n_runs = len(Store(calm_store).sweep(sweep["name"])[1])
        strikes = draw_strikes(seed, n_runs, counts)
        chaos = Monkey(nodes, _driver(sweep, nodes, chaos_store, n_workers), chaos_store, strikes).run()
    wrong = [f"in calm: {what}" for what in faults(calm_store, n_runs)]
    wrong += [f"in chaos: {what}" for what in faults(chaos_store, n_runs)] + differences(calm_store, chaos_store)
    wrong += [f"{strike.kind} was not struck, due at {strike.due} runs" for strike in chaos.missed]
    return Survival(n_runs, calm, chaos, n_rows(calm_store), wrong)


def _driver(sweep: Mapping[str, Any], nodes: Nodes, store: Path, n_workers: int) -> Driver:
    store.parent.mkdir(parents=True)
    file = store.with_name("sweep.json")
    file.write_text(json.dumps(sweep), encoding="utf-8")
    command = [sys.executable, "-m", "services.cli", "sweep", "run", str(file), "--address", nodes.address]
    command += ["--store", str(store), "--workers", str(n_workers)]
    # Without what this process was given: the command sets its threads itself.
    ours = ("BASIN_", "RAY_", "JAX_", "XLA_", "PJRT_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and not k.endswith("_NUM_THREADS")}
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    cache = store.parents[1] / "cache"
    return Driver(
        command, kept | nodes.environment | {"BASIN_CACHE": str(cache), "PYTHONPATH": path}, store.with_name("driver")
    )
