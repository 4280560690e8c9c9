"""A sweep with early stopping: its survivors are the runs of a sweep without, to the bit."""

import jax
import numpy as np
import pytest

from models.data.dataset import Partition
from models.fitting.halving import Halving, configuration_of, decide, loss_at, rungs
from models.fitting.rung import RungRequest, fit_to_rung
from models.runs.events import Checkpoint, Progress, Result
from models.runs.result import RunRequest
from models.spec.inference import Optimise
from models.spec.learner import Learner
from models.spec.predictors import MLP
from tests.support.runs import assert_same_bits, fit_all, request, table

DATASET = table("classes")
EPOCHS = 20
HALVING = Halving(reduction=2, min_epochs=3)


def configuration(rate, **inference):
    settings = Optimise(optimiser="sgd", learning_rate=rate, epochs=EPOCHS, batch_size=8, dropout=0.1, **inference)
    return Learner(name="net", predictor=MLP(widths=(4,)), inference=settings)


SWEEP = [
    request(configuration(rate), DATASET, seed=seed, split=split)
    for rate in (1e-4, 0.05, 0.3, 1e30)
    for split, seed in ((0, 0), (0, 1), (1, 0))
]


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    """Both ways of training a pack, on this CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)


def to_rung(requests, epochs, checkpoints):
    """What was reached, by run key; the checkpoints are replaced by the new ones."""
    events, found = [], {}
    fit_to_rung([RungRequest(each, epochs) for each in requests], DATASET, checkpoints, events.append)
    for event in events:
        assert not isinstance(event, Checkpoint) or event.run_key not in found  # or the driver would not keep it
        if isinstance(event, Checkpoint):
            checkpoints[event.run_key] = event.arrays
        elif isinstance(event, Result):
            assert event.run_key not in found
            found[event.run_key] = event.value
    assert found.keys() == {each.run_key for each in requests}
    return found


def halved(sweep):
    """The survivors of a sweep, their checkpoints, and the losses at each rung by configuration."""
    alive, checkpoints, told = list(sweep), {}, {}
    for rung in rungs(HALVING, EPOCHS):
        found = to_rung(alive, rung, checkpoints)
        losses = {}
        for each in alive:
            losses.setdefault(configuration_of(each), []).append(found[each.run_key].loss)
        told[rung] = losses
        survivors = decide(losses, HALVING)
        alive = [each for each in alive if configuration_of(each) in survivors]
    return alive, checkpoints, told


@pytest.mark.usefixtures("backend")
def test_survivors_are_the_runs_of_a_sweep_without_early_stopping():
    without = dict(zip([each.run_key for each in SWEEP], fit_all(SWEEP, DATASET), strict=True))
    survivors, checkpoints, told = halved(SWEEP)
    # One configuration in full: all of its splits and seeds, none of another's.
    assert len({configuration_of(each) for each in survivors}) == 1
    assert len(survivors) == 3
    for each, result in zip(survivors, fit_all(survivors, DATASET, checkpoints), strict=True):
        assert_same_bits(result, without[each.run_key])
    # What was decided upon is what the undisturbed runs' curves say.
    for rung, losses in told.items():
        for each in SWEEP:
            run = without[each.run_key]
            if (key := configuration_of(each)) in losses:
                assert loss_at(run.curves, rung, diverged=run.status == "diverged") in losses[key]


def test_what_is_reached_is_the_undisturbed_run_up_to_there():
    (whole,) = fit_all(SWEEP[3:4], DATASET)
    checkpoints = {}
    found = to_rung(SWEEP[3:4], 3, checkpoints)[whole.run_key]
    for name, values in found.curves.items():
        np.testing.assert_array_equal(values, whole.curves[name][:3])
    assert (found.epochs, found.diverged, found.n_parameters) == (3, False, whole.n_parameters)
    assert found.seconds.wall > 0
    # Asked again when the run is further already, as after a crash between two rungs.
    to_rung(SWEEP[3:4], 12, checkpoints)
    again = to_rung(SWEEP[3:4], 3, checkpoints)[whole.run_key]
    assert again.loss == found.loss
    np.testing.assert_array_equal(again.curves["train_loss"], found.curves["train_loss"])
    assert int(checkpoints[whole.run_key]["state/epoch"]) == 12


def test_a_run_that_lost_patience_or_diverged_before_the_rung_stays_what_it_is():
    patient = request(configuration(1e-12, patience=2), DATASET)
    wild = SWEEP[-1]
    checkpoints = {}
    found = to_rung([patient, wild], 12, checkpoints)
    assert len(found[patient.run_key].curves["step"]) == 3
    assert (found[wild.run_key].diverged, found[wild.run_key].loss) == (True, np.inf)
    for a, b in zip(fit_all([patient, wild], DATASET, checkpoints), fit_all([patient, wild], DATASET), strict=True):
        assert_same_bits(a, b)


def test_progress_ends_at_the_rung():
    events = []
    fit_to_rung([RungRequest(SWEEP[0], 6)], DATASET, {}, events.append)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.phase, last.done, last.total) == ("epochs", 6, 6)


def test_a_run_that_cannot_be_fitted_is_a_failed_result_and_leaves_its_neighbours_alone():
    bad = RunRequest(SWEEP[0].learner, Partition(test=0.01), 0, DATASET.fingerprint)
    found = to_rung([SWEEP[0], bad, SWEEP[1]], 3, {})
    assert (found[bad.run_key].status, found[SWEEP[1].run_key].epochs) == ("failed", 3)
    assert "leaves 1 for the test part" in found[bad.run_key].error
