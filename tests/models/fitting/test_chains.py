"""Chains that are spread over workers make the run that one worker makes, to the bit."""

import jax
import numpy as np
import pytest

from models.fitting.chains import ChainsRequest, FittedChains, fit_chains, merge_chains, n_chains, spread
from models.runs.events import Checkpoint, Progress, Result
from models.runs.result import Seconds
from models.spec.inference import HMC, NUTS, Optimise, PyMC
from models.spec.learner import Learner
from models.spec.predictors import MLP, Formula, Linear
from models.spec.priors import Normal
from tests.support.runs import assert_same_posterior, fit_all, request, table

DATASET = table("classes", n_classes=2)
INIT = Optimise(learning_rate=0.05, epochs=3)
LENGTHS = {"warmup": 20, "draws": 15}
SAMPLED = {"chains": 3, "chunk": 10, "init": INIT, **LENGTHS}
RUNS = {
    "nuts": Learner(name="nuts", predictor=Linear(), prior=Normal(), inference=NUTS(max_tree_depth=3, **SAMPLED)),
    "hmc": Learner(name="hmc", predictor=MLP(widths=(3,)), prior=Normal(), inference=HMC(steps=4, **SAMPLED)),
    "glm": Learner(name="glm", predictor=Formula(), prior=Normal(), inference=PyMC(chains=3, **LENGTHS)),
    "formula": Learner(
        name="formula", predictor=Formula(formula="x1 * x2"), prior=Normal(), inference=PyMC(chains=3, **LENGTHS)
    ),
}


def of(name):
    return request(RUNS[name], DATASET)


def part(asked, checkpoints=None):
    """The events of one part, of which the last is its result."""
    events = []
    fit_chains([asked], DATASET, checkpoints or {}, events.append)
    assert {event.run_key for event in events} == {asked.key}
    assert [event for event in events if isinstance(event, Result)] == events[-1:]
    return events


@pytest.fixture(scope="module", params=RUNS)
def whole(request):
    """The request of a run and its result."""
    asked = of(request.param)
    (result,) = fit_all([asked], DATASET)
    assert result.status == "finished"
    return asked, result


def test_parts_that_are_merged_make_the_run_of_one_worker(whole):
    asked, result = whole
    last, first = [part(each)[-1].value for each in reversed(spread(asked, 2))]
    assert (first.chains, last.chains) == ((0, 1), (2,))
    merged = merge_chains([last, first])
    (assembled,) = fit_all([asked], DATASET, {asked.run_key: merged})
    assert_same_posterior(assembled, result)
    spent = first.seconds.wall + last.seconds.wall
    assert assembled.seconds.wall > spent > first.seconds.wall > 0


def test_a_part_goes_on_from_its_own_checkpoint(whole):
    asked = ChainsRequest(whole[0], (0, 2))
    events = part(asked)
    checkpoints = [event.arrays for event in events if isinstance(event, Checkpoint)]
    assert checkpoints
    resumed = part(asked, {asked.key: checkpoints[0]})[-1].value
    for name, array in events[-1].value.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], array)
    assert resumed.seconds.wall > checkpoints[0]["seconds"][0]


def test_progress_of_a_part_counts_its_own_chains():
    asked = ChainsRequest(of("nuts"), (1, 2))
    last = {e.phase: (e.done, e.total) for e in part(asked) if isinstance(e, Progress)}
    assert last == {"start": (0, 1), "epochs": (6, 6), "draws": (70, 70)}


def test_in_lock_step_too_a_chain_is_the_same_alone(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    asked = of("nuts")
    (result,) = fit_all([asked], DATASET)
    merged = merge_chains([part(each)[-1].value for each in spread(asked, 3)])
    assert_same_posterior(fit_all([asked], DATASET, {asked.run_key: merged})[0], result)


def test_a_chain_with_nowhere_to_start_is_the_diverged_run_that_it_was():
    inference = RUNS["nuts"].inference.model_copy(
        update={"init": Optimise(optimiser="sgd", learning_rate=1e30, epochs=2)}
    )
    asked = request(RUNS["nuts"].model_copy(update={"inference": inference}), DATASET)
    parts = [part(each)[-1].value for each in spread(asked, 2)]
    assert [each.arrays for each in parts] == [{}, {}]
    assert "an optimised start was not finite" in parts[0].reason
    assert merge_chains(parts) is None
    assert fit_all([asked], DATASET)[0].status == "diverged"


def test_a_part_that_cannot_be_fitted_says_why_and_leaves_its_neighbours_alone():
    learner = RUNS["formula"].model_copy(update={"predictor": Formula(formula="x1 + xx2")})
    bad, good = (ChainsRequest(request(each, DATASET), (0,)) for each in (learner, RUNS["nuts"]))
    events = []
    fit_chains([bad, good], DATASET, {}, events.append)
    failed, fitted = (event.value for event in events if isinstance(event, Result))
    assert "unknown column 'xx2'" in failed.reason
    assert fitted.reason is None and fitted.arrays


def test_a_checkpoint_of_other_chains_is_passed_over():
    asked = of("nuts")
    one, two = ChainsRequest(asked, (1,)), ChainsRequest(asked, (0, 1))
    strange = next(event.arrays for event in part(two) if isinstance(event, Checkpoint))
    a, b = part(one)[-1].value, part(one, {one.key: strange})[-1].value
    np.testing.assert_array_equal(a.arrays["theta"], b.arrays["theta"])


@pytest.mark.parametrize(("parts", "cut"), [(1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (9, [1, 1, 1])])
def test_chains_are_cut_as_equal_as_can_be(parts, cut):
    asked = of("hmc")
    found = spread(asked, parts)
    assert [len(each.chains) for each in found] == cut
    assert [chain for each in found for chain in each.chains] == [0, 1, 2]
    assert len({each.key for each in found} | {asked.run_key}) == len(found) + 1


def test_a_run_without_chains_has_no_parts():
    asked = request(Learner(name="net", predictor=MLP(), inference=Optimise()), DATASET)
    assert n_chains(asked) == 0
    assert spread(asked, 4) == []


def test_parts_of_different_runs_or_chains_are_not_merged():
    def fitted(key, *chains):
        return FittedChains(key, chains, {"theta": np.zeros((len(chains), 2))}, Seconds(0, 0, 0), "cpu")

    for parts in ([fitted("a", 0), fitted("b", 1)], [fitted("a", 0), fitted("a", 0)], [fitted("a", 0, 2)]):
        with pytest.raises(ValueError, match="each chain once"):
            merge_chains(parts)
