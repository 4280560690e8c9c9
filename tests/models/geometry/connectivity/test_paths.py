"""Barriers of losses where they are known, and of nets that differ by a permutation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from models.geometry.connectivity import paths
from models.geometry.connectivity.paths import Paths, bezier, bezier_barrier, bezier_control, connect, linear_barrier
from models.geometry.connectivity.symmetries import hidden_layers, permute
from models.geometry.landscape import Landscape
from tests.support.landscapes import FAMILIES, landscape_of

KEY = jax.random.key(0)


pytestmark = pytest.mark.usefixtures("float64")


def vector(*entries):
    return jnp.asarray(entries, jnp.float64)


def wells(w):
    """Two minima, at (-1, 0) and (1, 0), and a wall of height 1 between them that reaches everywhere."""
    return jnp.square(jnp.square(w[0]) - 1) + jnp.square(w[1])


def ring(w):
    """A circle of minima about a hill of height 1."""
    return jnp.square(w @ w - 1)


def ends():
    return vector(-1, 0), vector(1, 0)


def counted(loss):
    """The loss, and a list that grows with each evaluation."""
    calls = []

    def counting(w):
        jax.debug.callback(lambda: calls.append(1))
        return loss(w)

    return counting, calls


# --- the line ---------------------------------------------------------------------------------------------------------


def test_a_double_wells_barrier_is_its_wall():
    found = linear_barrier(wells, *ends(), 25)
    assert found.value == pytest.approx(1.0)
    assert found.maximum == pytest.approx(1.0)
    assert found.at == pytest.approx(0.5)
    t = np.linspace(0, 1, 25)
    np.testing.assert_allclose(found.losses, ((2 * t - 1) ** 2 - 1) ** 2, atol=1e-12)


def test_the_barrier_is_over_the_chord_and_the_maximum_is_not():
    """L = sin(pi t) + 3 t: 1 over its chord at 1/2; largest where cos(pi t) = -3 / pi."""
    found = linear_barrier(lambda w: jnp.sin(jnp.pi * w[0]) + 3 * w[0], vector(0), vector(1), 25)
    assert found.value == pytest.approx(1.0)
    assert found.at == pytest.approx(0.5)
    top = np.arccos(-3 / np.pi) / np.pi
    assert found.maximum == pytest.approx(np.sin(np.pi * top) + 3 * top, abs=1e-3)


@pytest.mark.parametrize("points", [4, 10, 20])
def test_a_peak_between_the_grids_points_is_found_by_the_finer_grid(points):
    """L = sin(pi t^2) has its peak of 1 at sqrt(1/2)."""
    found = linear_barrier(lambda w: jnp.sin(jnp.pi * w[0] ** 2), vector(0), vector(1), points)
    spacing = 2 / (points - 1) / (paths.FINER - 1)
    assert abs(found.at - np.sqrt(0.5)) <= spacing / 2 + 1e-12
    # The curvature at the peak is 2 pi^2.
    assert 1 - np.pi**2 * (spacing / 2) ** 2 - 1e-9 <= found.value <= 1
    assert found.value > np.max(found.losses)


def test_a_convex_loss_has_no_barrier_and_it_is_never_negative():
    found = linear_barrier(lambda w: w @ w, vector(-1, 2), vector(3, 1), 25)
    assert found.value == 0.0
    assert found.at in (0.0, 1.0)
    assert found.maximum == 10.0


def test_turning_the_path_round_turns_the_barrier_round():
    a, b = vector(-1, 0.3), vector(1.2, 0)
    forth, back = linear_barrier(wells, a, b, 25), linear_barrier(wells, b, a, 25)
    assert forth.value == pytest.approx(back.value)
    assert forth.at == pytest.approx(1 - back.at)
    np.testing.assert_allclose(forth.losses, back.losses[::-1])


def test_two_equal_vectors_have_no_barrier():
    a = vector(0.3, 0.2)
    assert linear_barrier(wells, a, a, 5).value == pytest.approx(0.0, abs=1e-15)
    control = bezier_control(wells, a, a, KEY, 20, 0.05)
    np.testing.assert_array_equal(control, a)


def test_evaluations_are_counted():
    loss, calls = counted(wells)
    found = jax.jit(lambda a, b: linear_barrier(loss, a, b, 9))(*ends())
    jax.effects_barrier()
    assert found.n_products == len(calls) == 9 + paths.FINER


# --- the curve --------------------------------------------------------------------------------------------------------


def test_a_curve_is_the_line_where_its_control_point_is_half_way():
    a, b = vector(1, 2), vector(3, -1)
    for t in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(bezier(a, (a + b) / 2, b, jnp.asarray(t)), (1 - t) * a + t * b, rtol=1e-15)
    control = vector(5, 5)
    np.testing.assert_array_equal(bezier(a, control, b, jnp.asarray(0.0)), a)
    np.testing.assert_array_equal(bezier(a, control, b, jnp.asarray(1.0)), b)
    np.testing.assert_allclose(bezier(a, control, b, jnp.asarray(0.5)), (a + 2 * control + b) / 4)


def test_a_curve_goes_round_a_hill_that_the_line_climbs():
    """The line is a saddle of the search, which leaves it to either side. No parabola is a circle: some rise stays."""
    a, b = ends()
    assert linear_barrier(ring, a, b, 25).value == pytest.approx(1.0)

    @jax.jit
    def connected(key):
        control = bezier_control(ring, a, b, key, 300, 0.05)
        return control, bezier_barrier(ring, a, control, b, 25).value

    t, heights = np.linspace(0, 1, 1001), np.linspace(1, 3, 2001)
    x, y = 2 * t - 1, 2 * t * (1 - t) * heights[:, None]
    over = np.square(x**2 + y**2 - 1)
    best = np.argmin(np.mean(over, axis=1))
    sides = set()
    for seed in range(5):
        control, barrier = connected(jax.random.key(seed))
        np.testing.assert_allclose(np.abs(control), [0, heights[best]], atol=3e-3)
        assert barrier == pytest.approx(np.max(over[best]), abs=1e-3)
        sides.add(float(np.sign(control[1])))
    assert sides == {-1.0, 1.0}
    assert np.max(over[best]) < 0.05


def test_no_curve_gets_round_a_wall():
    a, b = ends()
    control = bezier_control(wells, a, b, KEY, 300, 0.05)
    assert bezier_barrier(wells, a, control, b, 25).value >= 1 - 1e-3


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_the_control_point_minimises_the_mean_loss_over_t(scale):
    """On (w - c)' H (w - c) the least mean over t has (2 / 15) control = c / 3 - (a + b) / 10, whatever the scale."""
    a, b, c = (scale * vector(*v) for v in ((-1, 0, 2), (1, 3, 0), (0.5, 1.0, 2.5)))
    h = jnp.diag(vector(1.0, 2.0, 0.5))
    best = (c / 3 - (a + b) / 10) * 15 / 2
    found = bezier_control(lambda w: (w - c) @ h @ (w - c), a, b, KEY, 2000, 0.05)
    np.testing.assert_allclose(found, best, atol=0.02 * scale)


