"""Which measures move where the function does not."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.symmetries import hidden_layers, rescale
from models.geometry.definition import Definition, Estimate, Point, Profile
from models.geometry.landscape import Landscape
from models.measuring.audit import ALPHAS, audit
from models.measuring.catalogue import CATALOGUE, ask
from tests.support.landscapes import FAMILIES, landscape_of

KEY = jax.random.key(3)
NUMBERS = itertools.count()  # compiled programs are found again by the measure's name

# Tighter than the defaults, so that what is left of an iteration's error is not taken for a move. A box has many
# maxima: the best is found again from other starts only if there are enough.
SETTINGS = {
    "hessian_top_eigenvalue": {"tolerance": 1e-6},
    "sharpness_linf": {"restarts": 100},
    "adaptive_sharpness_linf": {"restarts": 100},
    "keskar_sharpness": {"restarts": 100},
    "learning_coefficient": {"gamma": 10.0, "warmup": 300, "draws": 500, "max_leapfrog": 16},
    "learning_coefficient_isotropic": {"gamma": 10.0, "warmup": 300, "draws": 500, "max_leapfrog": 16},
    "wbic": {"warmup": 300, "draws": 500, "max_leapfrog": 16},
}
STILL = (
    "adaptive_sharpness_sam",
    "adaptive_sharpness_l2",
    "adaptive_sharpness_linf",
    "adaptive_sharpness_gaussian",
    "fisher_rao_norm",
    "path_norm",
    "learning_coefficient",
)
MOVING = ("hessian_trace", "hessian_top_eigenvalue", "pac_bayes_sigma", "l2_norm")


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def trained():
    """A small ReLU net near a minimum, where it classifies most rows rightly, so that its margins have a sign."""
    with jax.enable_x64(True):
        drawn, initial = landscape_of(FAMILIES["categorical"], n=40, widths=(6, 5), seed=2)
        landscape = Landscape(drawn.model, drawn.x, jnp.argmax(drawn.x @ jnp.eye(3) + drawn.x[:, ::-1] ** 2, axis=1))

        def down(theta, _):
            return theta - 0.1 * jax.grad(landscape.loss)(theta), None

        theta, _ = jax.jit(lambda t: jax.lax.scan(down, t, length=1000))(initial)
        return Point(landscape, theta, np.full(theta.size, 1.0), jax.random.key(1), initial)


@pytest.fixture(scope="module")
def table(trained):
    """`table(measure)`: its audit, done once."""
    done = {}

    def rows(name):
        if name not in done:
            done[name] = audit(trained, [ask(name, **SETTINGS.get(name, {}))], key=KEY)
        return done[name]

    return rows


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_measure_moves_as_its_definition_says(table, name):
    rows = table(name)
    assert {row.layer for row in rows} == {"layers.0", "layers.1", None}
    assert {row.alpha for row in rows} == {*ALPHAS, None}
    assert [row for row in rows if row.agrees is False] == []
    for layer in ("layers.0", "layers.1", None):
        assert any(row.status == "compared" for row in rows if row.layer == layer), rows


@pytest.mark.parametrize("name", STILL)
def test_what_depends_on_the_function_alone_stays(table, name):
    assert [row for row in table(name) if row.moved is not False] == []


@pytest.mark.parametrize("name", MOVING)
def test_what_depends_on_the_parametrisation_moves_under_every_rescaling(table, name):
    for row in table(name):
        assert row.moved is (row.alpha is not None), row


def test_before_and_after_are_the_measures_at_theta_and_at_its_transform(table, trained):
    hidden = hidden_layers(trained.landscape.model)[1]
    for row in table("l2_norm"):
        assert row.before == pytest.approx(float(jnp.linalg.norm(trained.theta)))
        if row.transformation == "rescale layers.1 by 0.01":
            assert row.after == pytest.approx(float(jnp.linalg.norm(rescale(trained.theta, hidden, 0.01))))
            break
    else:
        pytest.fail("the rescaling is not in the table")


def test_the_initial_parameters_stay_where_they_are(table, trained):
    hidden = hidden_layers(trained.landscape.model)[0]
    (row,) = (r for r in table("distance_from_initialisation") if r.transformation == "rescale layers.0 by 100")
    assert row.after == pytest.approx(float(jnp.linalg.norm(rescale(trained.theta, hidden, 100.0) - trained.initial)))


# --- the rules, on measures made for the purpose ----------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """`made(compute, invariance)`: an ask for a new measure, named so that its program is its own."""

    def make(compute, invariance, components=("",)):
        name = f"made_{next(NUMBERS)}"
        definition = Definition(
            name, "norm", "", compute, invariance, "neither", components=lambda point, settings: components
        )
        monkeypatch.setitem(CATALOGUE, name, definition)
        return ask(name)

    return make


def squares(point, settings):
    return Estimate(jnp.sum(point.theta**2), jnp.zeros(()), 0)


def agreed(rows):
    found = defaultdict(set)
    for row in rows:
        found[row.alpha is None].add(row.agrees)
    return found[False], found[True]


def test_a_wrong_declaration_is_found_out(trained, made):
    def loss(point, settings):
        return Estimate(point.landscape.loss(point.theta), jnp.zeros(()), 1)

    for compute, truth in ((squares, "permutation"), (loss, "rescaling")):
        for declared in ("rescaling", "permutation", "none"):
            rescaled, permuted = agreed(audit(trained, [made(compute, declared)], key=KEY))
            assert rescaled == {(declared == "rescaling") == (truth == "rescaling")}
            assert permuted == {declared != "none"}


def test_a_measure_that_some_rescalings_leave_alone_agrees_with_being_declared_movable(trained, made):
    """The last layer's weights move with the last hidden layer only."""

    def last(point, settings):
        return Estimate(jnp.sum(point.theta[-18:] ** 2), jnp.zeros(()), 0)

    rows = audit(trained, [made(last, "permutation")], key=KEY)
    assert {row.moved for row in rows if row.layer == "layers.0"} == {False}
    assert {row.moved for row in rows if row.layer == "layers.1"} == {True}
    assert agreed(rows) == ({True}, {True})


