"""The barriers between a sweep's solutions, and the share of posterior draws in the basins of point estimates."""

import json
from collections.abc import Iterator

import polars as pl

from models.geometry.connectivity.basins import basin_share
from services.errors import NotStoredError
from services.geometry.document import Barriers, BasinShare
from services.store.rows import comparable
from services.store.store import Store


def barrier_matrices(store: Store, sweep: str, fingerprint: str, split: int) -> list[Barriers]:
    """The barriers between a sweep's solutions on one split of one dataset; none where there is no such sweep."""
    try:
        _, members = store.sweep(sweep)
    except NotStoredError:
        return []
    asked = members.filter(fingerprint=fingerprint, split=split).select("run_key", "varied").unique("run_key")
    runs = store.collect(
        store.runs().filter(status="finished").join(asked.lazy(), on="run_key").sort("learner", "seed")
    )
    labels = runs.lazy().select("run_key", "dataset", "learner", "kind", "split", "seed", "varied")
    return list(barriers_of(runs, connections_of(store, labels)))


def connections_of(store: Store, labels: pl.LazyFrame) -> pl.DataFrame:
    """A row for each pair of vectors and method."""
    found = store.scan("connections").join(labels, on="run_key")
    pairs = ["run_key", "draw", "other_run_key", "other_draw", "method", "settings"]
    return store.collect(found.unique(pairs, keep="first", maintain_order=True))


def barriers_of(runs: pl.DataFrame, connections: pl.DataFrame) -> Iterator[Barriers]:
    """A matrix for each dataset, split and method."""
    names = _names(runs)
    of = connections.sort("dataset", "split", "method")
    for (dataset, split, method), pairs in of.group_by("dataset", "split", "method", maintain_order=True):
        ends = pairs.select("run_key", "draw").vstack(pairs.select(run_key="other_run_key", draw=pl.col("other_draw")))
        vectors = sorted(set(ends.iter_rows()), key=lambda v: (v[1] >= 0, names.get(v[0], ("", ""))[1], v[1]))
        place = {vector: i for i, vector in enumerate(vectors)}
        matrix: list[list[float | None]] = [[None] * len(vectors) for _ in vectors]
        for i in range(len(vectors)):
            matrix[i][i] = 0.0
        for a, draw, b, other, barrier in pairs.select(
            "run_key", "draw", "other_run_key", "other_draw", "barrier"
        ).iter_rows():
            i, j = place[a, draw], place[b, other]
            matrix[i][j] = matrix[j][i] = barrier
        labels = [names[key][1] + (f", draw {draw}" if draw >= 0 else "") for key, draw in vectors]
        yield Barriers(
            dataset=dataset,
            split=split,
            method=method,
            labels=tuple(labels),
            learners=tuple(names[key][0] for key, _ in vectors),
            barriers=tuple(map(tuple, matrix)),
        )


def _names(runs: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Learner and words of each run, by key: the learner, its varied settings and the seed."""
    found = {}
    for key, learner, seed, varied in runs.select("run_key", "learner", "seed", "varied").iter_rows():
        settings = [f"{path.rpartition('.')[2]} {comparable(value)}" for path, value in json.loads(varied).items()]
        found[key] = (learner, ", ".join([learner, *settings, f"seed {seed}"]))
    return found


def basins_of(runs: pl.DataFrame, connections: pl.DataFrame, threshold: float) -> Iterator[BasinShare]:
    """The share of each posterior's draws in the basins of each learner's point estimates."""
    lengths = runs.select("run_key", chain_length="n_draws")
    learners = runs.select(other_run_key="run_key", estimate="learner")
    # A trained curve gets round nearly everything, so that it says nothing of a basin.
    straight = pl.col("method") != "bezier"
    drawn = connections.filter((pl.col("draw") >= 0) & (pl.col("other_draw") == -1) & straight)
    of = drawn.join(lengths, on="run_key").join(learners, on="other_run_key")
    for (dataset, posterior, optimum, method), pairs in of.group_by(
        "dataset", "learner", "estimate", "method", maintain_order=True
    ):
        # A draw is in the basin of a learner if it is in that of any of its estimates on the split.
        best = pairs.group_by("run_key", "draw", "chain_length", maintain_order=True).agg(pl.col("barrier").min())
        best = best.filter(pl.col("barrier").is_not_null())
        if best.is_empty():
            continue
        chain = pl.concat_str("run_key", (pl.col("draw") // pl.col("chain_length")).cast(pl.String), separator=" ")
        chains = best.select(chain.rank("dense"))[:, 0].to_numpy() - 1
        found = basin_share(best["barrier"].to_numpy(), chains, threshold)
        yield BasinShare(
            dataset=dataset,
            posterior=posterior,
            estimate=optimum,
            method=method,
            threshold=threshold,
            share=found.value,
            standard_error=found.standard_error,
            n_draws=len(best),
        )
