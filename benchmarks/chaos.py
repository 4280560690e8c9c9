"""Chaos equals calm: a sweep whose workers, nodes and driver are killed leaves the results of an undisturbed one.

`survive` runs a sweep on a Ray cluster of three nodes on this machine by the real command, once undisturbed and once
under the strikes of `benchmarks.chaos_monkey`, each into a store of its own.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos_cluster import Nodes
from benchmarks.chaos_monkey import Account, Driver, Kind, Monkey, Strike, draw_strikes
from benchmarks.chaos_stores import differences, faults, n_rows
from benchmarks.table import Table, figure
from services.provenance import PROJECT
from services.store.store import Store

N_NODES = 3

_NET = {"kind": "mlp", "widths": [16]}
_SMALL_NET = {"kind": "mlp", "widths": [4]}
_PRIOR = {"kind": "normal", "scale": 2.0}
_SGD = {"method": "optimise", "optimiser": "sgd", "learning_rate": 0.05, "clip": 1.0}
_ADAM = {"method": "optimise", "optimiser": "adam", "learning_rate": 0.01}
_LBFGS = {"method": "optimise", "optimiser": "lbfgs", "batch_size": None}
# Checkpoints of so many draws that they travel in the object store of their worker's node.
_NUTS = {
    "method": "nuts",
    "chains": 2,
    "warmup": 200,
    "draws": 800,
    "max_tree_depth": 5,
    "init": {"epochs": 10, "learning_rate": 0.01},
}

# 3 data sets x 7 learners x 5 splits x 2 seeds: 210 runs.
FULL: Mapping[str, Any] = {
    "name": "chaos",
    "datasets": ["iris", "two-moons:n=200", "linear-gaussian:n=150"],
    "splits": 5,
    "seeds": 2,
    "learners": [
        {"name": "net-sgd", "predictor": _NET, "inference": {**_SGD, "epochs": 40}},
        {"name": "net-sgd-large-batch", "predictor": _NET, "inference": {**_SGD, "epochs": 80, "batch_size": 128}},
        {"name": "net-adam", "predictor": _NET, "inference": {**_ADAM, "epochs": 40, "dropout": 0.1}},
        {"name": "bnn-nuts", "predictor": _SMALL_NET, "prior": _PRIOR, "inference": _NUTS},
        {
            "name": "glm-pymc",
            "predictor": {"kind": "formula"},
            "prior": _PRIOR,
            "inference": {"method": "pymc", "chains": 2, "warmup": 200, "draws": 200},
        },
        {"name": "linear-map", "predictor": {"kind": "linear"}, "prior": _PRIOR, "inference": _LBFGS},
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


def measure(seed: int = 0) -> dict[str, Any]:
    """Figures of the full sweep in calm and in chaos.

    Raises:
        RuntimeError: chaos did not equal calm, or something that should have been killed was not.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = survive(FULL, STRIKES, seed, Path(folder), warm_up=True)
    if found.wrong:
        raise RuntimeError("\n".join([f"chaos of seed {seed} does not equal calm:", *found.wrong]))
    struck = {
        kind: [len(these), sum(each.packs for each in these)]
        for kind in STRIKES
        for these in [[each for each in found.chaos.struck if each.strike.kind is kind]]
    }
    accounts = {
        name: {"seconds": account.seconds, "worker_seconds": account.worker_seconds}
        for name, account in (("calm", found.calm), ("chaos", found.chaos))
    }
    return {"seed": seed, "runs": found.n_runs, "rows": found.rows, "nodes": N_NODES, "struck": struck, **accounts}


def tables(found: dict[str, Any]) -> list[Table]:
    """What was killed, and what that cost."""
    counts = [(kind, n, packs) for kind, (n, packs) in found["struck"].items()]
    counts.append(("in all", sum(n for _, n, _ in counts), sum(packs for _, _, packs in counts)))
    kills = Table(
        f"What was killed by SIGKILL, seed {found['seed']}",
        ["what", "times", "packs begun again"],
        [[kind, str(n), str(packs)] for kind, n, packs in counts],
    )
    calm, chaos = found["calm"], found["chaos"]
    costs = [
        ["wall time, seconds", *_ratio(calm["seconds"], chaos["seconds"])],
        ["processor time of all workers, seconds", *_ratio(calm["worker_seconds"], chaos["worker_seconds"])],
        ["runs finished", *_ratio(found["runs"], found["runs"])],
        ["rows in the tables", *_ratio(found["rows"], found["rows"])],
        ["bits that differ", "", "0", ""],
    ]
    title = f"A sweep of {found['runs']} runs on {found['nodes']} nodes of one CPU each"
    return [kills, Table(title, ["what", "calm", "chaos", "ratio"], costs)]


def _ratio(calm: float, chaos: float) -> list[str]:
    return [figure(calm), figure(chaos), figure(chaos / calm)]


def survive(
    sweep: Mapping[str, Any],
    counts: Mapping[Kind, int],
    seed: int,
    folder: Path,
    n_workers: int = N_NODES,
    *,
    warm_up: bool = False,
) -> Survival:
    """Run a sweep in calm and in chaos on one cluster, each into a store of its own in `folder`, and compare these.

    Both find the compiled programs of those before them in one cache. `warm_up` runs the sweep on one split first, so
    that times can be compared.

    Raises:
        RuntimeError: a driver ended by itself, and not well.
    """
    calm_store, chaos_store = (folder / name / "store" for name in ("calm", "chaos"))
    with Nodes(N_NODES) as nodes:

        def run(sweep: Mapping[str, Any], store: Path, strikes: Sequence[Strike]) -> Account:
            return Monkey(nodes, _driver(sweep, nodes, store, n_workers), store, strikes).run()

        if warm_up:
            run({**sweep, "splits": 1, "seeds": 1}, folder / "warm-up" / "store", [])
        calm = run(sweep, calm_store, [])
        n_runs = len(Store(calm_store).sweep(sweep["name"])[1])
        chaos = run(sweep, chaos_store, draw_strikes(seed, n_runs, counts))
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
        command, {**kept, **nodes.environment, "BASIN_CACHE": str(cache), "PYTHONPATH": path}, store.with_name("driver")
    )
