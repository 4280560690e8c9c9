"""From the tables to what a sweep's geometry says: distributions, rankings, effective counts, barriers, basins."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from models.comparison.estimate import estimate
from models.generalisation.bootstrap import MIN_SPLITS, Interval
from models.generalisation.correlation import RankCorrelation
from models.generalisation.generalisation import Ranked, generalisation_sentence, rank_measures
from models.geometry.connectivity.basins import QUANTILE, typical_against_optimum
from models.measuring.catalogue import CATALOGUE
from services.comparison.summary import CONVERGED, faults_of_runs
from services.geometry.barriers import barriers_of, basins_of, connections_of
from services.geometry.document import (
    Bounded,
    EffectiveCounts,
    GeometryDocument,
    MeasureSummary,
    Ranking,
    Typical,
)
from services.geometry.verdict import typical_sentence, verdict, words
from services.provenance import provenance
from services.rendering.records import NOT_AVAILABLE, Estimate
from services.store.rows import comparable
from services.store.store import Store

KEY = ("measure", "component", "settings")
# Measures that come with every posterior, beside those of the catalogue.
P_LOO = ("bayesian", "effective number of parameters by leave-one-out cross-validation", "more complex")


class Rows(NamedTuple):
    """The tables' rows of a sweep's finished runs.

    Attributes:
        runs: with the settings that were `varied`, as JSON text.
        geometry: a row for each run, draw, measure, component and settings, with dataset, learner and kind.
        gaps: test minus train loss by run key, with its standard error and the parts' sizes.
        connections: a row for each pair of vectors and method.
    """

    runs: pl.DataFrame
    geometry: pl.DataFrame
    gaps: pl.DataFrame
    connections: pl.DataFrame


def collect(store: Store, sweep: str) -> Rows:
    """Read what the store has of a sweep.

    Raises:
        StoreError: there is no such sweep.
    """
    _, members = store.sweep(sweep)
    asked = members.lazy().select("run_key", "varied").unique("run_key")
    runs = store.runs().filter(status="finished").join(asked, on="run_key").sort("dataset", "learner", "split", "seed")
    found = store.collect(runs)
    labels = found.lazy().select("run_key", "dataset", "learner", "kind", "split", "seed", "varied")
    rows = store.scan("geometry").join(labels, on="run_key").sort("run_key", "draw", *KEY)
    geometry = store.collect(rows.unique(["run_key", "draw", *KEY], keep="first", maintain_order=True))
    return Rows(found, geometry, _gaps(store, labels), connections_of(store, labels))


def _gaps(store: Store, labels: pl.LazyFrame) -> pl.DataFrame:
    """Train minus test log score of each run, which is test minus train loss; the parts share no rows: errors add."""
    scores = store.scan("metrics").filter(pl.col("metric") == "log_score").join(labels, on="run_key", how="semi")
    columns = ["run_key", "value", "standard_error", "n"]
    train, test = (scores.filter(pl.col("part") == part).select(columns) for part in ("train", "test"))
    both = train.join(test, on="run_key", suffix="_test")
    error = (pl.col("standard_error") ** 2 + pl.col("standard_error_test") ** 2).sqrt()
    gap = pl.col("value") - pl.col("value_test")
    return store.collect(both.select("run_key", gap=gap, gap_error=error, n_train="n", n_test="n_test"))


def summarise(rows: Rows, sweep: str, threshold: float) -> GeometryDocument:
    """Summarise a sweep's geometry; `threshold` is the largest barrier within one basin, in nats per row."""
    rankings = tuple(_rankings(rows))
    return GeometryDocument(
        sweep=sweep,
        datasets=tuple(rows.runs["dataset"].unique(maintain_order=True)),
        n_runs=len(rows.runs),
        varied=tuple(_varied(rows.runs)),
        measures=tuple(_measures(rows)),
        rankings=rankings,
        effective=tuple(_effective(rows)),
        typical=tuple(_typical(rows)),
        barriers=tuple(barriers_of(rows.runs, rows.connections)),
        basins=tuple(basins_of(rows.runs, rows.connections, threshold)),
        verdict=verdict(rankings),
        warnings=tuple(_warnings(rows)),
        provenance=provenance(),
    )


def _known(measure: str) -> tuple[str, str, str]:
    """Family, description and what a larger value stands for."""
    if measure in CATALOGUE:
        definition = CATALOGUE[measure]
        return definition.family, definition.about, definition.larger
    return P_LOO


# --- distributions ----------------------------------------------------------------------------------------------------


def _measures(rows: Rows) -> Iterator[MeasureSummary]:
    order = {name: i for i, name in enumerate(CATALOGUE)}
    draws = pl.when(pl.col("draw") >= 0).then(pl.lit("draws")).otherwise(pl.lit("estimate"))
    of = rows.geometry.with_columns(scope=draws)
    names = ("dataset", "measure", "component", "settings", "learner", "kind", "scope")
    groups = of.group_by(*names, maintain_order=True)
    found = [_measure(dict(zip(names, key, strict=True)), frame) for key, frame in groups]
    yield from sorted(found, key=lambda m: (m.dataset, order.get(m.measure, -1)))


