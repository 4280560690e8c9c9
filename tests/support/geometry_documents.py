"""A sweep's geometry as it comes out in practice: two datasets, all kinds of learners, much that has no value."""

from itertools import product

import numpy as np
import polars as pl

from services.geometry.chart_data import PROFILES, VALUES, GeometryEvidence
from services.geometry.document import (
    Barriers,
    BasinShare,
    Bounded,
    EffectiveCounts,
    GeometryDocument,
    MeasureSummary,
    Ranking,
    Typical,
)
from services.rendering.records import NOT_AVAILABLE, Estimate
from services.store.rows import settings_text
from tests.support.factories import PROVENANCE

NETS, POSTERIORS = ("mlp-adam", "mlp-sgd"), ("bnn-nuts", "glm-bayes")
KINDS = {
    "bnn-nuts": "bayesian-net",
    "boosted-trees": "baseline",
    "glm-bayes": "glm",
    "mlp-adam": "deterministic",
    "mlp-sgd": "deterministic",
}
BLACK_BOX = "boosted-trees is a black box: it has no parameter vector, and so no loss landscape"
ENVIRONMENT = "inference.learning_rate 0.01 against 0.03, at learner mlp-sgd, inference.batch_size 16"
FEW = "no pair of settings that differ in one has 12 pairs of runs: use more seeds or splits"
# measure, component, settings, invariance, larger, median at a net, tau
MEASURES = (
    ("hessian_trace", "", {"relative_error": 0.05}, "permutation", "sharper", 61.2, 0.41),
    ("hessian_top_eigenvalue", "", {}, "permutation", "sharper", 14.83, 0.33),
    ("hessian_trace_by_layer", "layers.0", {}, "permutation", "sharper", 11.2, 0.12),
    ("hessian_trace_by_layer", "layers.1", {}, "permutation", "sharper", 50.1, -0.36),
    ("sharpness_l2", "", {"rho": 0.05, "steps": 20}, "permutation", "sharper", 0.0213, 0.22),
    ("sharpness_l2", "", {"rho": 0.1, "steps": 20}, "permutation", "sharper", 0.0871, 0.27),
    ("adaptive_sharpness_gaussian", "", {"sigma": 0.1}, "rescaling", "sharper", 0.00012, 0.52),
    ("pac_bayes_sigma", "", {}, "permutation", "flatter", 0.0312, -0.19),
    ("distance_from_initialisation", "", {}, "none", "more complex", 3.71, 0.05),
)
DATASETS = ("digits", "diabetes")


def sweep_document(**changes) -> GeometryDocument:
    """Two datasets of five learners; `changes` replace fields of the document."""
    fields = {
        "sweep": "flat-or-sharp",
        "datasets": DATASETS,
        "n_runs": 484,
        "varied": ("inference.batch_size", "inference.learning_rate"),
        "measures": tuple(each for dataset in DATASETS for each in _measures(dataset)),
        "rankings": tuple(_ranking("digits", *measure) for measure in MEASURES),
        "effective": tuple(_effective(dataset, learner) for dataset in DATASETS for learner in KINDS),
        "typical": tuple(_typical(*each) for each in product(DATASETS, ("hessian_trace", "l2_norm"), NETS)),
        "barriers": (
            _barriers("digits", "linear", ("bnn-nuts",) * 2 + NETS),
            _barriers("digits", "aligned", ("bnn-nuts",) * 2 + NETS),
            _barriers("diabetes", "linear", ("bnn-nuts",) * 12 + NETS * 2),
        ),
        "basins": tuple(
            BasinShare(
                dataset="digits",
                posterior="bnn-nuts",
                estimate=net,
                method="aligned",
                threshold=0.05,
                share=0.375,
                standard_error=0.104,
                n_draws=24,
            )
            for net in NETS
        ),
        "verdict": (
            "On digits: Sharper solutions generalise worse here: adaptive sharpness gaussian and the generalisation "
            "gap rise together (Kendall's tau +0.52, 95 % interval +0.31 to +0.73, 480 runs on 5 splits)."
        ),
        "warnings": ("sharpness l2 did not converge at 3 vectors", "mlp-adam trained with dropout: it is off"),
        "provenance": PROVENANCE,
    }
    return GeometryDocument(**(fields | changes))


def _measures(dataset: str):
    for name, component, settings, invariance, larger, level, _ in MEASURES:
        for learner, kind in KINDS.items():
            applies = kind != "baseline" and (name != "distance_from_initialisation" or learner in NETS)
            unconverged = 3 if name == "sharpness_l2" and learner == "mlp-sgd" else 0
            n = 24 if learner in POSTERIORS else 120
            yield MeasureSummary(
                dataset=dataset,
                learner=learner,
                kind=kind,
                measure=name,
                component=component,
                settings=settings,
                scope="draws" if learner in POSTERIORS else "estimate",
                family="curvature",
                about=f"{name}, in nats",
                invariance=invariance,
                larger=larger,
                n_values=(n - unconverged) if applies else 0,
                n_unconverged=unconverged,
                n_not_applicable=0 if applies else n,
                n_failed=0,
                median=level if applies else None,
                lower=level / 2 if applies else None,
                upper=level * 3 if applies else None,
                standard_error=(0.03 * level if name == "hessian_trace" else 0.0) if applies else None,
                n_products=412.0 if applies else None,
                reasons=() if applies else (BLACK_BOX if kind == "baseline" else "no start of its own",),
            )


