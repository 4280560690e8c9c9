"""Paths between stored solutions: which pairs there are, and what is kept."""

import shutil
from itertools import combinations
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from cluster.executor import InProcessExecutor
from models.data.dataset import Partition
from models.data.preparation import prepare
from models.geometry.connectivity.paths import Paths
from models.runs.result import RunRequest
from models.runs.run import Run, rows_of
from models.spec.inference import NUTS, Optimise
from models.spec.learner import Learner, resolve
from models.spec.predictors import MLP, Linear
from models.spec.priors import Normal
from services.execution.measures import measure, vectors
from services.execution.paths import plan
from services.execution.runner import run
from services.store.store import Store
from services.store.writer import writing
from tests.support.items import items_of
from tests.support.runs import table

DATASET = table("classes")
SHORT = Optimise(epochs=3, batch_size=16)
NET = MLP(widths=(4,))
LEARNERS = (
    Learner(name="net", predictor=NET, inference=SHORT),
    Learner(name="wider", predictor=MLP(widths=(5,)), inference=SHORT),
    Learner(
        name="posterior",
        predictor=NET,
        prior=Normal(),
        inference=NUTS(chains=2, warmup=20, draws=10, max_tree_depth=2, init=SHORT),
    ),
    Learner(name="linear", predictor=Linear(), inference=SHORT),
)
REQUESTS = [
    RunRequest(resolve(learner, "classes", 3), Partition(index=split), seed, DATASET.fingerprint)
    for learner in LEARNERS
    for split in range(2)
    for seed in range(2 if learner.name == "net" else 1)
]
KEYS = {(r.learner.name, r.partition.index, r.seed): r.run_key for r in REQUESTS}
PATHS = Paths(points=5, bezier_steps=3)


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("connecting") / "store"
    with writing(folder) as writer:
        run(items_of(REQUESTS), {DATASET.fingerprint: DATASET}, writer, InProcessExecutor())
        writer.put_sweep("all", "{}", pl.DataFrame({"run_key": list(KEYS.values())}))
        connect(writer)
    return folder


def connect(writer, settings=PATHS, n_draws=3):
    requests = plan(writer, "all", settings, n_draws)
    measure(requests, "all", {DATASET.fingerprint: DATASET}, writer, InProcessExecutor(), lambda event: None)
    return requests


def rows(folder: Path) -> pl.DataFrame:
    return Store(folder).scan("connections").collect()


def test_pairs_are_of_one_net_on_one_split(connected):
    found = set(rows(connected).select("run_key", "draw", "other_run_key", "other_draw").iter_rows())
    expected = set()
    for split in range(2):
        nets = sorted(KEYS["net", split, seed] for seed in range(2))
        expected |= {frozenset([(a, -1), (b, -1)]) for a, b in combinations(nets, 2)}
        posterior = KEYS["posterior", split, 0]
        expected |= {frozenset([(posterior, draw), (net, -1)]) for draw in (0, 9, 19) for net in nets}
    assert {frozenset([(a, i), (b, j)]) for a, i, b, j in found} == expected
    assert len(found) == len(expected)


def test_the_line_is_that_between_the_stored_vectors(connected):
    (row,) = rows(connected).filter(run_key=KEYS["net", 0, 0], method="linear", draw=-1).iter_rows(named=True)
    store = Store(connected)
    a, b = (vectors(store.bundle(row[name]), [-1])[0] for name in ("run_key", "other_run_key"))
    of = Run(REQUESTS[0], prepare(DATASET, Partition()), lambda event: None)
    x, y = rows_of(of.split.train, np.float32)
    losses = [float(of.model.loss(jnp.asarray((1 - t) * a + t * b), x, y)) for t in np.linspace(0, 1, 5)]
    np.testing.assert_allclose(row["losses"], losses, rtol=1e-5)
    assert row["status"] == "converged" and row["barrier"] >= 0 and row["maximum"] >= max(losses) - 1e-5


def test_every_pair_has_every_method(connected):
    counts = rows(connected).group_by("run_key", "draw", "other_run_key", "other_draw").agg(pl.col("method").sort())
    assert counts["method"].to_list() == [["aligned", "bezier", "linear"]] * len(counts)


def test_what_is_connected_is_not_connected_again(connected, tmp_path):
    copy = Path(shutil.copytree(connected, tmp_path / "store"))
    with writing(copy) as writer:
        assert connect(writer) == ()
        more = connect(writer, n_draws=5)
        # Draws 4 and 14 are new: 5 evenly spaced of 20 are 0, 4, 9, 14 and 19.
        assert sorted((r.run.partition.index, r.draw) for r in more) == [(0, 4), (0, 14), (1, 4), (1, 14)]
        assert len(connect(writer, PATHS.model_copy(update={"points": 7}))) == 2 * (1 + 3)


def test_paths_come_back_when_the_tables_are_rebuilt(connected, tmp_path):
    copy = Path(shutil.copytree(connected, tmp_path / "store"))
    order = ["run_key", "draw", "other_run_key", "other_draw", "method"]
    with writing(copy) as writer:
        writer.rebuild()
    assert rows(copy).sort(order).equals(rows(connected).sort(order))


def test_paths_do_not_depend_on_company(connected, tmp_path):
    copy = Path(shutil.copytree(connected, tmp_path / "store"))
    shutil.rmtree(copy / "measurements")
    (copy / "measurements").mkdir()
    with writing(copy) as writer:
        writer.rebuild()
        for request in plan(writer, "all", PATHS, 3)[::-1]:
            measure([request], "all", {DATASET.fingerprint: DATASET}, writer, InProcessExecutor(), lambda event: None)
    order = ["run_key", "draw", "other_run_key", "other_draw", "method"]
    columns = [*order, "barrier", "losses"]
    assert rows(copy).sort(order).select(columns).equals(rows(connected).sort(order).select(columns))
