"""A stored sweep's comparisons, one for each dataset, without its data and without fitting anything.

Where settings vary, each learner is compared at its best configuration by the log score on validation rows. The test
rows have no say in that choice, so that they can still judge it.
"""

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any, NamedTuple

import polars as pl

from models.spec.likelihoods import LIKELIHOODS_OF
from models.spec.settings import Task
from services.comparison.document import DatasetFacts, Document, Invocation, gather_warnings
from services.comparison.summary import Rows, collect, summarise
from services.errors import NotStoredError
from services.provenance import provenance
from services.store.store import Store
from services.sweeps.definition import Sweep, parse_sweep


class Compared(NamedTuple):
    """A comparison of stored runs, and the rows that it is from."""

    document: Document
    rows: Rows


def compare_stored(store: Store, sweep: str, dataset: str | None = None) -> Iterator[Compared]:
    """Compare the learners of a sweep on each of its datasets that has a stored run.

    Args:
        store: where the sweep is.
        sweep: its name.
        dataset: name or fingerprint of the one that is wanted; None is all.

    Raises:
        NotStoredError: there is no such sweep, or no such dataset in it.
        StoreError: the store cannot be read.
    """
    definition, members = store.sweep(sweep)
    asked = parse_sweep(json.loads(definition), f"sweep {sweep!r}")
    if dataset is not None:
        members = members.filter((pl.col("dataset") == dataset) | (pl.col("fingerprint") == dataset))
        if members.is_empty():
            names = ", ".join(dict.fromkeys(store.sweep(sweep)[1]["dataset"]))
            raise NotStoredError(f"no dataset {dataset!r} in sweep {sweep!r}", store.location, f"it has {names}")
    for (name, fingerprint), mine in members.group_by("dataset", "fingerprint", maintain_order=True):
        chosen = _chosen(store, mine)
        rows = collect(store, mine.join(chosen, on=["learner", "varied"], how="semi")["run_key"].to_list())
        if not rows.runs.is_empty():
            yield Compared(_document(asked, str(name), str(fingerprint), chosen, rows), rows)


def compared(store: Store, members: pl.DataFrame) -> list[str]:
    """Keys of those runs of a sweep on one dataset that are compared: of each learner, at its best configuration."""
    return members.join(_chosen(store, members), on=["learner", "varied"], how="semi")["run_key"].to_list()


def _chosen(store: Store, members: pl.DataFrame) -> pl.DataFrame:
    """Each learner with its best configuration, `varied`, and of how many it is the best, `n`.

    One with more runs that have a score comes before one with fewer: the others did not end, or diverged.
    """
    scores = store.scan("metrics").filter((pl.col("part") == "validation") & (pl.col("metric") == "log_score"))
    value = pl.col("value").fill_nan(None)
    judged = members.lazy().join(scores.select("run_key", "value"), on="run_key", how="left", maintain_order="left")
    by_configuration = judged.group_by("learner", "varied", maintain_order=True).agg(
        value.count().alias("scored"), value.mean().alias("score")
    )
    best = by_configuration.sort("scored", "score", descending=True, nulls_last=True, maintain_order=True)
    found = best.group_by("learner", maintain_order=True).agg(pl.col("varied").first(), pl.len().alias("n"))
    order = members.lazy().select("learner").unique(maintain_order=True)
    return store.collect(order.join(found, on="learner", maintain_order="left"))


def _document(sweep: Sweep, dataset: str, fingerprint: str, chosen: pl.DataFrame, rows: Rows) -> Document:
    task = _task(sweep, dataset, rows)
    there = set(rows.runs["learner"])
    names = [name for name in chosen["learner"] if name in there]
    summary = summarise(rows, names, task)
    sizes = dict(rows.metrics.group_by("part").agg(pl.col("n").max()).iter_rows())
    stated = [data for data in sweep.datasets if data.data == dataset]
    others = [_choice(*row) for row in chosen.iter_rows() if row[2] > 1]
    return Document(
        dataset=DatasetFacts(
            name=dataset,
            rows=sum(sizes.values()),
            columns=None,
            target=stated[0].target if stated else None,
            fingerprint=fingerprint,
        ),
        task=task,
        learners=summary.learners,
        comparisons=summary.comparisons,
        verdict=summary.verdict,
        warnings=gather_warnings(summary.learners, [*summary.warnings, *others]),
        fitted=0,
        reused=len(rows.runs),
        invocation=Invocation(
            created=_last(rows.runs),
            command=f"basin sweep resume {sweep.name}",
            budget=sweep.budget,
            splits=sweep.n_splits,
            seeds=sweep.n_seeds,
        ),
        provenance=provenance(),
    )


def _last(runs: pl.DataFrame) -> str:
    """When the last of the runs was stored: the same runs make the same document."""
    stored: Any = runs["stored_at"].max()
    return stored.astimezone(UTC).isoformat(timespec="seconds")


def _choice(learner: str, varied: str, n: int) -> str:
    settings = [f"{path.rpartition('.')[2]} {json.dumps(value)}" for path, value in json.loads(varied).items()]
    return (
        f"{learner}: compared at {', '.join(settings)}, the best of its {n} configurations by the log score on "
        "validation rows"
    )


def _task(sweep: Sweep, dataset: str, rows: Rows) -> Task:
    """As the sweep states it, or by the likelihoods, or, where all learners are black boxes, by the scores."""
    for data in sweep.datasets:
        if data.task is not None and data.data == dataset:
            return data.task
    likelihoods = set(rows.runs["likelihood"].drop_nulls())
    for task, known in LIKELIHOODS_OF.items():
        if likelihoods & set(known):
            return task
    return "real" if "rmse" in set(rows.metrics["metric"]) else "classes"
