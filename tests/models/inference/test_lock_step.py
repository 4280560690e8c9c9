"""Members that take turns and members in lock step are the same runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.inference.lock_step import WIDTH, Member, train
from models.inference.optimise import Data, Rates, trainer
from models.joint import likelihoods, priors
from models.joint.model import build
from models.predictors.linear import LinearNet

EPOCHS = 30
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -1.0, 0.5], np.float32) > 0).astype(np.int32)
MODEL = build(likelihoods.bernoulli(), LinearNet, 3, 1)
DATA = Data(
    *(jnp.asarray(a) for a in (X[:30], Y[:30], X[30:], Y[30:])), jnp.asarray(priors.flat_scales(MODEL), jnp.float32)
)
PROGRAM = trainer(MODEL, optimiser="adam", schedule="constant", epochs=EPOCHS, batch_size=8, dropout=False)


def member(i, **rates):
    rates = Rates(**({"learning_rate": 0.01 * (i + 1)} | rates))
    return Member(MODEL.init(jax.random.key(i)), jax.random.key(100 + i), rates, DATA)


def run(members, on_epoch=lambda i, epoch: None):
    return train(PROGRAM, members, EPOCHS, on_epoch)


@pytest.fixture
def lock_step(monkeypatch):
    """The way of an accelerator, on this CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def test_lock_step_ends_where_turns_end(monkeypatch):
    members = [member(i) for i in range(WIDTH + 1)]
    turns = run(members)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for a, b in zip(turns, run(members), strict=True):
        np.testing.assert_allclose(a.theta, b.theta, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(a.curves, b.curves, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("lock_step")
@pytest.mark.parametrize("n", [1, 3, WIDTH + 1])
def test_bits_in_lock_step_do_not_depend_on_the_company(n):
    members = [member(i) for i in range(n)]
    alone = run(members[-1:])[0]
    together = run(members)
    assert len(together) == n
    np.testing.assert_array_equal(together[-1].theta, alone.theta)
    np.testing.assert_array_equal(together[-1].curves, alone.curves)


@pytest.mark.usefixtures("lock_step")
def test_members_in_lock_step_stop_by_themselves():
    wild, calm, patient = run([member(0, learning_rate=1e38), member(1), member(2, patience=2, learning_rate=1e-12)])
    assert bool(wild.diverged)
    assert not bool(calm.diverged)
    assert (int(calm.epochs), int(patient.epochs)) == (EPOCHS, 3)
    np.testing.assert_array_equal(calm.theta, run([member(1)])[0].theta)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_each_members_epochs_are_reported_in_order_to_the_end(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    said = {0: [], 1: []}
    run([member(0), member(1)], lambda i, epoch: said[i].append(epoch))
    for epochs in said.values():
        assert epochs == sorted(set(epochs))
        assert epochs[-1] == EPOCHS
        assert 10 <= len(epochs) <= 20
