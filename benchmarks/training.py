"""Training throughput in runs x steps per second, against a PyTorch eager loop and a `torch.func` ensemble.

The same net, data, batch size and number of steps; one thread each. PyTorch runs in an interpreter of its own, named by
BASIN_TORCH_PYTHON, since it is no dependency of Basin. Basin and the peer take turns, so that other work on the machine
hits both, and each round gives a ratio.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from benchmarks.peer import run_peer
from benchmarks.table import Table, figure
from models.inference.lock_step import Member, train
from models.inference.optimise import Data, Rates, trainer
from models.joint import likelihoods
from models.joint.model import build
from models.joint.priors import flat_scales
from models.predictors.mlp import ACTIVATIONS, MLPNet

SETTINGS = {"widths": [32, 32], "batch_size": 32, "learning_rate": 0.05, "momentum": 0.9, "k": 10}
WAYS = ("eager", "ensemble")


def measure(members: int = 16, epochs: int = 60, rounds: int = 3, repeats: int = 3) -> dict[str, Any]:
    """Runs x steps per second of Basin and of the peers, and Basin's ratio to each: its median and range over rounds.

    A round's figure is the fastest of `repeats`; a throughput is that of the fastest round.
    """
    columns, target = load_digits(return_X_y=True)
    x = (np.asarray(columns)[:1078] / 16.0).astype(np.float32)
    y = np.asarray(target)[:1078].astype(np.int64)
    steps = epochs * (len(x) // SETTINGS["batch_size"])
    fit_all = _basin(x, y, members, epochs)
    first = fit_all()
    basin, peers = [], []
    for _ in range(rounds):
        basin.append(members * steps / min(fit_all() for _ in range(repeats)))
        peers.append(_peer(x, y, {**SETTINGS, "steps": steps, "members": members, "repeats": repeats}))
    found: dict[str, Any] = {
        "net": "64-32-32-10 ReLU",
        "rows": len(x),
        "batch_size": SETTINGS["batch_size"],
        "steps": steps,
        "members": members,
        "rounds": rounds,
        "basin_steps_per_second": max(basin),
        "basin_compile_seconds": first - members * steps / max(basin),
    }
    if None in peers:
        return found | {"peer": "not measured: BASIN_TORCH_PYTHON names no interpreter with PyTorch"}
    found["torch"] = peers[0]["torch"]
    for way in WAYS:
        rates = [peer[f"{way}_steps_per_second"] for peer in peers]
        ratios = [ours / theirs for ours, theirs in zip(basin, rates, strict=True)]
        found[f"{way}_steps_per_second"] = max(rates)
        found[f"ratio_to_{way}"] = statistics.median(ratios)
        found[f"ratio_to_{way}_range"] = [min(ratios), max(ratios)]
    return found


def tables(found: dict[str, Any]) -> list[Table]:
    """Basin, then the peers."""
    title = (
        f"Training {found['net']} on {found['rows']:,} rows, batches of {found['batch_size']}, "
        f"{found['steps']:,} steps, one thread"
    )
    torch = f"PyTorch {found.get('torch', '')}".strip()
    names = {"eager": f"{torch}, eager loop", "ensemble": f"{torch}, torch.func, {found['members']} at once"}
    rows = [[f"Basin, {found['members']} runs", figure(found["basin_steps_per_second"]), "", ""]]
    for way in WAYS:
        low, high = found.get(f"ratio_to_{way}_range", (None, None))
        ratio = found.get(f"ratio_to_{way}")
        rows.append(
            [
                names[way],
                figure(found.get(f"{way}_steps_per_second")),
                figure(ratio),
                f"{figure(low)} to {figure(high)}",
            ]
        )
    return [
        Table(
            title, ["what", "runs × steps per second", "Basin is faster by", f"range of {found['rounds']} rounds"], rows
        )
    ]


def _peer(x: np.ndarray, y: np.ndarray, settings: dict[str, Any]) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        np.savez(file, x=x, y=y, settings=json.dumps(settings))
        return run_peer("BASIN_TORCH_PYTHON", "torch_training.py", str(file))


def _basin(x: np.ndarray, y: np.ndarray, members: int, epochs: int) -> Callable[[], float]:
    """A function that trains all members and returns the seconds that it took; its first call compiles."""
    widths = tuple(SETTINGS["widths"])
    model = build(likelihoods.categorical(10), MLPNet, 64, 10, widths, ACTIVATIONS["relu"])
    program = trainer(
        model, optimiser="sgd", schedule="constant", epochs=epochs, batch_size=SETTINGS["batch_size"], dropout=False
    )
    rows, codes = jnp.asarray(x), jnp.asarray(y, jnp.int32)
    # Validation on one row: the peers have none.
    data = Data(rows, codes, rows[:1], codes[:1], jnp.asarray(flat_scales(model), jnp.float32))
    keys = jax.random.split(jax.random.key(0), members)
    rates = Rates(SETTINGS["learning_rate"], SETTINGS["momentum"])
    pack = [Member(model.init(key), key, rates, data) for key in keys]

    def fit_all() -> float:
        start = time.perf_counter()
        fits = jax.block_until_ready(train(program, pack, epochs, lambda i, e: None))
        seconds = time.perf_counter() - start
        accuracy = float(jnp.mean(jnp.argmax(model.predict(fits[0].theta, rows), axis=1) == codes))
        assert accuracy > 0.9, f"Basin did not learn: {accuracy}"
        return seconds

    return fit_all
