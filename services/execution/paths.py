"""Paths between the solutions of a sweep: which pairs there are, and what of them the store lacks."""

import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import polars as pl

from models.geometry.connectivity.paths import Paths
from models.measuring.paths import ConnectRequest, Vector
from models.spec.settings import canonical_json
from services.execution.measures import draws_of, request_of
from services.store.rows import settings_text
from services.store.store import Store


def plan(store: Store, sweep: str, settings: Paths, n_draws: int) -> tuple[ConnectRequest, ...]:
    """Paths that the store lacks, on each split between nets of the same layers and likelihood.

    Between all pairs of point estimates, and from each of `n_draws` draws of a posterior to every point estimate.

    Raises:
        StoreError: there is no such sweep.
    """
    _, members = store.sweep(sweep)
    wanted = members.lazy().select("run_key").unique()
    runs = store.runs().filter(status="finished").join(wanted, on="run_key", how="semi")
    runs = runs.filter(pl.col("kind").is_in(["deterministic", "bayesian-net"])).sort("learner", "seed", "run_key")
    ends = ("run_key", "draw", "other_run_key", "other_draw")
    there = store.scan("connections").filter(
        pl.col("settings") == settings_text(settings.model_dump(mode="json")), pl.col("status") != "failed"
    )
    done = set(store.collect(there.join(wanted, on="run_key", how="semi").select(ends).unique()).iter_rows())
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for run in store.collect(runs).iter_rows(named=True):
        spec = json.loads(run["spec"])
        net = canonical_json({"predictor": spec["predictor"], "likelihood": spec["likelihood"]})
        groups.setdefault((run["fingerprint"], run["split_seed"], run["split"], net), []).append(run)
    return tuple(request for group in groups.values() for request in _requests(group, settings, n_draws, done))


def _requests(
    group: list[Mapping[str, Any]], settings: Paths, n_draws: int, done: set[tuple[str, int, str, int]]
) -> Iterator[ConnectRequest]:
    """One request for each vector that paths start from."""
    points = [run for run in group if run["n_draws"] is None]
    pairs: dict[Vector, list[Vector]] = {}
    by_key = {run["run_key"]: run for run in group}
    for a, b in combinations(points, 2):
        pairs.setdefault((a["run_key"], -1), []).append((b["run_key"], -1))
    for run in group:
        draws, unable = draws_of(run, n_draws)
        if run["n_draws"] is not None and unable is None:
            for draw in draws:
                pairs[run["run_key"], draw] = [(point["run_key"], -1) for point in points]
    for (run_key, draw), others in pairs.items():
        missing = tuple(other for other in others if (run_key, draw, *other) not in done)
        if missing:
            yield ConnectRequest(request_of(by_key[run_key]), draw, missing, settings)