def test_the_key_decides_all_chance():
    a, b = ends()
    first, again, other = (bezier_control(ring, a, b, jax.random.key(seed), 30, 0.05) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not jnp.array_equal(first, other)


# --- nets -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net():
    """A net that is sure of its own labels, and the same net with its units in another order."""
    with jax.enable_x64(True):
        drawn, theta = landscape_of(FAMILIES["categorical"], n=60, d=4, widths=(6, 5), seed=4)
        theta = 5 * theta
        landscape = Landscape(drawn.model, drawn.x, jnp.argmax(drawn.model.predict(theta, drawn.x), axis=1))
        other = theta
        for i, layer in enumerate(hidden_layers(landscape.model)):
            other = permute(other, layer, np.random.default_rng(i).permutation(len(layer.incoming)))
        return landscape, theta, other


def test_aligning_a_permuted_net_takes_its_barrier_away(net):
    landscape, a, b = net
    linear, aligned, curve = connect(landscape, a, b, KEY, Paths(bezier_steps=20))
    assert [found.method for found in (linear, aligned, curve)] == ["linear", "aligned", "bezier"]
    assert {found.status for found in (linear, aligned, curve)} == {"converged"}
    assert {found.reason for found in (linear, aligned, curve)} == {None}
    assert linear.barrier > 0.5
    for found in (aligned, curve):
        assert found.barrier == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_allclose(found.losses, landscape.loss(a), rtol=1e-9)
    assert (linear.n_products, curve.n_products) == (25 + paths.FINER, 25 + paths.FINER + 20)


def test_the_line_meets_its_slow_twin(net):
    landscape, a, b = net
    linear, _, _ = connect(landscape, a, b, KEY, Paths(points=7, bezier_steps=1))
    losses = [float(landscape.loss((1 - t) * a + t * b)) for t in np.linspace(0, 1, 7)]
    np.testing.assert_allclose(linear.losses, losses, rtol=1e-12)
    assert linear.losses.dtype == np.float64
    assert linear.maximum == pytest.approx(float(landscape.loss((1 - linear.at) * a + linear.at * b)))
    chord = (1 - linear.at) * losses[0] + linear.at * losses[-1]
    assert linear.barrier == pytest.approx(linear.maximum - chord)


def test_a_curve_lowers_the_barrier_between_unrelated_nets(net):
    landscape, a, _ = net
    b = jax.random.normal(KEY, a.shape)

    def down(theta, _):
        return theta - 0.2 * jax.grad(landscape.loss)(theta), None

    b, _ = jax.jit(lambda t: jax.lax.scan(down, t, length=1000))(b)
    linear, aligned, curve = connect(landscape, a, b, KEY, Paths())
    assert linear.barrier > 0.1
    assert curve.barrier < 0.5 * aligned.barrier
    np.testing.assert_allclose([curve.losses[0], curve.losses[-1]], [landscape.loss(a), landscape.loss(b)])


def test_without_steps_there_is_no_curve(net):
    landscape, a, b = net
    assert [found.method for found in connect(landscape, a, b, KEY, Paths(bezier_steps=0))] == ["linear", "aligned"]


def test_a_linear_model_has_no_units_to_align_and_no_barrier():
    landscape, a = landscape_of(FAMILIES["categorical"], widths=())
    linear, aligned, curve = connect(landscape, a, -a, KEY, Paths(bezier_steps=10))
    assert (linear.barrier, linear.status) == (0.0, "converged")
    assert (aligned.barrier, aligned.status, aligned.losses.size) == (None, "not_applicable", 0)
    assert "no hidden units" in str(aligned.reason)
    assert curve.status == "converged"


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_said(broken):
    landscape, a = landscape_of(FAMILIES["gaussian"], widths=())
    for found in connect(landscape, a, a.at[0].set(broken), KEY, Paths(bezier_steps=3)):
        if found.method != "aligned":
            assert (found.barrier, found.maximum, found.at, found.status) == (None, None, None, "unconverged")
            assert found.reason == "the loss is not finite everywhere on the path"


def test_all_pairs_on_data_of_one_shape_share_their_programs(net):
    landscape, a, b = net
    settings = Paths(points=5, bezier_steps=2)
    sizes = []
    for i in range(3):
        rows = Landscape(landscape.model, landscape.x + i, landscape.y)
        connect(rows, a + i, b, jax.random.key(i), settings)
        sizes.append((paths._line._cache_size(), paths._curve._cache_size()))
    assert sizes[0] == sizes[1] == sizes[2]


def test_single_precision_stays_single(net):
    landscape, a, b = jax.tree.map(lambda v: v.astype(np.float32) if v.dtype == np.float64 else v, net)
    found = jax.eval_shape(lambda u, v: linear_barrier(landscape.loss, u, v, 5), a, b)
    assert {found.value.dtype, found.losses.dtype, found.at.dtype} == {np.dtype("float32")}
    linear, aligned, curve = connect(landscape, a, b, KEY, Paths(bezier_steps=20))
    assert linear.barrier > 0.5
    assert max(aligned.barrier, curve.barrier) < 1e-5


@pytest.mark.parametrize("setting", ["points", "bezier_steps"])
def test_settings_without_end_are_refused(setting):
    with pytest.raises(ValidationError, match="less than or equal to"):
        Paths(**{setting: 10**12})
