"""Chains of one run on several workers: which runs, and that the bits are those of a run fitted whole."""

from pathlib import Path

import numpy as np

from cluster.executor import InProcessExecutor
from cluster.resources import Resources
from models.runs.events import Progress, Result
from models.spec.inference import NUTS, Library, Optimise
from models.spec.learner import Learner
from models.spec.predictors import MLP, BoostedTrees
from models.spec.priors import Normal
from services.execution.carry_out import carry_out
from services.execution.chains import worth_spreading
from services.store.store import Store
from services.store.writer import writing
from services.sweeps.definition import Data, Sweep
from services.sweeps.plan import plan
from tests.support.runs import table

DATASET = table("classes", n=90)
BNN = Learner(
    name="bnn",
    predictor=MLP(widths=(3,)),
    prior=Normal(),
    inference=NUTS(chains=3, warmup=20, draws=30, max_tree_depth=3, chunk=10, init=Optimise(epochs=2, batch_size=16)),
)
TREES = Learner(name="trees", predictor=BoostedTrees(max_rounds=3), inference=Library())


def planned(splits: int):
    options = {"learners": (BNN, TREES), "splits": splits, "seeds": 1, "measures": ("l2_norm",)}
    return plan(Sweep(name="spread", datasets=(Data(data=DATASET.name),), **options), [DATASET])


def test_what_costs_more_than_a_fair_share_is_worth_it():
    def learners(splits: int, n_workers: int, gpus: float = 0) -> set[str]:
        wanted = planned(splits)
        worth = worth_spreading(wanted, wanted.runs, n_workers, Resources(gpus=gpus))
        return {r.learner.name for r in wanted.requests(worth)}

    assert learners(splits=1, n_workers=2) == {"bnn"}
    assert learners(splits=4, n_workers=2) == set()
    assert learners(splits=1, n_workers=1) == set()
    assert learners(splits=1, n_workers=2, gpus=0.5) == set()  # there a part takes as long as the whole


def test_a_run_in_parts_is_the_run_that_one_worker_fits(tmp_path: Path):
    stores, events = {}, []
    wanted = planned(splits=1)
    for n_workers in (1, 4):
        stores[n_workers] = tmp_path / str(n_workers)
        listen = events.append if n_workers == 4 else lambda event: None
        with writing(stores[n_workers]) as writer:
            outcome = carry_out(wanted, writer, InProcessExecutor(), listen, resources=Resources(), n_workers=n_workers)
            assert (outcome.fitted, outcome.failed) == (2, {})
            assert writer.checkpoints() == set()
    (key,) = (request.run_key for request in wanted.requests() if request.learner.name == "bnn")
    whole, parts = (Store(stores[n]).bundle(key) for n in (1, 4))
    for group in ("posterior", "sample_stats"):
        a, b = (bundle.posterior()[group].to_dataset() for bundle in (whole, parts))
        for name in a.data_vars:
            np.testing.assert_array_equal(a[name], b[name])
    assert whole.rows().filter(table="metrics").equals(parts.rows().filter(table="metrics"))
    assert sorted(e.run_key for e in events if isinstance(e, Result)) == sorted(wanted.run_keys)
    draws = [e for e in events if isinstance(e, Progress) and e.run_key == key and e.phase == "draws"]
    assert {e.total for e in draws} == {150}
    assert [e.done for e in draws] == sorted(e.done for e in draws)
