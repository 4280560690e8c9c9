"""A comparison on digits as it comes out in practice: nine learners, one diverged, one whose chains disagree."""

import math
from itertools import combinations

import numpy as np
import polars as pl
from scipy import stats

from services.comparison.document import (
    Comparison,
    Curvature,
    DatasetFacts,
    Document,
    EffectiveParameters,
    Geometry,
    Invocation,
    LearnerResult,
    Parts,
    Posterior,
    RunCounts,
    Scores,
    SplitCounts,
    gather_warnings,
)
from services.comparison.figures import ENERGIES, LOSSES, MEASURES, RANKS, RELIABILITY, Evidence
from services.provenance import Hardware, Provenance
from services.rendering.records import Estimate

# name, kind, log score, accuracy, calibration error, gap, effective and raw parameters, eigenvalue, trace, seconds
_CLASSES = [
    ("glm-bayes", "glm", -0.1421, 0.9661, 0.0152, 0.0911, 121.3, 585, 0.412, 3.91, 71.2),
    ("bnn-nuts", "bayesian-net", -0.0832, 0.9776, 0.0121, 0.0513, 213.4, 3466, 2.31, 18.7, 143.8),
    ("mlp-adam", "deterministic", -0.0794, 0.9792, 0.0103, 0.0771, 182.1, 3466, 14.83, 61.2, 6.4),
    ("mlp-sgd", "deterministic", -0.0871, 0.9764, 0.0110, 0.0802, 171.6, 3466, 9.24, 44.9, 7.1),
    ("mlp-sgd-large-batch", "deterministic", -0.1035, 0.9731, 0.0134, 0.0990, 190.2, 3466, 31.7, 118.4, 2.2),
    ("convnet", "deterministic", math.nan, math.nan, math.nan, math.nan, math.nan, 9930, math.nan, math.nan, 12.9),
    ("linear-map", "glm", -0.1312, 0.9650, 0.0183, 0.0842, 118.8, 650, 0.398, 3.77, 1.4),
    ("svm", "baseline", -0.0689, 0.9861, 0.0141, 0.0310, math.nan, None, math.nan, math.nan, 3.9),
    ("boosted-trees", "baseline", -0.1702, 0.9583, 0.0204, 0.1697, math.nan, None, math.nan, math.nan, 88.4),
]
_WARNINGS = {
    "bnn-nuts": (
        "3 of 4 chains disagree on predictions (R-hat 1.31): do not read its uncertainty as posterior uncertainty",
        "7 divergent transitions after warm-up: parts of the posterior were not reached",
    ),
    "convnet": ("3 of 3 runs diverged to NaN: lower inference.learning_rate",),
}
_POSTERIORS = {
    "bnn-nuts": Posterior(r_hat_max=1.31, ess_min=23.4, divergences=7, n_chains=4, n_draws=200),
    "glm-bayes": Posterior(r_hat_max=1.004, ess_min=912.0, divergences=0, n_chains=4, n_draws=500),
}


def digits_document(**changes) -> Document:
    """Nine learners on digits; `changes` replace fields of the document."""
    learners = tuple(_learner(row, "classes") for row in _CLASSES)
    return _document(learners, "classes", ("log_score", "accuracy"), changes)


def real_document(**changes) -> Document:
    """Three learners on a table with a real target."""
    rows = [row for row in _CLASSES if row[0] in ("mlp-adam", "bnn-nuts", "glm-bayes")]
    facts = DatasetFacts(name="diabetes", rows=442, columns=10, target="progression", fingerprint="5d" * 16)
    learners = tuple(_learner(row, "real") for row in rows)
    return _document(learners, "real", ("log_score", "rmse"), {"dataset": facts} | changes)


