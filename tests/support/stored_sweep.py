"""A small store of one sweep: nets at two learning rates, a posterior and a black box, all of it made up."""

import json
from dataclasses import replace

import arviz as az
import numpy as np
import polars as pl

from models.runs.result import MeasuredProfile, Measurement, RunRequest, RunResult, Seconds
from services.store.measurements import MeasurementRecord
from services.store.writer import writing
from tests.support.factories import PROVENANCE, STORED_AT, measured
from tests.support.stored import FINGERPRINT, TREES, N, bnn, ended, net, put_all, request, result

NAME = "flat-or-sharp"
RATES = (0.05, 0.1)
SPLITS = 2
NETS = [net("net", learning_rate=rate) for rate in RATES]
BNN = bnn("bnn")
CHAINS = {"r_hat_max": 1.0, "ess_min": 50.0, "divergences": 0, "n_chains": 2, "n_draws": 20}
LOST = request(net("lost"))
# What a page or a terminal must not take for its own.
HOSTILE = "<script>alert('&')</script>\x1b[31m"

DEFINITION = {
    "name": NAME,
    "datasets": ["made-up"],
    "learners": ["mlp-adam", "bnn-nuts", "boosted-trees"],
    "vary": {"inference.learning_rate": list(RATES)},
    "splits": SPLITS,
    "seeds": 1,
}


def fill(location: str) -> None:
    """Store the sweep, what was measured at its nets, and one run that failed."""
    runs = [(asked, _net(asked, rate)) for rate, n in zip(RATES, NETS, strict=True) for asked in _splits(n)]
    runs += [(asked, _posterior(asked)) for asked in _splits(BNN)]
    runs += [(asked, _predicting(result(asked, level=-0.9), asked)) for asked in _splits(TREES)]
    runs.append((LOST, ended(LOST, "failed", HOSTILE)))
    put_all(location, runs)
    with writing(location) as writer:
        writer.put_sweep(NAME, json.dumps(DEFINITION), _members([asked for asked, _ in runs]))
        for rate, n in zip(RATES, NETS, strict=True):
            for asked in _splits(n):
                writer.put_measurement(_measured(asked.run_key, rate))


def _splits(learner) -> list[RunRequest]:
    return [request(learner, split) for split in range(SPLITS)]


def _net(asked: RunRequest, rate: float) -> RunResult:
    steps = np.arange(5)
    curves = {"step": steps, "train_loss": 1 / (1 + steps), "validation_loss": 1 / (1 + steps)}
    found = result(asked, level=-0.5 - rate, curvature=10 * rate, effective=(12.0, "effective_dimension"))
    return replace(_predicting(found, asked), curves=curves, parameters={"theta": np.arange(3.0)})


def _posterior(asked: RunRequest) -> RunResult:
    rng = np.random.default_rng(asked.partition.index)
    drawn = {
        "posterior": {"theta": rng.standard_normal((2, 20, 3))},
        "sample_stats": {"diverging": np.zeros((2, 20), bool), "energy": rng.standard_normal((2, 20))},
        "log_likelihood": {"y": rng.standard_normal((2, 20, 4))},
    }
    found = result(asked, level=-0.6, effective=(8.0, "p_loo"), summary=CHAINS)
    return replace(_predicting(found, asked), posterior=az.from_dict(drawn))


def _predicting(found: RunResult, asked: RunRequest) -> RunResult:
    rng = np.random.default_rng(asked.partition.index)
    predictions = {"y": rng.integers(0, 3, N["test"]), "probabilities": rng.dirichlet(np.ones(3), N["test"])}
    return replace(found, predictions=predictions)


def _members(asked: list[RunRequest]) -> pl.DataFrame:
    rates = {request(n, split).run_key: r for r, n in zip(RATES, NETS, strict=True) for split in range(SPLITS)}
    rows = [
        {
            "run_key": each.run_key,
            "dataset": "made-up",
            "fingerprint": FINGERPRINT,
            "learner": each.learner.name,
            "split": each.partition.index,
            "seed": each.seed,
            "varied": json.dumps({"inference.learning_rate": rates[each.run_key]} if each.run_key in rates else {}),
        }
        for each in asked
    ]
    return pl.DataFrame(rows)


def _measured(run_key: str, rate: float) -> MeasurementRecord:
    line = np.linspace(-1.0, 1.0, 5)
    x, y = np.meshgrid(line, line)
    profiles = (
        MeasuredProfile(-1, "loss_slice", line, None, line**2 + 0.1, np.zeros(5), {}),
        MeasuredProfile(-1, "loss_surface", x.ravel(), y.ravel(), (x**2 + y**2).ravel() + 0.1, np.zeros(25), {}),
        MeasuredProfile(-1, "hessian_spectral_density", line, None, np.exp(-(line**2)), np.full(5, 0.01), {}),
    )
    rows = (measured("l2_norm", 1 / rate), measured("sharpness_l2", None))
    found = Measurement(f"{run_key}-measured", run_key, Seconds(1.0, 0.5, 0.5), "cpu", geometry=rows, profiles=profiles)
    return MeasurementRecord(found, NAME, PROVENANCE, STORED_AT)