def _measure(key: Mapping[str, Any], frame: pl.DataFrame) -> MeasureSummary:
    family, about, larger = _known(key["measure"])
    good = frame.filter(CONVERGED)
    counts = dict(frame["status"].value_counts().iter_rows())
    return MeasureSummary(
        **{name: key[name] for name in ("dataset", "learner", "kind", "measure", "component", "scope")},
        settings=json.loads(key["settings"]),
        family=family,
        about=about,
        invariance=frame["invariance"][0],
        larger=larger,
        n_values=len(good),
        **{f"n_{name}": counts.get(name, 0) for name in ("unconverged", "not_applicable", "failed")},
        **good.select(
            median=pl.col("value").median(),
            lower=pl.col("value").quantile(0.05),
            upper=pl.col("value").quantile(0.95),
            standard_error=pl.col("standard_error").median(),
            n_products=pl.col("n_products").median(),
        ).row(0, named=True),
        reasons=tuple(frame["reason"].drop_nulls().unique(maintain_order=True)),
    )


# --- rankings ---------------------------------------------------------------------------------------------------------


def _varied(runs: pl.DataFrame) -> list[str]:
    return sorted({path for text in runs["varied"].unique() for path in json.loads(text)})


def _rankings(rows: Rows) -> Iterator[Ranking]:
    """Rank the measures at the deterministic nets' point estimates, on each dataset."""
    nets = rows.runs.filter(kind="deterministic").join(rows.gaps, on="run_key")
    order = pl.col("draw") == -1
    for (dataset,), runs in nets.group_by("dataset", maintain_order=True):
        of = rows.geometry.filter(order).join(runs.select("run_key"), on="run_key", how="semi")
        values = of.filter(CONVERGED).group_by(*KEY, maintain_order=True)
        columns: dict[str, np.ndarray] = {}
        keys: dict[str, tuple[Any, ...]] = {}
        for key, frame in values:
            name = f"{key[0]} {key[1]} {key[2]}"
            joined = runs.select("run_key").join(frame.select("run_key", "value"), on="run_key", how="left")
            columns[name], keys[name] = joined["value"].to_numpy().astype(float), key
        if not columns:
            continue
        larger: Any = {name: _known(key[0])[2] for name, key in keys.items()}
        settings = {"learner": runs["learner"].to_numpy()}
        for path in _varied(runs):
            settings[path] = np.array([comparable(json.loads(text).get(path)) for text in runs["varied"]], object)
        ranked = rank_measures(
            columns,
            larger,
            runs["gap"].to_numpy(),
            runs["split"].to_numpy(),
            settings,
            gap_error=runs["gap_error"].to_numpy(),
        )
        invariance = dict(of.select("measure", "invariance").unique().iter_rows())
        for each in ranked:
            yield ranking_of(dataset, keys[each.measure], invariance[keys[each.measure][0]], each)


def ranking_of(dataset: Any, key: tuple[Any, ...], invariance: Any, found: Ranked) -> Ranking:
    """What the document says of one measure; `key` is its name, component and settings as JSON text."""
    measure, component, settings = key
    return Ranking(
        dataset=dataset,
        measure=measure,
        component=component,
        settings=json.loads(settings),
        invariance=invariance,
        larger=found.larger,
        tau=_of_tau(found.tau),
        granulated={name: _bounded(interval) for name, interval in found.granulated.items()},
        psi=_bounded(found.psi),
        information=_bounded(found.information),
        sign_error=_bounded(found.sign_error.worst),
        worst_environment=found.sign_error.environment,
        n_runs=found.n_runs,
        n_splits=found.n_splits,
        sentence=generalisation_sentence(words(measure, component), found),
    )


def _bounded(found: Interval) -> Bounded:
    return Bounded(
        value=found.told,
        lower=found.lower,
        upper=found.upper,
        reason=found.reason,
        plug_in=found.value,
    )


def _of_tau(found: RankCorrelation) -> Bounded:
    few = f"an interval needs at least {MIN_SPLITS} splits, here are {found.n_splits}"
    constant = "the measure or the gap is the same for all runs of each split"
    reason = None if np.isfinite(found.lower) else constant if np.isnan(found.tau) and found.n_splits else few
    return Bounded(value=found.tau, lower=found.lower, upper=found.upper, reason=reason)


# --- effective numbers of parameters ----------------------------------------------------------------------------------


