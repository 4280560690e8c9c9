"""`glm-bayes` through `models.fitting.dispatch.fit`, against the exact posterior and SciPy."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from models.data import tasks
from models.data.dataset import sealed
from models.data.preparation import prepare
from models.fitting.dispatch import fit
from models.runs.clock import Clock
from models.runs.events import START, Checkpoint, Progress
from models.spec.inference import PyMC
from models.spec.learner import Learner
from models.spec.predictors import Formula
from models.spec.priors import Flat, Normal
from tests.support.conjugate import assert_draws_agree, exact_posterior
from tests.support.runs import assert_same_bits, assert_same_posterior, fit_all, request, table

# The task and the prior of `test_fit_net`: both samplers are held against the same exact answer.
TASK = tasks.linear_gaussian(n=100, d=2, seed=3).dataset
GLM = Learner(
    name="glm-bayes",
    predictor=Formula(),
    prior=Normal(scale=0.8, scaling="constant", bias_scale=0.5),
    inference=PyMC(chains=4, warmup=300, draws=1000),
)


@pytest.fixture(scope="module")
def sampled():
    """The request, its events, its result, and the most that it can have compiled for."""
    asked, events, seen = request(GLM, TASK), [], []
    importlib.import_module("models.fitting.glm")  # takes seconds, which are not to be taken for compiling
    clock = Clock()

    def listen(event):
        if not (isinstance(event, Progress) and event.phase == START):
            seen.append((clock.wall, clock.compile))
        events.append(event)

    fit([asked], TASK, {}, listen)
    # All seconds up to the first draw, and what JAX reports after it.
    (until_first_draw, compiled), (_, compiled_in_all) = seen[0], seen[-1]
    return asked, events, events[-1].value, until_first_draw + compiled_in_all - compiled


def draws_of(result):
    """(chain, draw, 4): slopes, intercept, log sigma."""
    group = result.posterior["posterior"]
    parts = [group[name].to_numpy() for name in ("slope", "intercept", "log_sigma")]
    return np.concatenate([part.reshape(4, 1000, -1) for part in parts], axis=2)


def test_pymc_matches_the_exact_posterior(sampled):
    asked, _, result, _ = sampled
    part = prepare(TASK, asked.partition).train
    x = np.column_stack([part.x, np.ones(len(part.y))])
    assert_draws_agree(draws_of(result), *exact_posterior(x, part.y, np.array([0.8, 0.8, 0.5])))


def test_log_scores_are_those_of_the_mixture_over_draws_in_own_units(sampled):
    asked, _, result, _ = sampled
    split = prepare(TASK, asked.partition)
    *w, bias, log_sigma = np.moveaxis(draws_of(result).reshape(-1, 4), 1, 0)
    mean = split.location + split.scale * (split.test.x @ np.array(w) + bias[None])
    each = stats.norm(mean, split.scale * np.exp(log_sigma)).logpdf(TASK.target[split.test.rows][:, None])
    np.testing.assert_allclose(result.pointwise["log_score"], logsumexp(each, axis=1) - np.log(4000), rtol=1e-9)
    np.testing.assert_allclose(result.predictions["mean"], mean.mean(axis=1), rtol=1e-9)


def test_it_is_judged_as_a_posterior(sampled):
    _, events, result, _ = sampled
    assert (result.status, result.n_parameters) == ("finished", 4)
    assert result.summary["r_hat_max"] < 1.01
    measures = {(m.draw, m.measure) for m in result.geometry}
    assert (-1, "p_loo") in measures
    assert sum(name == "hessian_trace" for _, name in measures) == 12
    progress = [event for event in events if isinstance(event, Progress) and event.phase != START]
    assert all(0 <= event.done <= event.total for event in progress)
    assert {e.phase: (e.done, e.total) for e in progress} == {"draws": (5200, 5200), "measures": (24, 24)}


def test_compiling_is_not_counted_twice(sampled):
    _, _, result, most = sampled
    assert 0 < result.seconds.compile <= most
    assert 0 < result.seconds.device <= result.seconds.wall - result.seconds.compile


@pytest.mark.slow
def test_a_stated_formula_is_judged_without_a_flat_vector():
    learner = GLM.model_copy(
        update={"predictor": Formula(formula="x1 * x2"), "inference": PyMC(chains=2, warmup=100, draws=50)}
    )
    (result,) = fit_all([request(learner, TASK)], TASK)
    assert (result.status, result.n_parameters) == ("finished", 5)
    assert {m.measure for m in result.geometry} == {"p_loo"}
    assert {(m.part, m.metric) for m in result.metrics} >= {("test", "log_score"), ("train", "rmse")}


def test_an_unknown_column_is_a_failed_run_that_names_it():
    learner = GLM.model_copy(update={"predictor": Formula(formula="x1 + xx2")})
    (result,) = fit_all([request(learner, TASK)], TASK)
    assert result.status == "failed"
    assert "unknown column 'xx2'" in result.error


def test_a_run_that_goes_on_after_a_finished_chain_ends_in_the_same_bits():
    learner = GLM.model_copy(update={"inference": PyMC(chains=3, warmup=20, draws=15)})
    asked, events = request(learner, TASK), []
    fit([asked], TASK, {}, events.append)
    checkpoints = [event.arrays for event in events if isinstance(event, Checkpoint)]
    assert [arrays["chains"].tolist() for arrays in checkpoints] == [[0], [0, 1]]
    for arrays in checkpoints:
        (resumed,) = fit_all([asked], TASK, {asked.run_key: arrays})
        assert_same_posterior(events[-1].value, resumed)


def test_a_checkpoint_of_another_glm_is_passed_over():
    asked = request(GLM.model_copy(update={"inference": PyMC(chains=2, warmup=20, draws=15)}), TASK)
    strange = {"chains": np.array([0]), "points/beta": np.zeros((1, 15)), "stats/energy": np.zeros((1, 15))}
    a, b = (fit_all([asked], TASK, checkpoints)[0] for checkpoints in ({}, {asked.run_key: strange}))
    assert_same_bits(a, b)


def flat(task, likelihood=None, formula=None):
    short = PyMC(chains=2, warmup=50, draws=50)
    learner = Learner(
        name="flat", predictor=Formula(formula=formula), likelihood=likelihood, prior=Flat(), inference=short
    )
    (result,) = fit_all([request(learner, task)], task)
    return result


def separated():
    """Two classes that x2 tells apart."""
    task = table("classes", n=80, n_classes=2)
    return sealed(replace(task, target=(task.numeric[:, 1] > 0.2).astype(np.int64)))


@pytest.mark.parametrize("formula", [None, "x1 + x2"])
def test_a_separated_posterior_is_improper_and_says_so(formula):
    result = flat(separated(), formula=formula)
    assert result.improper == "its prior is flat, and the classes are separated by 'x2', alone"
    assert "state a proper prior" in result.warnings[0]
    assert not [text for text in result.warnings if "run longer" in text]


def test_a_proper_posterior_says_nothing_of_the_kind():
    assert flat(TASK).improper is None
