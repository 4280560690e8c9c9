"""Margins of every coding of the classes, and what normalises them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.symmetries import hidden_layers, rescale
from models.geometry.definition import NotApplicableError, Point
from models.geometry.families.margins import DEFINITIONS, QUANTILES, class_count, margins, training_error
from models.geometry.families.norms import weight_matrices
from models.geometry.landscape import Landscape
from models.joint.model import build
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from models.predictors.linear import LinearNet
from tests.support.landscapes import FAMILIES, landscape_of

pytestmark = pytest.mark.usefixtures("float64")


def values(landscape, theta, name):
    point = Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(0))
    (found,) = measure([point], ask(name))
    return np.array([np.nan if m.value is None else m.value for m in found])


def of_logits(logits, y):
    """(n,) margins, row by row."""
    return np.array([row[c] - max(np.delete(row, c)) for row, c in zip(logits, y, strict=True)])


def logits_of(landscape, theta):
    """(n, K) logits, the ones that a coding holds at 0 included."""
    eta = np.asarray(landscape.model.predict(theta, landscape.x))
    family = landscape.model.family
    return eta if family is FAMILIES["categorical"] else np.concatenate([np.zeros((len(eta), 1)), eta], axis=1)


@pytest.mark.parametrize("family", ["categorical", "categorical-reference", "bernoulli"])
def test_margins_are_differences_of_logits_whatever_the_coding(family):
    landscape, theta = landscape_of(FAMILIES[family])
    expected = of_logits(logits_of(landscape, theta), landscape.y)
    assert expected.min() < 0 < expected.max()  # rows on both sides
    np.testing.assert_allclose(margins(landscape, theta), expected, rtol=1e-10)
    np.testing.assert_allclose(values(landscape, theta, "margin"), np.quantile(expected, QUANTILES), rtol=1e-10)
    assert class_count(landscape) == (2 if family == "bernoulli" else 3)


def test_one_logit_of_two_classes_has_the_margins_of_its_sign():
    model = build(FAMILIES["bernoulli"], LinearNet, 1, 1)
    landscape = Landscape(model, jnp.asarray([[2.0], [2.0], [-300.0]]), jnp.asarray([1, 0, 0]))
    np.testing.assert_allclose(margins(landscape, jnp.asarray([1.0, 0.5])), [2.5, -2.5, 299.5])


def test_a_tie_has_no_margin_and_counts_as_an_error():
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=())
    np.testing.assert_array_equal(margins(landscape, jnp.zeros_like(theta)), 0.0)
    assert training_error(landscape, jnp.zeros_like(theta)) == 1.0


def test_the_error_is_the_share_of_rows_where_another_class_is_likelier():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    wrong = np.argmax(logits_of(landscape, theta), axis=1) != np.asarray(landscape.y)
    assert 0 < wrong.mean() < 1
    np.testing.assert_allclose(training_error(landscape, theta), wrong.mean())
    assert training_error(landscape, theta * 1e200) == 1.0  # the logits overflow


def test_the_normalised_margin_divides_by_spectral_norms_and_the_size_of_the_inputs():
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=(6, 5))
    size = np.linalg.norm(landscape.x) / np.sqrt(len(landscape.x))
    product = np.prod([np.linalg.svd(w)[1][0] for w in weight_matrices(landscape.model, theta).values()])
    expected = np.quantile(of_logits(logits_of(landscape, theta), landscape.y), QUANTILES) / (size * product)
    np.testing.assert_allclose(values(landscape, theta, "normalised_margin"), expected, rtol=1e-10)


def test_the_inverse_margin_is_of_the_tenth_percentile_where_that_is_positive():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    assert np.isnan(values(landscape, theta, "inverse_margin"))  # more than a tenth is misclassified
    fitted = Landscape(landscape.model, landscape.x, jnp.argmax(landscape.model.predict(theta, landscape.x), axis=1))
    tenth = np.quantile(of_logits(logits_of(fitted, theta), fitted.y), 0.1)
    np.testing.assert_allclose(values(fitted, theta, "inverse_margin"), 1 / tenth**2, rtol=1e-10)


@pytest.mark.parametrize("alpha", [1e-4, 1e4])
def test_rescaling_a_layer_moves_no_margin(alpha):
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=(6, 5))
    landscape = Landscape(landscape.model, landscape.x, jnp.argmax(landscape.model.predict(theta, landscape.x), axis=1))
    for layer in hidden_layers(landscape.model):
        moved = rescale(theta, layer, alpha)
        for definition in DEFINITIONS:
            assert definition.invariance == "rescaling"
            old, new = (values(landscape, t, definition.name) for t in (theta, moved))
            np.testing.assert_allclose(new, old, rtol=1e-8)


@pytest.mark.parametrize("name", [d.name for d in DEFINITIONS])
def test_margins_need_classes(name):
    landscape, theta = landscape_of(FAMILIES["poisson"])
    point = Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(0))
    ((row,),) = measure([point], ask(name))
    assert row.status == "not_applicable" and row.reason is not None and "poisson" in row.reason
    with pytest.raises(NotApplicableError, match="classes"):
        margins(landscape, theta)
