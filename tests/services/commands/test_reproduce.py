"""A run fitted again is the same, and one that is stored otherwise is told apart."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.executor import InProcessExecutor
from cluster.resources import Resources
from models.spec.inference import Optimise
from models.spec.learner import Learner
from models.spec.predictors import MLP
from services.execution.carry_out import carry_out
from services.store.store import Store
from services.store.writer import writing
from services.sweeps.definition import Data, Sweep
from services.sweeps.plan import load_datasets, plan
from tests.support import factories

NET = Learner(name="net", predictor=MLP(widths=(3,)), inference=Optimise(epochs=2, batch_size=16))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store with a sweep of one net on two splits, on a person's own file."""
    folder = tmp_path_factory.mktemp("reproduced")
    rng = np.random.default_rng(0)
    x = rng.normal(size=90)
    pl.DataFrame({"x": x, "kind": np.where(x + rng.normal(size=90) > 0, "a", "b")}).write_csv(folder / "own.csv")
    own = Data(data=str(folder / "own.csv"), target="kind")
    sweep = Sweep(name="small", datasets=(own,), learners=(NET,), splits=2, seeds=1)
    planned = plan(sweep, load_datasets(sweep, folder / "cache"))
    with writing(folder / "store") as writer:
        carry_out(planned, writer, InProcessExecutor(), lambda event: None, resources=Resources())
    return folder, planned.run_keys


def test_a_run_comes_out_the_same_and_can_be_kept(command, filled) -> None:
    folder, keys = filled
    ended = command("reproduce", keys[1], "--store", folder / "store", "--into", folder / "elsewhere", "--json")
    assert ended.status == 0
    assert json.loads(ended.out) == {"run_key": keys[1], "same": True, "differences": []}
    there, here = (Store(folder / name).scan("metrics").filter(run_key=keys[1]) for name in ("store", "elsewhere"))
    assert there.collect().rows() == here.collect().rows()
    again = command("reproduce", keys[1], "--store", folder / "store", "--into", folder / "elsewhere")
    assert again.status == 2 and "already" in again.err


def test_a_run_that_is_stored_otherwise_is_told_apart(command, filled) -> None:
    folder, keys = filled
    stored = Store(folder / "store").bundle(keys[0]).manifest
    asked = factories.RunRequest(stored.learner, stored.partition, stored.seed, stored.fingerprint)
    with writing(folder / "other") as writer:
        writer.put(factories.record(asked))
        writer.put_sweep("small", *Store(folder / "store").sweep("small"))
    ended = command("reproduce", keys[0], "--store", folder / "other")
    assert ended.status == 1
    assert "metrics.rows differs" in ended.err
    assert "to the bit" not in ended.out


def test_what_cannot_be_reproduced_says_why(command, filled) -> None:
    folder, keys = filled
    ended = command("reproduce", "0" * 32, "--store", folder / "store")
    assert ended.status == 2 and f"no bundle {'0' * 32}" in ended.err
    with writing(folder / "alone") as writer:
        writer.put(factories.record(factories.request()))
    ended = command("reproduce", factories.request().run_key, "--store", folder / "alone")
    assert ended.status == 2 and "nothing says where 'Ziffern' is" in ended.err
    (folder / "own.csv").write_text((folder / "own.csv").read_text() + "0.5,a\n")
    ended = command("reproduce", keys[0], "--store", folder / "store")
    assert ended.status == 2 and "changed since it was fitted" in ended.err