def _effective(rows: Rows) -> Iterator[EffectiveCounts]:
    for (dataset, learner, kind), runs in rows.runs.group_by("dataset", "learner", "kind", maintain_order=True):
        of = rows.geometry.filter(CONVERGED & (pl.col("component") == "") & (pl.col("draw") == -1))
        of = of.join(runs.select("run_key"), on="run_key", how="semi")
        sizes = rows.gaps.join(runs.select("run_key"), on="run_key", how="semi")
        yield EffectiveCounts(
            dataset=dataset,
            learner=learner,
            kind=kind,
            n_parameters=max(runs["n_parameters"].to_list()),
            p_loo=_mean(of.filter(measure="p_loo"), sizes),
            effective_dimension=_mean(of.filter(measure="effective_dimension"), sizes),
            learning_coefficient=_mean(of.filter(measure="learning_coefficient"), sizes, factor=2.0),
        )


def _mean(rows: pl.DataFrame, sizes: pl.DataFrame, factor: float = 1.0) -> Estimate:
    """Mean over splits and seeds with its standard error; settings that vary are averaged over first."""
    if rows.is_empty() or sizes.is_empty():
        return NOT_AVAILABLE
    means = rows.group_by("split", "seed").agg(pl.col("value", "standard_error").mean())
    values, errors = (
        means.pivot("seed", index="split", values=column, sort_columns=True).sort("split").drop("split").to_numpy()
        for column in ("value", "standard_error")
    )
    n_train, n_test = (int(sizes[column].max()) for column in ("n_train", "n_test"))  # pyright: ignore[reportArgumentType]
    found = estimate(factor * values, factor * np.where(np.isfinite(values), errors, 0.0), n_train, n_test)
    return NOT_AVAILABLE if found is None else Estimate(value=found.value, standard_error=found.standard_error)


# --- posteriors against point estimates -------------------------------------------------------------------------------


def _typical(rows: Rows) -> Iterator[Typical]:
    """Each measure that was taken both at draws and at point estimates of one net."""
    net = pl.col("spec").str.json_path_match("$.predictor")
    labels = rows.runs.select("run_key", net=net, chain_length="n_draws")
    of = rows.geometry.filter(CONVERGED).join(labels, on="run_key")
    for (dataset, _, *key), group in of.group_by("dataset", "net", *KEY, maintain_order=True):
        drawn, points = group.filter(pl.col("draw") >= 0), group.filter(pl.col("draw") == -1)
        for (posterior,), draws in drawn.group_by("learner", maintain_order=True):
            for (optimum,), optima in points.group_by("learner", maintain_order=True):
                yield _compared(dataset, key, posterior, optimum, draws, optima)


def _compared(
    dataset: Any, key: Sequence[Any], posterior: Any, optimum: Any, draws: pl.DataFrame, optima: pl.DataFrame
) -> Typical:
    measure, component, settings = key
    chain = pl.concat_str("run_key", (pl.col("draw") // pl.col("chain_length")).cast(pl.String), separator=" ")
    chains = draws.select(chain.rank("dense"))[:, 0].to_numpy() - 1
    found = typical_against_optimum(draws["value"].to_numpy(), chains, optima["value"].to_numpy())
    reach = QUANTILE * found.standard_error
    ratio = float(np.exp(found.log_ratio))
    lower, upper = (float(np.exp(found.log_ratio + end)) for end in (-reach, reach))
    return Typical(
        dataset=dataset,
        measure=measure,
        component=component,
        settings=json.loads(settings),
        posterior=posterior,
        estimate=optimum,
        ratio=ratio,
        lower=lower,
        upper=upper,
        sentence=typical_sentence(words(measure, component), posterior, optimum, ratio, lower, upper),
    )


# --- what to be wary of -----------------------------------------------------------------------------------------------


def _warnings(rows: Rows) -> Iterator[str]:
    """One for each measure that failed or did not converge somewhere, and what was switched off to measure."""
    dropped = rows.runs.filter(pl.col("dropout") > 0)["learner"].unique(maintain_order=True)
    if len(dropped):
        yield f"{', '.join(dropped)} trained with dropout: it is off wherever something is measured"
    drawn = rows.geometry.filter(pl.col("draw") >= 0)["run_key"].unique()
    measured = rows.runs.filter(pl.col("run_key").is_in(drawn.implode()))
    for (dataset, learner), runs in measured.group_by("dataset", "learner", maintain_order=True):
        if faults := faults_of_runs(runs):
            yield (
                f"{learner} on {dataset} failed its posterior's checks ({'; '.join(faults)}): what is said of its "
                "draws holds for these draws, not for the posterior"
            )
    for (measure, status), bad in rows.geometry.filter(pl.col("status").is_in(["unconverged", "failed"])).group_by(
        "measure", "status", maintain_order=True
    ):
        reason = "" if status == "unconverged" else f": {bad['reason'][0]}"
        verb = "did not converge" if status == "unconverged" else "failed"
        n = bad.select("run_key", "draw").n_unique()
        yield f"{words(str(measure))} {verb} at {n} vector{'' if n == 1 else 's'}{reason}"
