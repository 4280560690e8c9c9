"""From stored runs to one comparison: estimates for each learner, all pairs, the verdict and every warning."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, get_args

import numpy as np
import polars as pl

from models.comparison.criteria import criterion, paired_row_error
from models.comparison.estimate import Estimate as Found
from models.comparison.estimate import estimate
from models.comparison.influence import Decisive, decisive_rows, influence_sentence
from models.comparison.ranking import Comparison as Ranked
from models.comparison.ranking import compare_all
from models.comparison.verdict import Splits, Trust, posterior_faults, verdict
from models.data.extrapolation import told_of
from models.generalisation.correlation import flatness_sentence, rank_correlation
from models.runs.result import Status
from models.spec.settings import Kind, Task
from services.comparison.document import (
    Comparison,
    Curvature,
    EffectiveParameters,
    Geometry,
    LearnerResult,
    Parts,
    Posterior,
    RunCounts,
    Scores,
    SplitCounts,
)
from services.comparison.warnings import cautions_of
from services.rendering.formatting import METRIC_WORDS
from services.rendering.records import NOT_AVAILABLE, Estimate
from services.store.store import Store

CURVATURES = ("hessian_top_eigenvalue", "hessian_trace")
EFFECTIVE: Mapping[str, str] = {"p_loo": "p_loo", "effective_dimension": "laplace"}
CONVERGED = pl.col("status") == "converged"
SECOND_METRIC: Mapping[Task, str] = {"classes": "accuracy", "real": "rmse", "count": "rmse"}


RowScores = dict[str, dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]]


class Rows(NamedTuple):
    """The tables' rows of one comparison; `metrics`, `geometry` and `pointwise` carry learner, split and seed.

    `geometry` has what was measured with the fits alone, which is the same for all runs.
    """

    runs: pl.DataFrame
    metrics: pl.DataFrame
    geometry: pl.DataFrame
    pointwise: pl.DataFrame


class Summary(NamedTuple):
    """What a comparison says, ready for the document."""

    learners: tuple[LearnerResult, ...]
    comparisons: tuple[Comparison, ...]
    verdict: str
    warnings: tuple[str, ...] = ()
    """About the comparison as a whole."""


def collect(store: Store, run_keys: Sequence[str]) -> Rows:
    """Read the rows of the runs, the last attempt of each."""
    wanted = pl.DataFrame({"run_key": list(run_keys)}).lazy()
    runs = store.collect(store.runs().join(wanted, on="run_key", how="semi").sort("learner", "split", "seed"))
    labels = runs.select("run_key", "learner", "kind", "split", "seed").lazy()

    def rows(table: str) -> pl.DataFrame:
        return store.collect(store.scan(table).join(labels, on="run_key"))

    geometry = rows("geometry").filter(pl.col("measurement") == pl.col("run_key"))
    return Rows(runs, rows("metrics"), geometry, rows("pointwise").sort("run_key", "row"))


def summarise(rows: Rows, names: Sequence[str], task: Task) -> Summary:
    """Summarise the runs of the named learners, in that order."""
    finished = rows.metrics["run_key"].n_unique() > 0
    sizes = _sizes(rows.metrics) if finished else {"train": 2, "validation": 2, "test": 2}
    learners = tuple(_learner(rows.runs.filter(learner=name), rows, name, task, sizes) for name in names)
    ranked: dict[str, tuple[Ranked, ...]] = {}
    decisive: dict[str, list[Decisive]] = {}
    for metric in ("log_score", SECOND_METRIC[task]):
        scores = _row_scores(rows, metric)
        ranked[metric] = _compare(rows, names, metric, scores, sizes) if finished else ()
        decisive[metric] = [] if metric == "accuracy" else _decisive(ranked[metric], scores, sizes["train"], metric)
    estimates = {name: _score(rows.metrics.filter(learner=name), "test", "log_score", sizes) for name in names}
    trust = {each.name: _trust(each, rows.metrics.filter(learner=each.name), sizes) for each in learners}
    said = verdict(ranked["log_score"], estimates, trust, decisive=decisive["log_score"])
    if flatness := _flatness(rows):
        said = f"{said} {flatness}"
    comparisons = tuple(Comparison(**c._asdict(), shown=c.shown) for metric in ranked.values() for c in metric)
    warnings = (*_partial(learners), *_influences(rows.runs, ranked, decisive))
    return Summary(learners, comparisons, said, warnings)


def _sizes(metrics: pl.DataFrame) -> dict[str, int]:
    """Rows of each part."""
    return dict(metrics.group_by("part").agg(pl.col("n").max()).iter_rows())


def _grid(frame: pl.DataFrame, column: str) -> np.ndarray:
    """(J, S) values by split and seed, NaN where there is none."""
    table = frame.pivot("seed", index="split", values=column, sort_columns=True).sort("split").drop("split")
    return table.to_numpy().astype(float)


def _estimate(frame: pl.DataFrame, n_train: int, n_part: int) -> Found | None:
    """Estimate from rows (split, seed, value, standard_error); the error of a value that is not finite is moot."""
    if frame.is_empty():
        return None
    values, errors = _grid(frame, "value"), _grid(frame, "standard_error")
    return estimate(values, np.where(np.isfinite(values) & np.isfinite(errors), errors, 0.0), n_train, n_part)


def _score(metrics: pl.DataFrame, part: str, metric: str, sizes: Mapping[str, int]) -> Found | None:
    return _estimate(metrics.filter(part=part, metric=metric), sizes["train"], sizes[part])


def _number(found: Found | None) -> Estimate:
    return NOT_AVAILABLE if found is None else Estimate(value=found.value, standard_error=found.standard_error)


def _scores(metrics: pl.DataFrame, part: str, task: Task, sizes: Mapping[str, int]) -> Scores:
    names = {
        "classes": ("log_score", "accuracy", "brier", "calibration_error", "classwise_calibration_error"),
        "real": ("log_score", "rmse", "crps", "calibration_error"),
        "count": ("log_score", "rmse", "crps", "calibration_error"),
    }[task]
    return Scores(**{name: _number(_score(metrics, part, name, sizes)) for name in names})


def _gap(metrics: pl.DataFrame, sizes: Mapping[str, int]) -> Found | None:
    """Train minus test log score, run by run; the two parts share no rows, so their errors add."""
    of = metrics.filter(metric="log_score").select("split", "seed", "part", "value", "standard_error")
    both = of.filter(part="train").join(of.filter(part="test"), on=["split", "seed"], suffix="_test")
    gaps = both.select(
        "split",
        "seed",
        value=pl.col("value") - pl.col("value_test"),
        standard_error=(pl.col("standard_error") ** 2 + pl.col("standard_error_test") ** 2).sqrt(),
    )
    return _estimate(gaps, sizes["train"], sizes["test"])


def _curvature(geometry: pl.DataFrame, measure: str, sizes: Mapping[str, int]) -> Curvature:
    """Point estimates: the mean over runs. Posteriors: the mean over runs of the median over draws, and the spread."""
    of = geometry.filter((pl.col("measure") == measure) & CONVERGED)
    if of.is_empty():
        return Curvature(value=None, standard_error=None)
    medians = of.group_by("split", "seed").agg(pl.col("value", "standard_error").median())
    found = _number(_estimate(medians, sizes["train"], sizes["test"]))
    drawn = of.filter(pl.col("draw") >= 0)["value"]
    spread = {} if drawn.is_empty() else {"lower": drawn.quantile(0.05), "upper": drawn.quantile(0.95)}
    return Curvature(value=found.value, standard_error=found.standard_error, **spread)


def _effective(geometry: pl.DataFrame, sizes: Mapping[str, int]) -> EffectiveParameters:
    """Of posteriors p_loo, of point estimates the effective dimension."""
    for measure, method in EFFECTIVE.items():
        of = geometry.filter((pl.col("measure") == measure) & CONVERGED)
        if not of.is_empty():
            found = _number(_estimate(of, sizes["train"], sizes["test"]))
            return EffectiveParameters(value=found.value, standard_error=found.standard_error, method=method)
    return EffectiveParameters(value=None, standard_error=None, method=None)


def _posterior(runs: pl.DataFrame) -> Posterior | None:
    judged = runs.filter(pl.col("n_draws").is_not_null())
    if judged.is_empty():
        return None
    worst = judged.select(
        pl.col("r_hat_max").max(),
        pl.col("ess_min").min(),
        pl.col("divergences").sum(),
        pl.col("n_chains", "n_draws").min(),
    )
    return Posterior(**worst.row(0, named=True))


def _learner(runs: pl.DataFrame, rows: Rows, name: str, task: Task, sizes: Mapping[str, int]) -> LearnerResult:
    metrics, geometry = rows.metrics.filter(learner=name), rows.geometry.filter(learner=name)
    counts = dict(runs["status"].value_counts().iter_rows())
    kind: Kind = runs["kind"][0]
    sizes_found = runs.filter(status="finished")["n_parameters"].to_list()
    return LearnerResult(
        name=name,
        kind=kind,
        parts=Parts(
            train=_scores(metrics, "train", task, sizes),
            validation=_scores(metrics, "validation", task, sizes),
            test=_scores(metrics, "test", task, sizes),
        ),
        gap=_number(_gap(metrics, sizes)),
        geometry=Geometry(
            hessian_top_eigenvalue=_curvature(geometry, CURVATURES[0], sizes),
            hessian_trace=_curvature(geometry, CURVATURES[1], sizes),
        ),
        effective_parameters=_effective(geometry, sizes),
        n_parameters=None if kind == "baseline" else max(sizes_found, default=None),
        posterior=_posterior(runs),
        seconds=sum(runs["wall_seconds"].to_list()),
        runs=RunCounts(**{status: counts.get(status, 0) for status in get_args(Status)}),
        splits=_splits(runs, rows.runs),
        improper=_improper(runs),
        warnings=cautions_of(runs),
    )


def _partial(learners: Sequence[LearnerResult]) -> Iterator[str]:
    """What it means that a learner lacks splits."""
    for each in learners:
        if each.splits.partial and each.runs.finished:
            yield (
                f"{each.name} finished on {each.splits}: its scores are of the runs that finished, it ranks below the "
                "learners that finished on more splits, and pairs are compared on the splits that both have"
            )


def _splits(runs: pl.DataFrame, every: pl.DataFrame) -> SplitCounts:
    """A split counts where none of the learner's runs there ended in another way, or is still to come."""
    seeds = every.select("split", "seed").unique().group_by("split").len("seeds")
    ended = runs.filter(status="finished").group_by("split").len("ended")
    whole = seeds.join(ended, on="split").filter(pl.col("ended") >= pl.col("seeds"))
    return SplitCounts(finished=len(whole), asked=len(seeds))


