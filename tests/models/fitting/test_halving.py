"""Who goes on and who stops, against a slow twin; what is said of those that stop."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.data.dataset import Partition
from models.fitting.halving import (
    Bracket,
    Halving,
    RungReached,
    bracket_of,
    configuration_of,
    decide,
    loss_at,
    mean_loss,
    reason,
    rungs,
    stopped,
    takes_part,
)
from models.runs.result import RunRequest, Seconds
from models.spec.inference import NUTS, Optimise
from models.spec.learner import Learner
from models.spec.predictors import MLP, Linear
from models.spec.priors import Normal

NET = Learner(name="net", predictor=MLP(), inference=Optimise(epochs=100))


def asked(learner=NET, seed=0, split=0, fingerprint="f", **inference):
    learner = learner.model_copy(update={"inference": learner.inference.model_copy(update=inference)})
    return RunRequest(learner, Partition(index=split), seed, fingerprint)


@given(st.integers(2, 6), st.integers(1, 30), st.integers(1, 400))
def test_rungs_are_all_the_powers_below_the_full_length(reduction, least, epochs):
    found = rungs(Halving(reduction=reduction, min_epochs=least), epochs)
    twin = [e for e in range(1, epochs) if e % least == 0 and is_power(e // least, reduction)]
    assert list(found) == twin


def is_power(n, base):
    while n % base == 0:
        n //= base
    return n == 1


FINITE = st.floats(-1e6, 1e6)
LOSSES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    # Few values, so that ties are common.
    st.lists(st.sampled_from([0.1, 0.2, 0.3, math.inf, math.nan]) | FINITE, min_size=1, max_size=4),
    min_size=1,
)


def beats(a, b, losses):
    """Whether configuration `a` is ahead of `b`, by exact arithmetic."""

    def mean(key):
        bad = any(not math.isfinite(x) for x in losses[key])
        return math.inf if bad else float(sum(map(Fraction, losses[key])) / len(losses[key]))

    return mean(a) < mean(b) or (mean(a) == mean(b) and a < b)


@given(LOSSES, st.integers(2, 5))
def test_those_go_on_whom_too_few_beat(losses, reduction):
    found = decide(losses, Halving(reduction=reduction))
    seats = 1
    while seats * reduction < len(losses):
        seats += 1
    twin = {key for key in losses if sum(beats(other, key, losses) for other in losses) < seats}
    assert found == twin
    assert 1 <= len(found) == seats


@given(LOSSES, st.randoms())
def test_the_order_of_runs_and_configurations_does_not_matter(losses, random):
    keys = list(losses)
    random.shuffle(keys)
    shuffled = {key: random.sample(losses[key], len(losses[key])) for key in keys}
    assert decide(shuffled, Halving()) == decide(losses, Halving())


def test_one_lucky_seed_keeps_no_configuration():
    losses = {"lucky": [0.1, 0.9, 0.9], "steady": [0.5, 0.5, 0.5], "broken": [0.0, 0.0, math.inf]}
    assert decide(losses, Halving(reduction=3)) == {"steady"}


def test_a_configuration_is_all_but_split_and_seed():
    assert configuration_of(asked(seed=1, split=2)) == configuration_of(asked())
    others = [asked(learning_rate=0.5), asked(fingerprint="g"), asked(NET.model_copy(update={"name": "other"}))]
    assert len({configuration_of(each) for each in [asked(), *others]}) == 4


def test_a_bracket_is_dataset_learner_and_length():
    assert bracket_of(asked(learning_rate=0.5, batch_size=8, seed=3)) == Bracket("f", "net", 100)
    assert bracket_of(asked(epochs=50)) != bracket_of(asked())


def test_only_stochastic_gradients_beyond_the_first_rung_take_part():
    sampled = Learner(name="a", predictor=Linear(), prior=Normal(), inference=NUTS())
    convex = NET.model_copy(update={"inference": Optimise(optimiser="lbfgs", batch_size=None)})
    assert takes_part(asked(), Halving())
    assert not takes_part(asked(epochs=5), Halving())
    assert not takes_part(asked(convex), Halving())
    assert not takes_part(asked(sampled), Halving())


def test_the_loss_at_a_rung_is_the_best_up_to_there_whatever_came_after():
    curves = {"validation_loss": np.array([0.9, 0.5, 0.7, 0.1])}
    assert [loss_at(curves, e, diverged=False) for e in (1, 2, 3, 4, 9)] == [0.9, 0.5, 0.5, 0.1, 0.1]
    # The last row is that of the epoch in which it diverged.
    assert [loss_at(curves, e, diverged=True) for e in (3, 4, 9)] == [0.5, math.inf, math.inf]
    assert loss_at({"validation_loss": np.array([np.nan, 0.4])}, 2, diverged=False) == 0.4
    assert loss_at({"validation_loss": np.array([np.nan])}, 2, diverged=False) == math.inf
    assert mean_loss([]) == math.inf


def reached(diverged=False):
    curves = {"step": np.arange(1, 4), "validation_loss": np.array([0.9, 0.8, 0.7])}
    return RungReached("k", 5, curves, diverged, 12, Seconds(3.0, 1.0, 2.0), "cpu")


def test_a_stopped_run_keeps_its_curves_and_says_why():
    why = reason(0.61, 15, 100, 3, 9)
    assert why == (
        "stopped at epoch 15 of 100: its configuration's validation loss, 0.61 on average, was not among the best "
        "3 of 9"
    )
    run = stopped(asked(), reached(), why)
    assert (run.run_key, run.status, run.error, run.metrics) == (asked().run_key, "stopped", why, ())
    assert (run.n_parameters, run.seconds, run.device) == (12, Seconds(3.0, 1.0, 2.0), "cpu")
    assert run.curves["validation_loss"].tolist() == [0.9, 0.8, 0.7]
    assert stopped(asked(), reached(diverged=True), why).error == f"{why}; this run had diverged in epoch 3"
    assert "which was not finite in all of its runs, was not" in reason(math.inf, 15, 100, 3, 9)


@pytest.mark.parametrize("settings", [{"reduction": 1}, {"min_epochs": 0}, {"eta": 3}])
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(ValidationError):
        Halving(**settings)
