"""Scores on three parts and what plots need, from predictives whose scores can be had by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, log_loss

from models.data.dataset import Partition
from models.data.preparation import prepare
from models.joint import likelihoods
from models.prediction.evaluate import PARTS, evaluate, predict_parts, target_of
from models.prediction.predictive import Predictive
from tests.support.runs import table

CLASSES = prepare(table("classes"), Partition())
REAL_DATA = table("real", scale=40.0, location=-300.0)
REAL = prepare(REAL_DATA, Partition())
COUNT = prepare(table("count"), Partition())


def of(split, name):
    return getattr(split, name)


def classified(split):
    rng = np.random.default_rng(0)
    found = {}
    for name in PARTS:
        p = rng.dirichlet(np.ones(3), size=len(of(split, name).y))
        found[name] = Predictive(np.log(p[np.arange(len(p)), of(split, name).y]), probabilities=p)
    return found


def numbers(split, samples_of):
    found = {}
    for name in PARTS:
        y = target_of(split, of(split, name))
        found[name] = Predictive(-np.abs(y), mean=y + 1.0, samples=samples_of(y))
    return found


def test_targets_are_in_their_own_units():
    for name in PARTS:
        part = of(REAL, name)
        np.testing.assert_allclose(target_of(REAL, part), REAL_DATA.target[part.rows], rtol=1e-12)
        np.testing.assert_array_equal(target_of(CLASSES, of(CLASSES, name)), of(CLASSES, name).y)


def test_classes_are_scored_on_every_part():
    predictives = classified(CLASSES)
    found = evaluate(predictives, CLASSES)
    scores = {(m.part, m.metric): m for m in found.metrics}
    for name in PARTS:
        y, p = of(CLASSES, name).y, predictives[name].probabilities
        assert scores[name, "log_score"].value == pytest.approx(-log_loss(y, p, labels=range(3)))
        assert scores[name, "accuracy"].value == pytest.approx(accuracy_score(y, p.argmax(axis=1)))
        assert scores[name, "brier"].value == pytest.approx(np.mean(np.sum((p - np.eye(3)[y]) ** 2, axis=1)))
        assert {m.n for (part, _), m in scores.items() if part == name} == {len(y)}
    assert found.predictions.keys() == {"y", "probabilities"}
    np.testing.assert_array_equal(found.pointwise["row"], CLASSES.test.rows)
    np.testing.assert_array_equal(found.pointwise["log_score"], predictives["test"].log_density)


def test_numbers_have_intervals_that_hold_ninety_per_cent_of_the_samples():
    grid = np.linspace(-1.0, 1.0, 201)
    found = evaluate(numbers(REAL, lambda y: y[:, None] + grid), REAL)
    y = REAL_DATA.target[REAL.test.rows]
    np.testing.assert_allclose(found.predictions["lower"], y - 0.9)
    np.testing.assert_allclose(found.predictions["upper"], y + 0.9)
    np.testing.assert_allclose(found.predictions["mean"], y + 1.0)
    np.testing.assert_allclose(found.predictions["pit"], 0.5, atol=0.01)
    np.testing.assert_allclose(found.pointwise["squared_error"], 1.0)
    assert {m.part: m.value for m in found.metrics if m.metric == "rmse"} == pytest.approx(dict.fromkeys(PARTS, 1.0))


def test_transforms_of_counts_are_drawn_inside_their_cells():
    found = evaluate(numbers(COUNT, lambda y: np.repeat(y[:, None], 99, axis=1).astype(float)), COUNT)
    pit = found.predictions["pit"]
    assert np.all((pit > 0) & (pit < 1))
    # All samples tie with the target: the cell is the whole unit interval.
    assert len(set(pit)) == len(pit)
    assert stats.kstest(pit, "uniform").pvalue > 0.001
    again = evaluate(numbers(COUNT, lambda y: np.repeat(y[:, None], 99, axis=1).astype(float)), COUNT)
    np.testing.assert_array_equal(pit, again.predictions["pit"])


def test_parts_are_predicted_from_their_own_rows_and_keys():
    family = likelihoods.gaussian()
    same = replace(REAL, validation=REAL.test)
    found = predict_parts(
        family, lambda part: jnp.asarray(part.x[None, :, :1], jnp.float32), jnp.zeros((1, 1)), same, jax.random.key(0)
    )
    for name in PARTS:
        part, predictive = of(same, name), found[name].predictive
        expected = stats.norm(part.x[:, 0], 1.0).logpdf(part.y) - np.log(REAL.scale)
        np.testing.assert_allclose(predictive.log_density, expected, rtol=1e-4)
        np.testing.assert_allclose(predictive.mean, REAL.location + REAL.scale * part.x[:, 0], rtol=1e-5)
    # Equal rows of two parts still have samples of their own.
    assert np.all(found["validation"].predictive.samples != found["test"].predictive.samples)


def test_codes_stay_whole_numbers():
    found = predict_parts(
        likelihoods.categorical(3),
        lambda part: jnp.zeros((1, len(part.y), 3)),
        jnp.zeros((1, 0)),
        CLASSES,
        jax.random.key(0),
    )
    np.testing.assert_allclose(found["test"].predictive.log_density, np.log(1 / 3), rtol=1e-6)
