"""Training against a plain NumPy loop and scikit-learn; bits that do not depend on company or chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from models.inference import lbfgs
from models.inference.lock_step import Member, train
from models.inference.optimise import CURVES, Data, Rates, trainer
from models.joint import likelihoods, priors
from models.joint.model import build
from models.predictors.linear import LinearNet
from models.predictors.mlp import ACTIVATIONS, MLPNet

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype(np.float32)
Y = (X[:, 0] + 0.5 * RNG.normal(size=90) > 0).astype(np.int32) + (X[:, 1] > 1)


def mlp(widths=(8,)):
    return build(likelihoods.categorical(3), MLPNet, 4, 3, widths, ACTIVATIONS["relu"])


def data_for(model, scales=None):
    scales = priors.flat_scales(model) if scales is None else scales
    return Data(
        jnp.asarray(X[:60]),
        jnp.asarray(Y[:60]),
        jnp.asarray(X[60:]),
        jnp.asarray(Y[60:]),
        jnp.asarray(scales, jnp.float32),
    )


def program(model, optimiser="sgd", schedule="constant", epochs=10, batch_size=16, dropout=False):
    return trainer(model, optimiser=optimiser, schedule=schedule, epochs=epochs, batch_size=batch_size, dropout=dropout)


def member(model, rates, seed=0):
    return Member(model.init(jax.random.key(seed)), jax.random.key(seed + 100), rates, data_for(model))


def run(model, rates, seed=0, **settings):
    (fit,) = train(
        program(model, **settings), [member(model, rates, seed)], settings.get("epochs", 10), lambda i, e: None
    )
    return fit


@pytest.mark.parametrize(
    ("optimiser", "chain"),
    [
        ("sgd", lambda lr: optax.sgd(lr, momentum=0.9)),
        ("adam", optax.adam),
        ("adamw", lambda lr: optax.adamw(lr, weight_decay=0.01)),
    ],
)
def test_full_batch_steps_are_optaxs_own(optimiser, chain):
    """The plain twin: optax's finished optimiser in a Python loop over full-batch gradients."""
    model = mlp()
    fit = run(model, Rates(0.05, weight_decay=0.01), optimiser=optimiser, batch_size=60)
    theta, solver, data = model.init(jax.random.key(0)), chain(0.05), data_for(model)
    state = solver.init(theta)

    def loss(t):
        penalty = 0.0 if optimiser == "adamw" else 0.005 * jnp.sum(t**2)
        return model.loss(t, data.x, data.y) + penalty

    for _ in range(10):
        updates, state = solver.update(jax.grad(loss)(theta), state, theta)
        theta = optax.apply_updates(theta, updates)
    np.testing.assert_allclose(fit.theta, theta, rtol=2e-4, atol=2e-5)


def test_cosine_schedule_warms_up_and_falls_to_zero():
    fit = run(mlp(), Rates(0.1, warmup=0.3), schedule="cosine", epochs=10, batch_size=60)
    steps = np.arange(10)
    expected = np.where(steps < 3, (steps + 1) / 3, 0.5 * (1 + np.cos(np.pi * (steps - 3) / 7)))
    np.testing.assert_allclose(fit.curves[:, CURVES.index("learning_rate")], 0.1 * expected, rtol=1e-5)


def test_plateau_divides_by_ten_when_the_validation_loss_stalls():
    fit = run(mlp(), Rates(0.5, momentum=0.9, factor=0.1, plateau=3), schedule="plateau", epochs=60)
    rates = np.asarray(fit.curves[:, CURVES.index("learning_rate")])
    losses = np.asarray(fit.curves[:, CURVES.index("validation_loss")])
    best, stale, factor, expected = np.inf, 0, 1.0, []
    for loss in losses:
        expected.append(0.5 * factor)
        stale = 0 if loss < best else stale + 1
        best = min(best, loss)
        if stale >= 3:
            factor, stale = factor * 0.1, 0
    np.testing.assert_allclose(rates, expected, rtol=1e-4)
    assert rates[-1] < 0.06


