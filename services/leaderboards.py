"""Leaderboards: what a stored sweep says on each of its datasets, from the store alone."""

import json
import math
from typing import NamedTuple

import polars as pl

from models.spec import Task
from services.document import LearnerResult
from services.errors import StoreError
from services.store import Store
from services.summary import Rows, Summary, collect, summarise


class Leaderboard(NamedTuple):
    """A sweep's learners on one dataset, the best test log score first.

    Attributes:
        splits: how many the runs are on.
        seeds: how many there are on each split.
        summary: a learner whose settings were varied is one learner for each choice of them, named after it.
    """

    dataset: str
    task: Task
    splits: int
    seeds: int
    summary: Summary


def leaderboards(store: Store, sweep: str) -> tuple[Leaderboard, ...]:
    """Compare a sweep's stored runs, by dataset, in the sweep's order. Nothing is fitted, and no data are read.

    Raises:
        StoreError: there is no such sweep, or none of its runs is stored.
    """
    _, members = store.sweep(sweep)
    members = members.with_columns(name=pl.struct("learner", "varied").map_elements(_name, return_dtype=pl.String))
    boards = tuple(
        board
        for (_, dataset), mine in members.group_by("fingerprint", "dataset", maintain_order=True)
        if (board := _leaderboard(store, str(dataset), mine)) is not None
    )
    if not boards:
        raise StoreError(
            f"no run of sweep {sweep!r} is stored in {store.location}: `basin sweep resume {sweep}` fits them"
        )
    return boards


def _leaderboard(store: Store, dataset: str, members: pl.DataFrame) -> Leaderboard | None:
    rows = _named(collect(store, members["run_key"].to_list()), members.select("run_key", "name"))
    if rows.runs.is_empty():
        return None
    stored = set(rows.runs["learner"])
    names = [name for name in members["name"].unique(maintain_order=True) if name in stored]
    task = _task(rows)
    summary = summarise(rows, names, task)
    return Leaderboard(
        dataset=dataset,
        task=task,
        splits=rows.runs["split"].n_unique(),
        seeds=rows.runs["seed"].n_unique(),
        summary=summary._replace(learners=tuple(sorted(summary.learners, key=_rank))),
    )


def _name(member: dict[str, str]) -> str:
    settings = (
        f"{path.rpartition('.')[2]} {json.dumps(value)}" for path, value in json.loads(member["varied"]).items()
    )
    return ", ".join([member["learner"], *settings])


def _named(rows: Rows, names: pl.DataFrame) -> Rows:
    """The rows with each learner's name as the leaderboard has it."""
    return Rows(
        *(
            frame.join(names, on="run_key", maintain_order="left").drop("learner").rename({"name": "learner"})
            for frame in rows
        )
    )


def _task(rows: Rows) -> Task:
    if "accuracy" in rows.metrics["metric"]:
        return "classes"
    counts = rows.runs["likelihood"].is_in(["poisson", "negative-binomial"])
    return "count" if counts.any() else "real"


def _rank(learner: LearnerResult) -> tuple[float, str]:
    score = learner.parts.test.log_score.value
    return (math.inf if score is None else -score, learner.name)
