"""What is judged a result, what is divergence, and what is warned of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.data.dataset import Partition
from models.data.preparation import prepare
from models.fitting.summarise import _unconverged, black_box_result, diverged, flat_draws, point_result
from models.joint.build import model_of
from models.prediction.predictive import Predictive
from models.runs.events import Progress
from models.runs.result import Measure, RunRequest
from models.runs.run import Run
from models.spec.inference import Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical
from models.spec.predictors import Linear
from models.spec.priors import Normal
from tests.support.runs import table

DATASET = table("classes")
SPLIT = prepare(DATASET, Partition())
LEARNER = Learner(name="linear", predictor=Linear(), likelihood=Categorical(), inference=Optimise())
MODEL = model_of(Linear(), Categorical(), 3, 3, None)


def run(split=SPLIT, emit=lambda event: None, prior=None):
    learner = LEARNER.model_copy(update={"prior": prior}) if prior else LEARNER
    return Run(RunRequest(learner, Partition(), 0, DATASET.fingerprint), split, emit)


def uniform(part):
    n = len(part.y)
    return Predictive(np.full(n, np.log(1 / 3)), probabilities=np.full((n, 3), 1 / 3))


def test_a_black_box_has_scores_and_nothing_else():
    found = black_box_result(run(), uniform, 7)
    assert (found.status, found.error, found.n_parameters) == ("finished", None, 7)
    assert (found.geometry, found.diagnostics, found.posterior, found.summary) == ((), (), None, None)
    assert [m.value for m in found.metrics if m.metric == "log_score"] == pytest.approx([np.log(1 / 3)] * 3)
    assert found.seconds.wall > 0


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_predictions_that_are_not_numbers_are_divergence(part):
    def predict(rows):
        predictive = uniform(rows)
        if rows is getattr(SPLIT, part):
            predictive.log_density[0] = np.nan
        return predictive

    found = black_box_result(run(), predict, 7)
    assert (found.status, found.error) == ("diverged", f"predictions on the {part} part are not numbers")
    assert found.metrics == ()


def test_a_density_of_zero_is_a_bad_score_and_no_divergence():
    def predict(rows):
        predictive = uniform(rows)
        predictive.log_density[0] = -np.inf
        return predictive

    found = black_box_result(run(), predict, 7)
    assert found.status == "finished"
    (score,) = [m for m in found.metrics if (m.part, m.metric) == ("test", "log_score")]
    assert score.value == -np.inf


def test_a_point_estimate_that_is_not_finite_has_diverged_and_keeps_its_curves():
    curves = {"step": np.arange(1, 3)}
    found = point_result(run(), jnp.full(12, jnp.nan), curves)
    assert (found.status, found.n_parameters) == ("diverged", 12)
    assert found.curves is curves


def test_curvature_is_that_of_the_mean_training_loss():
    events = []
    theta = 0.3 * jax.random.normal(jax.random.key(0), (12,))
    prior = Normal(scale=2.0, scaling="constant", bias_scale=2.0)
    found = point_result(run(emit=events.append, prior=prior), theta, {}, ("careful",))
    x, y = jnp.asarray(SPLIT.train.x, jnp.float32), jnp.asarray(SPLIT.train.y, jnp.int32)
    hessian = np.asarray(jax.hessian(lambda t: MODEL.loss(t, x, y))(theta), float)
    measures = {m.measure: m for m in found.geometry}
    assert all((m.draw, m.status) == (-1, "converged") for m in found.geometry)
    top = measures["hessian_top_eigenvalue"]
    assert top.value == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=0.01)
    trace = measures["hessian_trace"]
    assert abs(trace.value - np.trace(hessian)) <= 4 * trace.standard_error + 1e-4 * np.trace(hessian)
    # Laplace: sum of n h / (n h + 1 / s^2), the loss being a mean over n rows.
    n = len(y)
    eigenvalues = n * np.linalg.eigvalsh(hessian)
    effective = measures["effective_dimension"]
    expected = np.sum(eigenvalues / (eigenvalues + 0.25))
    assert effective.settings == {"relative_error": 0.05, "max_steps": 100}
    assert abs(effective.value - expected) <= 4 * effective.standard_error + 0.05 * expected
    np.testing.assert_array_equal(found.parameters["theta"], theta)
    assert found.warnings == ("careful",)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.phase, last.done, last.total) == ("measures", 3, 3)


def test_without_a_prior_there_is_no_effective_dimension():
    found = point_result(run(), jnp.zeros(12), {})
    assert {m.measure for m in found.geometry} == {"hessian_top_eigenvalue", "hessian_trace"}


def test_draws_are_flattened_chain_by_chain():
    theta = np.random.default_rng(0).normal(size=(2, 3, 12)).astype(np.float32)
    eta, extra = flat_draws(MODEL, theta)
    found = np.asarray(eta(SPLIT.test))
    assert extra.shape == (6, 0)
    for s, (chain, draw) in enumerate(np.ndindex(2, 3)):
        weights, biases = theta[chain, draw, :9].reshape(3, 3), theta[chain, draw, 9:]
        np.testing.assert_allclose(found[s], SPLIT.test.x @ weights.T + biases, rtol=1e-4, atol=1e-5)


def test_each_measure_that_did_not_converge_is_warned_of_once():
    def measured(name, converged):
        status = "converged" if converged else "unconverged"
        return Measure(0, name, "", 1.0 if converged else None, None, status, None, 5, "permutation", {})

    geometry = [measured("hessian_trace", False), measured("hessian_trace", False), measured("hessian_trace", True)]
    assert _unconverged([*geometry, measured("hessian_top_eigenvalue", True)]) == (
        "hessian trace did not converge at 2 of the draws measured",
    )
    assert _unconverged(geometry[2:]) == ()


def test_a_diverged_run_is_a_row_with_its_reason():
    found = diverged(run(), 12, "no longer finite", {})
    assert (found.status, found.error, found.n_parameters) == ("diverged", "no longer finite", 12)
    assert found.device