def test_patience_stops_and_keeps_the_best_epoch():
    model = mlp((64, 64))
    fit = run(model, Rates(0.3, patience=5), epochs=200)
    epochs = int(fit.epochs)
    losses = np.asarray(fit.curves[:epochs, CURVES.index("validation_loss")])
    assert epochs < 200
    assert epochs - 1 - losses.argmin() == 5
    assert np.isnan(np.asarray(fit.curves[epochs:])).all()
    data = data_for(model)
    np.testing.assert_allclose(model.loss(fit.theta, data.validation_x, data.validation_y), losses.min(), rtol=1e-5)


def test_a_run_that_diverges_says_so_and_leaves_the_others_alone():
    model = mlp()
    calm = member(model, Rates(0.05), seed=1)
    alone = train(program(model), [calm], 10, lambda i, e: None)[0]
    wild, beside = train(program(model), [member(model, Rates(1e30)), calm], 10, lambda i, e: None)
    assert bool(wild.diverged)
    assert not bool(beside.diverged)
    np.testing.assert_array_equal(alone.theta, beside.theta)


@pytest.mark.parametrize("width", [1, 3, 16])
def test_bits_do_not_depend_on_the_pack(width):
    model = mlp()
    settings = {"optimiser": "adam", "dropout": True}
    rates = [Rates(0.01 * (i + 1), dropout=0.1 + 0.02 * i, weight_decay=1e-3 * i) for i in range(width)]
    together = train(
        program(model, **settings), [member(model, r, i) for i, r in enumerate(rates)], 10, lambda i, e: None
    )
    for i, fit in enumerate(together):
        alone = run(model, rates[i], i, **settings)
        np.testing.assert_array_equal(fit.theta, alone.theta)
        np.testing.assert_array_equal(fit.curves, alone.curves)


def test_bits_do_not_depend_on_where_the_epochs_are_cut():
    model = mlp()
    one, rates = program(model, "adam"), Rates(0.01)
    m = member(model, rates)
    whole = one.run(one.init(m.theta, rates), m.key, rates, m.data, 10)
    parts = one.init(m.theta, rates)
    for limit in (1, 4, 9, 10):
        parts = one.run(parts, m.key, rates, m.data, limit)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_runs_of_a_pack_share_one_compiled_program():
    model = mlp((5,))
    one = program(model)
    for i in range(4):
        train(one, [member(model, Rates(0.01 * (i + 1), weight_decay=0.1 * i), seed=i)], 10, lambda i, e: None)
    assert one.run._cache_size() == 1


def test_lbfgs_reaches_scikit_learns_logistic_regression():
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    c = 0.7
    twin = LogisticRegression(C=c, tol=1e-12, max_iter=10_000).fit(x, y)
    with jax.enable_x64(True):
        model = build(likelihoods.categorical(3), LinearNet, 4, 3)
        # scikit-learn minimises C * sum NLL + 0.5 |W|^2 with free intercepts: a N(0, C) prior on the weights alone.
        scales = np.where(model.is_bias, np.inf, np.sqrt(c))
        minimise = lbfgs.minimiser(model, max_steps=2000)
        best = minimise(
            model.init(jax.random.key(0)), jnp.asarray(x), jnp.asarray(y), jnp.asarray(scales), jnp.asarray(0.0)
        )
    weights = np.asarray(best.theta[:12]).reshape(3, 4)
    intercept = np.asarray(best.theta[12:])
    assert bool(best.converged)
    np.testing.assert_allclose(weights, twin.coef_, atol=1e-4)
    np.testing.assert_allclose(intercept - intercept.mean(), twin.intercept_ - twin.intercept_.mean(), atol=1e-4)


def test_clipping_shortens_long_gradients_and_leaves_short_ones_alone():
    model = mlp()
    free = run(model, Rates(0.05), optimiser="sgd", batch_size=60)
    np.testing.assert_array_equal(run(model, Rates(0.05, clip=1e6), optimiser="sgd", batch_size=60).theta, free.theta)
    start, data = model.init(jax.random.key(0)), data_for(model)
    clipped = run(model, Rates(0.05, momentum=0.0, clip=0.01), optimiser="sgd", batch_size=60, epochs=1)
    gradient = jax.grad(model.loss)(start, data.x, data.y)
    assert float(jnp.linalg.norm(gradient)) > 0.01
    np.testing.assert_allclose(
        start - clipped.theta, 0.05 * 0.01 * gradient / jnp.linalg.norm(gradient), rtol=1e-3, atol=1e-7
    )