def _document(learners, task, metrics, changes) -> Document:
    fields = {
        "dataset": DatasetFacts(
            name="digits",
            rows=1797,
            columns=64,
            target="digit",
            classes=tuple("0123456789") if task == "classes" else (),
            fingerprint="9f2c" * 8,
            notes=("3 constant columns were left out: pixel_0_0, pixel_4_0, pixel_4_7",),
        ),
        "task": task,
        "learners": learners,
        "comparisons": tuple(
            _comparison(a, b, metric) for metric in metrics for a, b in combinations(learners, 2) if _paired(a, b)
        ),
        "verdict": (
            "No difference is shown between svm (test log score -0.069 ± 0.011), which scores best, and mlp-adam, "
            "bnn-nuts and mlp-sgd. svm predicts better than linear-map by 0.062 ± 0.012 nats per row. Use svm for its "
            "predictions; it has no posterior. The spread of glm-bayes can be read as posterior uncertainty; do not "
            "read the spread of bnn-nuts (R-hat 1.31, above 1.01) as posterior uncertainty."
        ),
        "warnings": gather_warnings(
            learners, ("one split of three has fewer than 30 rows of class 8 in its test part",)
        ),
        "fitted": 24,
        "reused": 3,
        "invocation": Invocation(
            created="2026-11-21T02:30:00+00:00",
            command="basin compare digits --budget standard",
            budget="standard",
            splits=3,
            seeds=1,
        ),
        "provenance": Provenance(
            git_commit="0123456789abcdef0123456789abcdef01234567",
            versions={"basin": "0.1.0", "jax": "0.11.0", "numpyro": "0.21.0"},
            git_dirty=False,
            python="3.13.1",
            platform="Linux-6.1-x86_64",
            hardware=Hardware(cpu="x86_64", cores=2, threads=2, memory_bytes=8 * 2**30),
        ),
    }
    return Document(**(fields | changes))


def _learner(row, task) -> LearnerResult:
    name, kind, log_score, accuracy, calibration, gap, effective, raw, eigenvalue, trace, seconds = row

    def scores(shift: float) -> Scores:
        shared = {
            "log_score": Estimate(value=log_score + shift, standard_error=0.0113 if shift == 0 else 0.0042),
            "calibration_error": Estimate(value=calibration, standard_error=0.0031),
        }
        if task == "real":
            noise = Estimate(value=54.31 - 20 * shift, standard_error=1.92)
            return Scores(**shared, rmse=noise, crps=Estimate(value=30.4, standard_error=1.1))
        return Scores(
            **shared,
            accuracy=Estimate(value=np.minimum(1.0, accuracy + shift / 4), standard_error=0.0041),
            brier=Estimate(value=0.041, standard_error=0.0052),
        )

    def curvature(value: float, error: float) -> Curvature:
        if name in _POSTERIORS:
            return Curvature(value=value, standard_error=0.03 * value, lower=0.61 * value, upper=1.9 * value)
        return Curvature(value=value, standard_error=error)

    method = None if math.isnan(effective) else "p_loo" if name in _POSTERIORS else "laplace"
    return LearnerResult(
        name=name,
        kind=kind,
        parts=Parts(train=scores(gap), validation=scores(0.01), test=scores(0)),
        gap=Estimate(value=gap, standard_error=0.0121),
        geometry=Geometry(
            hessian_top_eigenvalue=curvature(eigenvalue, 1e-4 * eigenvalue),
            hessian_trace=curvature(trace, 0.021 * trace),
        ),
        effective_parameters=EffectiveParameters(value=effective, standard_error=4.2, method=method),
        n_parameters=raw,
        posterior=_POSTERIORS.get(name),
        seconds=seconds,
        runs=RunCounts(finished=0, diverged=3) if name == "convnet" else RunCounts(finished=3),
        splits=SplitCounts(finished=0 if name == "convnet" else 3, asked=3),
        warnings=_WARNINGS.get(name, ()),
    )


def _paired(a: LearnerResult, b: LearnerResult) -> bool:
    return None not in (a.parts.test.log_score.value, b.parts.test.log_score.value)