def _ranking(dataset, name, component, settings, invariance, larger, _, tau) -> Ranking:
    missing = Bounded(value=None, lower=None, upper=None, reason=FEW)
    bounded = larger == "sharper"
    interval = {"lower": tau - 0.21, "upper": tau + 0.21} if bounded else {"lower": None, "upper": None}
    return Ranking(
        dataset=dataset,
        measure=name,
        component=component,
        settings=settings,
        invariance=invariance,
        larger=larger,
        tau=Bounded(value=tau, **interval, reason=None if bounded else "an interval needs at least 5 splits"),
        granulated={},
        psi=Bounded(value=tau * 0.8, **interval),
        information=Bounded(value=0.07, lower=0.01, upper=0.13),
        sign_error=Bounded(value=0.61, lower=0.48, upper=0.74) if bounded else missing,
        worst_environment=ENVIRONMENT if bounded else None,
        n_runs=480,
        n_splits=5,
        sentence=f"{name} tells.",
    )


def _effective(dataset: str, learner: str) -> EffectiveCounts:
    def at(value: float, error: float, learners) -> Estimate:
        return Estimate(value=value, standard_error=error) if learner in learners else NOT_AVAILABLE

    return EffectiveCounts(
        dataset=dataset,
        learner=learner,
        kind=KINDS[learner],
        n_parameters={"glm-bayes": 585, "boosted-trees": 0}.get(learner, 3466),
        p_loo=at(213.4, 11.2, POSTERIORS),
        effective_dimension=at(182.1, 4.2, NETS),
        learning_coefficient=at(88.7, 9.1, NETS),
    )


def _typical(dataset: str, measure: str, net: str) -> Typical:
    differs = measure == "hessian_trace"
    return Typical(
        dataset=dataset,
        measure=measure,
        settings={},
        component="",
        posterior="bnn-nuts",
        estimate=net,
        ratio=3.81 if differs else 1.02,
        lower=3.47 if differs else 0.91,
        upper=4.18 if differs else 1.15,
        sentence="",
    )


def _barriers(dataset: str, method: str, learners) -> Barriers:
    """Of nets, then of draws, as the summary has them; draws are not connected with each other."""
    order = sorted(learners, key=lambda learner: learner in POSTERIORS)
    draw = iter(range(len(order)))
    labels = [f"{name}, seed 0, draw {next(draw)}" if name in POSTERIORS else f"{name}, seed 0" for name in order]
    high = 0.8 if method == "linear" else 0.1
    matrix = [
        [0.0 if i == j else None if {a, b} <= set(POSTERIORS) else high / (1 + abs(i - j)) for j, b in enumerate(order)]
        for i, a in enumerate(order)
    ]
    return Barriers(
        dataset=dataset,
        split=0,
        method=method,
        labels=tuple(labels),
        learners=tuple(order),
        barriers=tuple(map(tuple, matrix)),
    )


def evidence_of(document: GeometryDocument, n_runs: int = 12) -> GeometryEvidence:
    """Plausible frames for every chart, made up from fixed random numbers."""
    rng = np.random.default_rng(0)
    return GeometryEvidence(
        values=pl.DataFrame(list(_values(document, rng, n_runs)), schema=dict(VALUES), orient="row"),
        profiles=pl.DataFrame(list(_profiles(document)), schema=dict(PROFILES), orient="row"),
    )


def _values(document: GeometryDocument, rng, n_runs: int):
    for m in document.measures:
        if not m.n_values:
            continue
        settings = settings_text(m.settings)
        of_run = range(4) if m.scope == "draws" else (-1,)
        for run in range(2 if m.scope == "draws" else n_runs):
            gap = 0.05 + 0.01 * run
            label = f"split {run % 5}, seed 0, learning_rate {0.001 * run:g}"
            for draw in of_run:
                value = (m.median or 0.0) * np.exp(0.1 * run + rng.normal(0, 0.1))
                yield (m.dataset, m.learner, m.kind, label, m.measure, m.component, settings, draw, value, gap)


def _profiles(document: GeometryDocument):
    learners = [learner for learner, kind in KINDS.items() if kind != "baseline"]
    line, plane = np.linspace(-1, 1, 21), np.linspace(-1, 1, 9)
    spectrum = np.linspace(-1, 20, 80)
    for i, learner in enumerate(learners):
        draw = 0 if learner in POSTERIORS else -1
        own = (document.datasets[0], learner, "split 0, seed 0", draw)
        for x in line:
            yield (*own, "loss_slice", x, None, 0.02 + (1 + i) * x**2, 0.0)
        for x, y in product(plane, plane):
            yield (*own, "loss_surface", x, y, 0.02 + (1 + i) * x**2 + y**2, 0.0)
        for x in spectrum:
            density = 0.3 * np.exp(-0.5 * (x / 0.3) ** 2) + 1e-3 * np.exp(-0.5 * ((x - 15) / 0.3) ** 2)
            yield (*own, "hessian_spectral_density", x, None, density, 0.1 * density)
