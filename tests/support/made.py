"""A store as pages show it: sweeps of several kinds of learners, with everything that can be drawn of their runs."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import polars as pl

from models.runs.result import Connected, Diagnostic, MeasuredProfile, Measurement, RunRequest, RunResult, Seconds
from services.store.bundles import Record
from services.store.measurements import MeasurementRecord
from services.store.writer import Writer, writing
from services.sweeps.plan import MEMBERS
from tests.support.factories import PROVENANCE, STORED_AT, measured
from tests.support.stored import FINGERPRINT, TREES, bnn, ended, net, request, result

HOSTILE = "<img src=x onerror=\"document.title='taken'\">'&amp;"
SPLITS = 3


def make_store(path: Path) -> dict[str, list[str]]:
    """Make it; returns the run keys of each sweep."""
    with writing(path) as writer:
        return {
            "flat-or-sharp": _sweep(writer, "flat-or-sharp", "made-up", _runs(_nets(), bnn("bnn-nuts"))),
            "hostile": _sweep(writer, "hostile", HOSTILE, _hostile()),
        }


def _hostile() -> list[tuple[RunRequest, RunResult]]:
    """Runs with markup wherever a person, a file or a program may have put a name."""
    diagnostic = Diagnostic("prediction", HOSTILE, r_hat=1.4, ess_bulk=9.0)
    runs = _runs([(net("mlp-sgd", widths=(3,)), -0.4, 2.0)], bnn("bnn-nuts").model_copy(update={"name": "bnn"}))
    marked = [(a, replace(r, warnings=(HOSTILE,), device=HOSTILE, diagnostics=(diagnostic,))) for a, r in runs]
    asked = request(net("convnet"))
    return [*marked, (asked, ended(asked, "diverged", HOSTILE))]


def _nets() -> list[tuple[Any, float, float]]:
    """Learner, level of its log scores, and curvature."""
    rates = ((0.01, -0.5, 4.0), (0.03, -0.45, 9.0), (0.1, -0.6, 20.0))
    varied = [(net("mlp-sgd", learning_rate=rate), level, top) for rate, level, top in rates]
    return [*varied, (net("mlp-adam", widths=(8,)), -0.42, 12.0)]


def _runs(nets, posterior) -> list[tuple[RunRequest, RunResult]]:
    runs = []
    for split in range(SPLITS):
        for i, (learner, level, top) in enumerate(nets):
            asked = request(learner, split)
            curvature = top * (1 + 0.2 * split)
            found = result(asked, level, -0.3 + 0.05 * i, curvature, effective=(9.0 + i, "effective_dimension"))
            runs.append((asked, _trained(found, split)))
        asked = request(posterior, split)
        summary = {"r_hat_max": 1.31, "ess_min": 23.4, "divergences": 2, "n_chains": 2, "n_draws": 60}
        drawn = result(asked, -0.4, -0.35, [3.0, 4.0, 5.0], (7.0, "p_loo"), summary, ("chains disagree",))
        runs.append((asked, _sampled(drawn, split)))
        runs.append((request(TREES, split), _predicted(result(request(TREES, split), -0.8), split)))
    return runs


def _trained(found: RunResult, split: int) -> RunResult:
    steps = np.arange(0, 400, 4)
    loss = 2 * np.exp(-steps / 80) + 0.3 + 0.01 * split
    curves = {"step": steps, "train_loss": loss, "validation_loss": loss + 0.05 + steps / 4000}
    return _predicted(replace(found, curves=curves), split)


def _predicted(found: RunResult, split: int) -> RunResult:
    rng = np.random.default_rng(split)
    first = rng.uniform(0.05, 0.95, 20)
    probabilities = np.stack([first, 1 - first], axis=1)
    return replace(found, predictions={"y": rng.integers(0, 2, 20), "probabilities": probabilities})


def _sampled(found: RunResult, split: int) -> RunResult:
    rng = np.random.default_rng(split)
    drift = np.array([0.0, 1.5])[:, None, None]
    posterior = az.from_dict(
        {
            "posterior": {"theta": rng.standard_normal((2, 60, 3)) + drift},
            "sample_stats": {"diverging": rng.random((2, 60)) < 0.02, "energy": rng.standard_normal((2, 60))},
        }
    )
    return _predicted(replace(found, posterior=posterior), split)


def _sweep(writer: Writer, name: str, dataset: str, runs: list[tuple[RunRequest, RunResult]]) -> list[str]:
    members = [
        (asked.run_key, dataset, FINGERPRINT, asked.learner.name, asked.partition.index, asked.seed, _varied(asked))
        for asked, _ in runs
    ]
    definition = {"name": name, "datasets": [{"data": dataset}], "budget": "quick", "splits": SPLITS, "seeds": 1}
    writer.put_sweep(name, json.dumps(definition), pl.DataFrame(members, schema=MEMBERS, orient="row"))
    for asked, found in runs:
        writer.put(Record(asked, found, dataset, name, PROVENANCE, STORED_AT, 0))
        if found.geometry:
            writer.put_measurement(MeasurementRecord(_measurement(asked, runs), name, PROVENANCE, STORED_AT))
    return [asked.run_key for asked, _ in runs]


def _varied(asked: RunRequest) -> str:
    inference = dict(asked.learner.inference)
    return json.dumps(
        {"inference.learning_rate": inference["learning_rate"]} if asked.learner.name == "mlp-sgd" else {}
    )


def _measurement(asked: RunRequest, runs: list[tuple[RunRequest, RunResult]]) -> Measurement:
    """Two measures, a slice, a spectrum, a small surface, and straight ways to the other nets of the split."""
    draw = 0 if asked.learner.name.startswith("b") else -1
    line, spectrum = np.linspace(-1, 1, 21), np.linspace(-1, 20, 60)
    plane = np.array([(x, y) for x in np.linspace(-1, 1, 7) for y in np.linspace(-1, 1, 7)])
    density = np.exp(-0.5 * (spectrum / 0.4) ** 2) + 0.01 * np.exp(-0.5 * ((spectrum - 14) / 0.5) ** 2)
    profiles = (
        MeasuredProfile(draw, "loss_slice", line, None, 0.3 + 2 * line**2, np.zeros(21), {}),
        MeasuredProfile(draw, "hessian_spectral_density", spectrum, None, density, 0.1 * density, {}),
        MeasuredProfile(draw, "loss_surface", plane[:, 0], plane[:, 1], 0.3 + (plane**2).sum(axis=1), np.zeros(49), {}),
    )
    keys = [a.run_key for a, r in runs if a.partition == asked.partition and r.curves]
    pairs = [other for one, other in combinations(keys, 2) if one == asked.run_key]
    ways = tuple(
        Connected(-1, other, -1, "linear", 0.1 * (i + 1), 0.6, 0.5, (0.3, 0.6, 0.3), "converged", None, 3, {})
        for i, other in enumerate(pairs)
    )
    trace = (measured("sharpness_l2", 0.02 * len(asked.learner.name), draw), measured("l2_norm", 3.1, draw))
    return Measurement(
        key=f"m{asked.run_key}",
        run_key=asked.run_key,
        geometry=trace,
        profiles=profiles,
        connections=ways,
        seconds=Seconds(1.0, 0.5, 0.0),
        device="cpu",
    )