def _comparison(a: LearnerResult, b: LearnerResult, metric: str) -> Comparison:
    difference = getattr(a.parts.test, metric).value - getattr(b.parts.test, metric).value
    error, rope, degrees = {"log_score": 0.012, "accuracy": 0.0043, "rmse": 1.1}[metric], 0.01, 14
    sign = -1 if metric == "rmse" else 1
    law = stats.t(degrees, sign * difference, error)
    p_value = 2 * stats.t.sf(abs(difference / error), degrees)
    p_adjusted = min(1.0, 28 * p_value)
    shown = p_adjusted < 0.05
    better, worse = law.sf(rope), law.cdf(-rope)
    return Comparison(
        a=a.name,
        b=b.name,
        metric=metric,
        difference=difference,
        standard_error=error,
        degrees=degrees,
        p_better=better,
        p_equivalent=max(0.0, 1 - better - worse),
        p_worse=worse,
        p_value=p_value,
        p_adjusted=p_adjusted,
        rope=rope,
        n_splits=3,
        outcome="not shown" if not shown else "better" if sign * difference > 0 else "worse",
        shown=shown,
    )


def evidence_of(document: Document) -> Evidence:
    """Plausible frames for every chart, made up from fixed random numbers."""
    rng = np.random.default_rng(0)
    return Evidence(
        reliability=_frame(RELIABILITY, _reliability(document, rng)),
        measures=_frame(MEASURES, _measures(document, rng)),
        losses=_frame(LOSSES, _losses(document, rng)),
        ranks=_frame(RANKS, _ranks(document, rng)),
        energies=_frame(ENERGIES, _energies(document, rng)),
    )


def _frame(schema, rows) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def _scored(document: Document) -> list[LearnerResult]:
    return [learner for learner in document.learners if learner.parts.test.log_score.value is not None]


def _reliability(document, rng):
    predicted = np.linspace(0.35, 0.98, 8) if document.task == "classes" else np.linspace(0.05, 0.95, 10)
    for learner in _scored(document):
        bend = rng.normal(0, 0.12)
        for p in predicted:
            observed = np.clip(p + bend * p * (1 - p) * 2 + rng.normal(0, 0.02), 0, 1)
            yield learner.name, p, observed, 0.02 + 0.1 * (1 - p), int(400 * p**6) + 3


def _measures(document, rng):
    for learner in _scored(document):
        measures = {
            "hessian_top_eigenvalue": learner.geometry.hessian_top_eigenvalue.value,
            "hessian_trace": learner.geometry.hessian_trace.value,
            "effective_parameters": learner.effective_parameters.value,
        }
        for run in range(3):
            gap = learner.gap.value + rng.normal(0, 0.012)
            for measure, value in measures.items():
                if value is not None:
                    yield learner.name, f"split {run}, seed 0", measure, value * np.exp(rng.normal(0, 0.1)), gap


def _losses(document, rng):
    for learner in document.learners:
        if learner.kind not in ("deterministic",) and learner.name != "linear-map":
            continue
        for run in range(3):
            steps = np.arange(0, 4000, 4)
            train = 2.3 * np.exp(-steps / 300) + 0.02 * np.exp(rng.normal(0, 0.2, len(steps)))
            if learner.name == "convnet":
                train = np.where(steps > 1200, np.nan, train)
            for step, loss in zip(steps, train, strict=True):
                yield learner.name, f"split {run}, seed 0", int(step), loss, loss + 0.06


def _ranks(document, rng):
    for learner in document.learners:
        if learner.posterior is None:
            continue
        drift = 0.9 if learner.posterior.r_hat_max > 1.01 else 0.0
        for chain in range(4):
            weights = 1 + drift * (chain - 1.5) / 1.5 * np.linspace(-1, 1, 20)
            for rank, count in enumerate(rng.multinomial(200, weights / weights.sum())):
                yield learner.name, "prediction of row 417", chain, rank / 20, (rank + 1) / 20, float(count), 10.0


def _energies(document, rng):
    for learner in document.learners:
        if learner.posterior is None:
            continue
        for kind, width in (("marginal", 1.0), ("transition", 0.6 if learner.name == "bnn-nuts" else 0.95)):
            density, edges = np.histogram(rng.normal(0, width, 4000), bins=30, range=(-4, 4), density=True)
            for low, high, height in zip(edges[:-1], edges[1:], density, strict=True):
                yield learner.name, kind, low * 12, high * 12, height
