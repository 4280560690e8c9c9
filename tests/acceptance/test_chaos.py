"""Chaos equals calm: killed workers, nodes and drivers change no bit of what a sweep leaves."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.chaos import survive
from benchmarks.chaos_monkey import Kind
from tests.acceptance.conftest import BNN, LINEAR, NET

pytestmark = [pytest.mark.slow, pytest.mark.soak]

GLM = {
    "name": "glm",
    "predictor": {"kind": "formula"},
    "prior": {"kind": "normal", "scale": 2.5},
    "inference": {"method": "pymc", "chains": 2, "warmup": 50, "draws": 50},
}
SGD = {
    "name": "net-sgd",
    "predictor": {"kind": "mlp", "widths": [3]},
    "inference": {"method": "optimise", "optimiser": "sgd", "learning_rate": 0.05, "clip": 1.0, "epochs": 5},
}
TREES = {"name": "trees", "predictor": {"kind": "boosted-trees", "max_rounds": 5}, "inference": {"method": "library"}}
SWEEP = {
    "name": "chaos",
    "datasets": ["iris"],
    "learners": [BNN, GLM, NET, SGD, LINEAR, TREES],
    "splits": 2,
    "seeds": 2,
}
N_RUNS = 24
STRIKES = Counter({Kind.SAMPLING: 1, Kind.IDLE: 1, Kind.NODE: 1, Kind.COMMIT: 1, Kind.DRIVER: 1})


def test_a_sweep_whose_workers_nodes_and_driver_are_killed_leaves_what_an_undisturbed_one_leaves(tmp_path: Path):
    found = survive(SWEEP, STRIKES, seed=1, folder=tmp_path, n_workers=2)
    assert found.wrong == []
    assert found.n_runs == N_RUNS
    assert found.chaos.counts() == STRIKES
    assert not found.calm.struck
    interrupted = [each for each in found.chaos.struck if each.strike.kind in (Kind.SAMPLING, Kind.NODE, Kind.DRIVER)]
    assert min(each.packs for each in interrupted) >= 1