@pytest.mark.parametrize(("error", "moved"), [(0.1, False), (0.01, True)])
def test_random_estimates_move_by_more_than_their_standard_errors(trained, made, error, moved):
    """The value differs by exactly 0.3 between theta and any transform, in whose company the error is the same."""
    at = jnp.sum(trained.theta)

    def compute(point, settings):
        return Estimate(jnp.where(jnp.sum(point.theta) == at, 1.0, 1.3), jnp.asarray(error), 0)

    rows = [row for row in audit(trained, [made(compute, "rescaling")], key=KEY) if row.alpha]
    assert {row.moved for row in rows} == {moved}


def test_every_component_has_its_rows_and_missing_values_are_not_judged(trained, made):
    def compute(point, settings):
        values = jnp.stack([jnp.sum(point.theta**2), jnp.nan])
        return Estimate(values, jnp.zeros(2), 0)

    rows = audit(trained, [made(compute, "permutation", ("good", "bad"))], alphas=[10.0], key=KEY)
    assert [row.component for row in rows] == ["good", "bad"] * 3
    bad = rows[1]
    assert (bad.before, bad.after, bad.moved, bad.agrees) == (None, None, None, None)
    assert (bad.status, bad.reason) == ("unconverged", "did not converge at theta")


def test_profiles_are_compared_by_their_columns(trained, made):
    def shifted(point, settings):
        x = jnp.linspace(0.0, 1.0, 5) + (jnp.max(jnp.abs(point.theta)) > 50.0)
        return Profile(x, jnp.ones(5), jnp.zeros(5), 0)

    rows = audit(trained, [made(shifted, "permutation")], key=KEY)
    assert {row.moved for row in rows if row.alpha == 1e4} == {True}
    assert {row.moved for row in rows if row.alpha is None} == {False}
    assert {(row.before, row.after, row.status) for row in rows} == {(None, None, "compared")}


def test_a_measure_without_meaning_here_says_why(trained):
    without = trained._replace(initial=None)
    rows = audit(without, [ask("distance_from_initialisation")], alphas=[2.0], key=KEY)
    assert {row.status for row in rows} == {"not_applicable"}
    assert all(row.reason for row in rows)


# --- where the audit applies ------------------------------------------------------------------------------------------


def point_of(**options):
    landscape, theta = landscape_of(FAMILIES["gaussian"], **options)
    return Point(landscape, theta, np.ones(theta.size), jax.random.key(0))


def test_other_activations_are_only_permuted():
    rows = audit(point_of(activation=jnp.tanh), [ask("hessian_trace"), ask("l2_norm")], key=KEY)
    assert [(row.measure, row.transformation, row.status) for row in rows] == [
        ("hessian_trace", "permute units", "compared"),
        ("hessian_trace", "rescale", "not_applicable"),
        ("l2_norm", "permute units", "compared"),
        ("l2_norm", "rescale", "not_applicable"),
    ]
    assert "ReLU" in str(rows[1].reason)
    assert [row.moved for row in rows] == [False, None] * 2


def test_linear_models_have_neither_symmetry_and_that_is_said():
    rows = audit(point_of(widths=()), [ask("l2_norm")], key=KEY)
    assert [(row.transformation, row.status, row.moved) for row in rows] == [
        ("rescale", "not_applicable", None),
        ("permute units", "not_applicable", None),
    ]
    assert all("no hidden units" in str(row.reason) for row in rows)


def test_single_precision_points_are_audited_in_double(trained):
    single = jax.tree.map(lambda a: a.astype(np.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, trained)
    rows = audit(single, [ask("path_norm"), ask("hessian_trace")], key=KEY)
    assert all(row.agrees for row in rows)
    assert rows[0].before != float(np.float32(rows[0].before))


def test_without_double_precision_moderate_factors_still_tell(trained):
    with jax.enable_x64(False):
        landscape, theta = landscape_of(FAMILIES["gaussian"])
        point = Point(landscape, theta, np.ones(theta.size), jax.random.key(0))
        rows = audit(point, [ask("path_norm"), ask("l2_norm")], alphas=[0.1, 10.0], key=KEY)
    assert all(row.agrees for row in rows)


def test_the_key_of_the_permutation_is_all_its_chance(trained):
    first, again = (audit(trained, [ask("l2_norm")], alphas=[2.0], key=KEY) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.inf, np.nan])
def test_factors_that_are_not_positive_are_refused(trained, alpha):
    with pytest.raises(ValueError, match="expected positive factors"):
        audit(trained, [], alphas=[alpha], key=KEY)