def _improper(runs: pl.DataFrame) -> str | None:
    return next((why for why in runs["improper"].to_list() if why), None)


def faults_of(kind: Kind, posterior: Posterior | None, improper: str | None) -> tuple[str, ...]:
    """Why a posterior's spread must not be read as uncertainty; empty where it may, and where there is no posterior."""
    return () if posterior is None else posterior_faults(Trust(kind, **_facts(posterior, improper)))


def faults_of_runs(runs: pl.DataFrame) -> tuple[str, ...]:
    """The same of one learner's rows of `runs`."""
    return faults_of(runs["kind"][0], _posterior(runs), _improper(runs))


def _facts(posterior: Posterior | None, improper: str | None) -> dict[str, Any]:
    if posterior is None:
        return {"improper": improper}
    mixing = posterior.model_dump(include={"r_hat_max", "ess_min", "divergences", "n_chains"})
    return {"posterior": True, "improper": improper, **mixing}


def _trust(learner: LearnerResult, metrics: pl.DataFrame, sizes: Mapping[str, int]) -> Trust:
    return Trust(
        kind=learner.kind,
        calibration_error=_score(metrics, "test", "calibration_error", sizes),
        splits=Splits(learner.splits.finished, learner.splits.asked),
        warnings=learner.warnings,
        **_facts(learner.posterior, learner.improper),
    )


