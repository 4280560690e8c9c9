"""Nets and linear predictors through `models.fitting.dispatch.fit`, against scikit-learn, SciPy and exact
posteriors.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.linear_model import BayesianRidge, LogisticRegression

from models.data import tasks
from models.data.dataset import Dataset, sealed
from models.data.preparation import prepare
from models.fitting.dispatch import fit
from models.fitting.optimised import FULL_BATCH, program_of, rates_of
from models.joint.build import model_of
from models.runs.events import START, Checkpoint, Progress, Result
from models.spec.inference import NUTS, Constant, Cosine, Optimise, Plateau
from models.spec.learner import Learner
from models.spec.likelihoods import Bernoulli, Categorical, Gaussian, StudentT
from models.spec.predictors import Linear
from models.spec.priors import Normal
from tests.support.conjugate import assert_draws_agree, exact_posterior
from tests.support.runs import assert_same_bits, fit_all, request, table

LBFGS = Optimise(optimiser="lbfgs", batch_size=None, epochs=2000)
LINEAR_MAP = Learner(
    name="linear-map",
    predictor=Linear(),
    prior=Normal(scale=2.5, scaling="fan-in", bias_scale=2.5),
    inference=LBFGS,
)


def iris(classes):
    x, y = load_iris(return_X_y=True)
    rows = y < classes
    # Far apart classes would leave all to the prior: noise makes them overlap.
    x = x[rows] + np.random.default_rng(0).normal(size=(rows.sum(), 4))
    names = tuple("abcd")
    labels = tuple("xyz"[:classes])
    return sealed(Dataset("iris", "classes", x, names, {}, None, y[rows].astype(np.int64), "species", labels))


@pytest.mark.parametrize(("separated", "decay"), [(True, 0.0), (True, 0.01), (False, 0.0)])
def test_separated_classes_have_no_estimate_under_adam_without_decay(separated, decay):
    dataset = table("classes", n_classes=2)
    x = dataset.numeric
    target = (x[:, 1] > 0 if separated else np.arange(len(x)) % 2).astype(np.int64)
    inference = Optimise(epochs=2, weight_decay=decay)
    learner = Learner(name="l", predictor=Linear(), likelihood=Bernoulli(), inference=inference)
    dataset = sealed(replace(dataset, target=target))
    (result,) = fit_all([request(learner, dataset)], dataset)
    expected = "its prior is flat, and the classes are separated by 'x2', alone" if separated and not decay else None
    assert result.improper == expected


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_map_is_scikit_learns_logistic_regression(classes):
    """scikit-learn minimises C sum NLL + |W|^2 / 2 with free intercepts: N(0, C) on weights, next to flat on biases."""
    dataset, c = iris(classes), 0.7
    likelihood = Bernoulli() if classes == 2 else Categorical(coding="softmax")
    prior = Normal(scale=np.sqrt(c), scaling="constant", bias_scale=1e4)
    learner = LINEAR_MAP.model_copy(update={"likelihood": likelihood, "prior": prior})
    asked = request(learner, dataset)
    (result,) = fit_all([asked], dataset)
    assert result.warnings == ()

    split = prepare(dataset, asked.partition)
    twin = LogisticRegression(C=c, tol=1e-12, max_iter=10_000).fit(split.train.x, split.train.y)
    k = len(twin.intercept_)
    theta = result.parameters["theta"]
    weights, biases = theta[: 4 * k].reshape(k, 4), theta[4 * k :]
    np.testing.assert_allclose(weights, twin.coef_, atol=1e-4)
    assert np.abs(twin.coef_).min() > 1e-3
    # A shift of all biases leaves a softmax alone.
    shift = 0.0 if k == 1 else biases.mean() - twin.intercept_.mean()
    np.testing.assert_allclose(biases - shift, twin.intercept_, atol=1e-4)

    log_scores = twin.predict_log_proba(split.test.x)[np.arange(len(split.test.y)), split.test.y]
    np.testing.assert_allclose(result.pointwise["log_score"], log_scores, atol=1e-4)
    np.testing.assert_array_equal(result.pointwise["correct"], twin.predict(split.test.x) == split.test.y)


def test_scores_of_a_real_target_are_in_its_own_units():
    """From the raw table and the fitted vector alone: no function of the product on the way."""
    dataset = table("real", scale=40.0, location=-300.0)
    (result,) = fit_all([request(LINEAR_MAP, dataset)], dataset)
    test = result.pointwise["row"]
    train = prepare(dataset, request(LINEAR_MAP, dataset).partition).train.rows
    x, y = dataset.numeric, dataset.target
    standardised = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    *w, bias, log_sigma = result.parameters["theta"]
    mean = y[train].mean() + y[train].std() * (standardised @ w + bias)
    log_density = stats.norm(mean, y[train].std() * np.exp(log_sigma)).logpdf(y)

    np.testing.assert_allclose(result.pointwise["log_score"], log_density[test], rtol=1e-9)
    np.testing.assert_allclose(result.pointwise["squared_error"], (mean - y)[test] ** 2, rtol=1e-9)
    np.testing.assert_allclose(result.predictions["mean"], mean[test], rtol=1e-12)
    np.testing.assert_allclose(result.predictions["y"], y[test], rtol=1e-12)
    scores = {(m.part, m.metric): m.value for m in result.metrics}
    for part, rows in (("train", train), ("test", test)):
        assert scores[part, "log_score"] == pytest.approx(log_density[rows].mean(), rel=1e-9)
        assert scores[part, "rmse"] == pytest.approx(np.sqrt(np.mean((mean - y)[rows] ** 2)), rel=1e-9)
    covered = np.mean((result.predictions["lower"] < y[test]) & (y[test] < result.predictions["upper"]))
    assert 0.6 < covered <= 1.0


def test_linear_map_is_the_mode_of_the_log_joint_it_states():
    """Weights of a ridge with the noise that was found, and the noise where its own derivative vanishes."""
    dataset = table("real", scale=40.0, location=-300.0)
    asked = request(LINEAR_MAP, dataset)
    (result,) = fit_all([asked], dataset)
    part = prepare(dataset, asked.partition).train
    *w, log_sigma = result.parameters["theta"]
    x = np.column_stack([part.x, np.ones(len(part.y))])
    scales = np.array([*[2.5 / np.sqrt(3)] * 3, 2.5])
    ridge = np.linalg.solve(x.T @ x / np.exp(2 * log_sigma) + np.diag(scales**-2), x.T @ part.y / np.exp(2 * log_sigma))
    np.testing.assert_allclose(w, ridge, atol=1e-7)
    residual = part.y - x @ w
    assert residual @ residual / np.exp(2 * log_sigma) - len(part.y) - log_sigma == pytest.approx(0.0, abs=1e-6)
    steps = result.curves["step"]
    np.testing.assert_array_equal(steps, np.arange(1, len(steps) + 1))
    assert result.curves["train_loss"][-1] <= result.curves["train_loss"][0]


def test_lbfgs_that_is_cut_short_says_so():
    dataset = table("real", scale=40.0, location=-300.0)
    short = LINEAR_MAP.model_copy(update={"inference": LBFGS.model_copy(update={"epochs": 2})})
    (result,) = fit_all([request(short, dataset)], dataset)
    assert result.status == "finished"
    assert any(w.startswith("L-BFGS stopped after 2 steps") for w in result.warnings)


# --- sampling ---------------------------------------------------------------------------------------------------------

TASK = tasks.linear_gaussian(n=100, d=2, seed=3).dataset
LINEAR_NUTS = Learner(
    name="linear-nuts",
    predictor=Linear(),
    prior=Normal(scale=0.8, scaling="constant", bias_scale=0.5),
    inference=NUTS(chains=4, warmup=300, draws=1000, chunk=100, init=Optimise(learning_rate=0.05, epochs=20)),
)


@pytest.fixture(scope="module")
def sampled():
    """The request, its events and its result."""
    asked, events = request(LINEAR_NUTS, TASK), []
    fit([asked], TASK, {}, events.append)
    return asked, events, events[-1].value


def test_nuts_matches_the_exact_posterior(sampled):
    asked, _, result = sampled
    part = prepare(TASK, asked.partition).train
    x = np.column_stack([part.x, np.ones(len(part.y))])
    theta = result.posterior["posterior"]["theta"].to_numpy()
    assert theta.shape == (4, 1000, 4)
    assert_draws_agree(theta, *exact_posterior(x, part.y, np.array([0.8, 0.8, 0.5])))


def test_a_sampled_run_reports_all_that_a_posterior_has(sampled):
    _, _, result = sampled
    assert result.status == "finished"
    assert result.summary["n_chains"] == 4
    assert result.summary["n_draws"] == 1000
    assert result.summary["r_hat_max"] < 1.01
    assert {"posterior", "sample_stats", "log_likelihood", "predictions"} <= set(result.posterior.children)
    effective = {m.measure: m for m in result.geometry if m.draw == -1}["p_loo"]
    assert effective.invariance == "rescaling"
    assert 2.0 < effective.value < 6.0
    top = [m for m in result.geometry if m.measure == "hessian_top_eigenvalue"]
    assert len({m.draw for m in top}) == len(top) == 12
    assert (min(m.draw for m in top), max(m.draw for m in top)) == (0, 3999)


def test_progress_of_sampling_ends_at_its_total(sampled):
    _, events, _ = sampled
    progress = [event for event in events if isinstance(event, Progress) and event.phase != START]
    assert all(0 <= event.done <= event.total for event in progress)
    last = {event.phase: (event.done, event.total) for event in progress}
    assert last == {"epochs": (80, 80), "draws": (5200, 5200), "measures": (24, 24)}
    assert sum(isinstance(event, Result) for event in events) == 1


def test_a_run_that_goes_on_from_a_checkpoint_ends_in_the_same_bits(sampled):
    asked, events, whole = sampled
    checkpoints = [event for event in events if isinstance(event, Checkpoint)]
    assert len(checkpoints) == 12  # of 13 chunks: after the last there is nothing to go on with
    for checkpoint in (checkpoints[1], checkpoints[7]):
        (resumed,) = fit_all([asked], TASK, {asked.run_key: checkpoint.arrays})
        assert_same_bits(whole, resumed)
        np.testing.assert_array_equal(whole.posterior["posterior"]["theta"], resumed.posterior["posterior"]["theta"])


def test_draws_of_parameters_are_left_out_where_they_are_not_asked_for(sampled):
    learner = LINEAR_NUTS.model_copy(
        update={"inference": LINEAR_NUTS.inference.model_copy(update={"keep_draws": False})}
    )
    _, events, whole = sampled
    last = [event for event in events if isinstance(event, Checkpoint)][-1]
    asked = request(learner, TASK)
    (result,) = fit_all([asked], TASK, {asked.run_key: last.arrays})
    assert "posterior" not in result.posterior.children
    assert result.metrics == whole.metrics


def test_starts_that_are_not_finite_are_a_diverged_run():
    init = Optimise(optimiser="sgd", learning_rate=1e30, epochs=2)
    learner = LINEAR_NUTS.model_copy(update={"inference": LINEAR_NUTS.inference.model_copy(update={"init": init})})
    (result,) = fit_all([request(learner, TASK)], TASK)
    assert (result.status, result.error) == (
        "diverged",
        "an optimised start was not finite: lower inference.init.learning_rate",
    )


# --- settings ---------------------------------------------------------------------------------------------------------


def test_scalar_settings_become_rates():
    rates = rates_of(Optimise(learning_rate=0.1, momentum=0.5, weight_decay=0.2, dropout=0.3, patience=4))
    assert (rates.learning_rate, rates.momentum, rates.weight_decay, rates.dropout, rates.patience) == (
        0.1,
        0.5,
        0.2,
        0.3,
        4,
    )
    assert rates_of(Optimise(schedule=Cosine(warmup=0.2))).warmup == 0.2
    plateau = rates_of(Optimise(schedule=Plateau(factor=0.5, patience=7)))
    assert (plateau.factor, plateau.plateau, plateau.patience) == (0.5, 7, 0)


def test_settings_that_share_a_program_get_the_same_one():
    model = model_of(Linear(), Gaussian(), 0, 2, None)
    base = Optimise(schedule=Constant(), batch_size=None)
    scalars = {"learning_rate": 0.5, "momentum": 0.1, "weight_decay": 0.1, "patience": 3}
    assert program_of(model, base) is program_of(model, base.model_copy(update=scalars))
    assert program_of(model, base) is program_of(model, base.model_copy(update={"batch_size": FULL_BATCH}))
    assert program_of(model, base) is not program_of(model, base.model_copy(update={"batch_size": 8}))


@pytest.mark.parametrize("likelihood", [Gaussian(), StudentT()], ids=["gaussian", "student-t"])
def test_more_columns_than_rows_score_as_a_ridge_does(likelihood):
    """36 training rows and 50 columns, of which five count; the maximum of the log joint is at sigma = e^-36."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 50))
    columns = tuple(f"x{j}" for j in range(50))
    wide = replace(table("real"), numeric=x, names=columns, target=x[:, :5].sum(axis=1) + rng.normal(size=60))
    dataset, (linear,) = sealed(wide), [LINEAR_MAP.model_copy(update={"likelihood": likelihood})]
    (result,) = fit_all([request(linear, dataset)], dataset)
    split = prepare(dataset, request(linear, dataset).partition)
    ridge = BayesianRidge().fit(split.train.x, split.train.y)
    mean, sd = ridge.predict(split.test.x, return_std=True)
    expected = np.mean(stats.norm(mean, sd).logpdf(split.test.y)) - np.log(split.scale)
    (score,) = [m.value for m in result.metrics if (m.part, m.metric) == ("test", "log_score")]
    assert score > expected - 0.5
    assert "that of the validation part" in result.warnings[0]
