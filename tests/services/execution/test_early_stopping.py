"""Early stopping across a sweep: who is stopped, what is kept, and that the others are what they would have been."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.executor import InProcessExecutor
from cluster.resources import Resources
from models.fitting.halving import Halving
from models.runs.events import Event, Result
from models.spec.inference import Optimise
from models.spec.learner import Learner
from models.spec.predictors import MLP
from services.execution.carry_out import carry_out
from services.store.store import Store
from services.store.writer import Writer, writing
from services.sweeps.definition import Data, Sweep
from services.sweeps.plan import plan
from services.sweeps.search_space import Range
from tests.support.runs import table

DATASET = table("classes", n=90)
NET = Learner(name="net", predictor=MLP(widths=(3,)), inference=Optimise(epochs=12, batch_size=16))
RATES = {"inference.learning_rate": Range(low=1e-5, high=0.1, count=4, scale="log")}


def planned(early_stopping: Halving | None = Halving(reduction=2, min_epochs=3)):  # noqa: B008 - frozen
    data = Data(data=DATASET.name)
    options = {"learners": (NET,), "splits": 2, "seeds": 1, "vary": RATES, "measures": ("l2_norm",)}
    return plan(Sweep(name="halved", datasets=(data,), early_stopping=early_stopping, **options), [DATASET])


def carried_out(writer: Writer, wanted=None, listen=lambda event: None):
    return carry_out(wanted or planned(), writer, InProcessExecutor(), listen, resources=Resources())


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory):
    path, events = tmp_path_factory.mktemp("halved") / "store", []
    with writing(path) as writer:
        return path, carried_out(writer, listen=events.append), events


def statuses(path: Path) -> dict[float, set[str]]:
    runs = Store(path).runs().select("learning_rate", "status").collect()
    return {rate: set(each["status"]) for (rate,), each in runs.partition_by("learning_rate", as_dict=True).items()}


def test_configurations_go_on_or_stop_with_all_their_runs(halved):
    path, outcome, _ = halved
    found = statuses(path)
    # Of four configurations two pass the rung at 3 epochs, and one of these that at 6.
    assert sorted(map(str, found.values())) == ["{'finished'}"] + 3 * ["{'stopped'}"]
    assert (outcome.fitted, outcome.stopped, outcome.failed) == (2, 6, {})
    reasons = Store(path).runs().filter(pl.col("status") == "stopped").select("error").collect()["error"].to_list()
    assert sum("stopped at epoch 3 of 12" in reason for reason in reasons) == 4
    assert sum("stopped at epoch 6 of 12" in reason for reason in reasons) == 2


def test_every_run_is_told_of_once(halved):
    path, _, events = halved
    results: list[Event] = [event for event in events if isinstance(event, Result)]
    assert sorted(event.run_key for event in results) == sorted(Store(path).runs().collect()["run_key"])


def test_survivors_are_bit_for_bit_what_they_are_without_early_stopping(halved, tmp_path: Path):
    path, *_ = halved
    with writing(tmp_path / "all") as writer:
        carried_out(writer, planned(None))
    survivors = Store(path).runs().filter(pl.col("status") == "finished").collect()["run_key"]
    for key in survivors:
        ours, alone = Store(path).bundle(key), Store(tmp_path / "all").bundle(key)
        np.testing.assert_array_equal(ours.parameters()["theta"], alone.parameters()["theta"])
        assert ours.rows().filter(table="metrics").equals(alone.rows().filter(table="metrics"))


def test_nothing_is_left_behind_and_a_second_call_computes_nothing(halved):
    path, *_ = halved
    before = len(Store(path).scan("runs").collect())
    events: list[Event] = []
    with writing(path) as writer:
        assert writer.checkpoints() == set()
        again = carried_out(writer, listen=events.append)
    assert (again.fitted, again.reused, again.stopped) == (0, 2, 6)
    # Told of again, so that whoever counts comes to all of them; at no cost.
    assert {(e.value.status, e.value.seconds.wall) for e in events} == {("stopped", 0.0)}
    assert len({e.run_key for e in events}) == len(events) == 6
    assert len(Store(path).scan("runs").collect()) == before


def test_a_driver_that_was_cut_off_comes_to_the_same_choices(halved, tmp_path: Path):
    path, *_ = halved
    seen = 0

    def cut_off(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Result)
        if seen == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "cut") as writer:
        carried_out(writer, listen=cut_off)
    with writing(tmp_path / "cut") as writer:
        carried_out(writer)
    assert statuses(tmp_path / "cut") == statuses(path)


def test_stopped_runs_are_fitted_by_a_sweep_that_does_not_stop_them(halved, tmp_path: Path):
    with writing(tmp_path / "then") as writer:
        carried_out(writer)
        outcome = carried_out(writer, planned(None))
    assert (outcome.fitted, outcome.reused) == (6, 2)
    assert set().union(*statuses(tmp_path / "then").values()) == {"finished"}
    curves = Store(tmp_path / "then").scan("curves").collect()
    assert len(curves) == curves.select("run_key", "step").n_unique() == 8 * 12