def _row_scores(rows: Rows, metric: str) -> RowScores:
    """The test rows' own scores, of which `metric` is a mean, by learner, split and seed."""
    column = criterion(metric).rows
    found: RowScores = {}
    for (learner, split, seed), frame in rows.pointwise.group_by("learner", "split", "seed", maintain_order=True):
        of = frame["row"].to_numpy(), frame[column].to_numpy()
        found.setdefault(str(learner), {})[int(split), int(seed)] = of  # pyright: ignore[reportArgumentType] - numbers
    return found


def _compare(
    rows: Rows, names: Sequence[str], metric: str, scores: RowScores, sizes: Mapping[str, int]
) -> tuple[Ranked, ...]:
    """All pairs by one metric, paired on the test rows of runs with the same split and seed."""
    finished = [n for n in names if not rows.metrics.filter(learner=n).is_empty()]
    tests = rows.metrics.filter(part="test", metric=metric)
    index = rows.runs.select("split", "seed").unique().sort("split", "seed")
    values = {
        name: _grid(index.join(tests.filter(learner=name), on=["split", "seed"], how="left"), "value")
        for name in finished
    }
    splits, seeds = index["split"].unique().sort().to_list(), index["seed"].unique().sort().to_list()

    def row_error(a: str, b: str, key: tuple[int, int]) -> float:
        of_a, of_b = scores.get(a, {}).get(key), scores.get(b, {}).get(key)
        return np.nan if of_a is None or of_b is None else paired_row_error(of_a[1], of_b[1], metric)

    errors = {
        (a, b): np.array([[row_error(a, b, (j, s)) for s in seeds] for j in splits])
        for a, b in combinations(finished, 2)
    }
    return compare_all(values, errors, sizes["train"], sizes["test"], metric)


