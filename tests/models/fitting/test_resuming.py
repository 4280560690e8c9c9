"""Optimised runs that are interrupted end in the bits of those that were not, in turns and in lock step."""

import jax
import numpy as np
import pytest

from models.fitting.dispatch import fit, program_key
from models.runs import run as running
from models.runs.events import Checkpoint, Result
from models.spec.inference import Optimise, Plateau
from models.spec.learner import Learner
from models.spec.predictors import MLP
from tests.support.runs import assert_same_bits, fit_all, request, table

DATASET = table("classes")
NET = Learner(
    name="net",
    predictor=MLP(widths=(4,)),
    inference=Optimise(
        learning_rate=0.05, epochs=25, batch_size=8, dropout=0.1, patience=8, schedule=Plateau(patience=3)
    ),
)


def varied(**inference):
    return NET.model_copy(update={"inference": NET.inference.model_copy(update=inference)})


# One program; the first of them loses patience before the end.
PACK = [request(varied(learning_rate=0.05), DATASET), request(varied(learning_rate=0.005), DATASET, seed=1)]


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    """Both ways of training a pack, on this CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


@pytest.fixture
def eager(monkeypatch):
    """A checkpoint is due after every chunk."""
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.0)


def events_of(requests, checkpoints=None):
    events = []
    fit(requests, DATASET, checkpoints or {}, events.append)
    return events


def checkpoints_of(events, run_key):
    return [event.arrays for event in events if isinstance(event, Checkpoint) and event.run_key == run_key]


@pytest.mark.usefixtures("eager")
def test_a_run_that_goes_on_from_a_checkpoint_ends_in_the_undisturbed_bits(backend):
    assert len({program_key(each, DATASET) for each in PACK}) == 1
    events = events_of(PACK)
    whole = [event.value for event in events if isinstance(event, Result)]
    assert [result.status for result in whole] == ["finished", "finished"]
    assert len(whole[0].curves["step"]) < len(whole[1].curves["step"]) == 25
    first, second = (checkpoints_of(events, each.run_key) for each in PACK)
    assert 3 < len(first) < 25
    # In lock step the two stand at different epochs, and in the second case one of them starts afresh.
    for some in ({0: first[0], 1: second[-1]}, {0: first[2]}):
        resumed = fit_all(PACK, DATASET, {PACK[i].run_key: arrays for i, arrays in some.items()})
        for a, b in zip(whole, resumed, strict=True):
            assert_same_bits(a, b)


@pytest.mark.usefixtures("eager")
def test_nothing_is_compiled_anew_and_no_epoch_done_twice_after_a_resume():
    events = events_of(PACK[:1])
    last = checkpoints_of(events, PACK[0].run_key)[-1]
    again = events_of(PACK[:1], {PACK[0].run_key: last})
    assert len(checkpoints_of(again, PACK[0].run_key)) <= 1
    whole, resumed = events[-1].value, again[-1].value
    assert resumed.seconds.compile == last["seconds"][1]
    assert resumed.seconds.wall > last["seconds"][0]
    assert_same_bits(whole, resumed)


@pytest.mark.usefixtures("eager")
def test_a_run_that_is_cut_off_can_go_on_from_what_it_handed_back():
    kept = {}

    def die(event):
        if isinstance(event, Checkpoint):
            kept[event.run_key] = {name: np.array(array) for name, array in event.arrays.items()}
            if len(kept[event.run_key]) and int(event.arrays["state/epoch"]) > 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(PACK[:1], DATASET, {}, die)
    assert int(kept[PACK[0].run_key]["state/epoch"]) > 8
    assert_same_bits(*fit_all(PACK[:1], DATASET, kept), *fit_all(PACK[:1], DATASET))


def test_short_runs_hand_nothing_back():
    assert not checkpoints_of(events_of(PACK[:1]), PACK[0].run_key)


@pytest.mark.usefixtures("backend", "eager")
def test_a_checkpoint_of_another_program_is_passed_over():
    events = events_of(PACK)
    arrays = checkpoints_of(events, PACK[0].run_key)[0]
    longer = {**arrays, "state/theta": np.append(arrays["state/theta"], 0.0)}
    whole = [event.value for event in events if isinstance(event, Result)]
    for strange in (longer, {"done": np.array(3)}):
        for a, b in zip(whole, fit_all(PACK, DATASET, {PACK[0].run_key: strange}), strict=True):
            assert_same_bits(a, b)