def _decisive(pairs: Sequence[Ranked], scores: RowScores, n_train: int, metric: str) -> list[Decisive]:
    found = (decisive_rows(c.a, c.b, scores[c.a], scores[c.b], n_train, metric) for c in pairs)
    return [each for each in found if each is not None]


def _influences(
    runs: pl.DataFrame, ranked: Mapping[str, Sequence[Ranked]], decisive: Mapping[str, Sequence[Decisive]]
) -> Iterator[str]:
    """One sentence for each metric and each row or two that make a difference, with the pair that has the largest."""
    texts = [text for row in runs["warnings"].drop_nulls() for text in row]
    about = dict(found for text in texts if (found := told_of(text)))
    for metric, found in decisive.items():
        pairs = {(c.a, c.b): (c.difference, c.standard_error) for c in ranked[metric]}
        groups: dict[tuple[int, ...], list[Decisive]] = {}
        for each in sorted(found, key=lambda d: -abs(pairs[d.a, d.b][0])):
            groups.setdefault(tuple(sorted(each.rows)), []).append(each)
        for first, *others in groups.values():
            yield influence_sentence(first, pairs[first.a, first.b], METRIC_WORDS[metric], about, len(others))


def _flatness(rows: Rows) -> str | None:
    """Does curvature order the solutions of one net as their generalisation gaps do? None without two such learners."""
    nets = rows.runs.filter((pl.col("kind") == "deterministic") & (pl.col("status") == "finished"))
    nets = nets.with_columns(net=pl.col("spec").str.json_path_match("$.predictor"))
    if nets.is_empty():
        return None
    common = nets.group_by("net").agg(pl.col("learner").n_unique()).sort("learner", "net", descending=[True, False])
    nets = nets.filter(net=common["net"][0])
    if nets["learner"].n_unique() < 2:
        return None
    scores = rows.metrics.filter(metric="log_score").pivot("part", index="run_key", values="value")
    top = rows.geometry.filter((pl.col("measure") == "hessian_top_eigenvalue") & CONVERGED)
    table = (
        nets.select("run_key", "split").join(scores, on="run_key").join(top.select("run_key", "value"), on="run_key")
    )
    found = rank_correlation(
        table["value"].to_numpy(),
        (table["train"] - table["test"]).to_numpy(),
        table["split"].to_numpy(),
    )
    return flatness_sentence("the top Hessian eigenvalue", found)
