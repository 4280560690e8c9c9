"""Chunks, checkpoints and programs: nothing about how a run is cut may change a bit of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.inference import hmc, nuts, sampling
from models.inference.hmc import hamiltonian_kernel
from tests.support.targets import correlated, gaussian, keys

MEAN, COVARIANCE = correlated(3, 10.0, 0)
DATA = (jnp.asarray(MEAN, jnp.float32), jnp.asarray(np.linalg.inv(COVARIANCE), jnp.float32))
with jax.enable_x64(True):
    DATA_64 = (jnp.asarray(MEAN), jnp.asarray(np.linalg.inv(COVARIANCE)))
STARTS = np.zeros((3, 3), np.float32)
# Neither is a multiple of the chunks below.
LENGTHS = {"warmup": 30, "draws": 43}
SAMPLERS = {
    "nuts": functools.partial(nuts.sample, gaussian, max_tree_depth=5, **LENGTHS),
    "hmc": functools.partial(hmc.sample, gaussian, num_steps=7, **LENGTHS),
}


def same(a, b):
    assert a.stats.keys() == b.stats.keys()
    return np.array_equal(a.theta, b.theta) and all(np.array_equal(a.stats[k], b.stats[k]) for k in a.stats)


@pytest.fixture(params=SAMPLERS)
def sample(request):
    return SAMPLERS[request.param]


def test_the_chunk_length_changes_no_bit(sample):
    whole = sample(DATA, STARTS, keys(3), chunk=100)
    assert whole.theta.shape == (3, 43, 3)
    assert same(sample(DATA, STARTS, keys(3), chunk=7), whole)
    assert same(sample(DATA, STARTS, keys(3), chunk=25), whole)


def test_resuming_after_any_chunk_gives_the_undisturbed_bits(sample):
    checkpoints = []
    whole = sample(DATA, STARTS, keys(3), chunk=7, on_chunk=lambda *news: checkpoints.append(news[3]))
    assert len(checkpoints) == 11
    for checkpoint in checkpoints:
        # As after a trip through a file: copies, by name.
        carried = {name: np.array(array) for name, array in checkpoint.items()}
        assert same(sample(DATA, STARTS, keys(3), chunk=7, resume=carried), whole)


def test_a_stopped_run_goes_on_from_its_last_checkpoint(sample):
    last = {}

    def stop_in_the_third(done, total, facts, checkpoint):
        last.update(checkpoint)
        if done == 3 * 3 * 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(DATA, STARTS, keys(3), chunk=7, on_chunk=stop_in_the_third)
    seen = []
    resumed = sample(DATA, STARTS, keys(3), chunk=7, resume=last, on_chunk=lambda done, *_: seen.append(done))
    assert seen[0] == 3 * 4 * 7
    assert same(resumed, sample(DATA, STARTS, keys(3), chunk=7))


def test_a_chain_is_the_same_alone_and_among_others(sample):
    together = sample(DATA, STARTS, keys(3), chunk=25)
    for c in range(3):
        alone = sample(DATA, STARTS[c : c + 1], keys(3)[c : c + 1], chunk=25)
        assert np.array_equal(alone.theta[0], together.theta[c])


def test_progress_counts_all_iterations_and_tells_facts(sample):
    news = []
    result = sample(DATA, STARTS, keys(3), chunk=25, on_chunk=lambda *args: news.append(args))
    assert [done for done, *_ in news] == [75, 150, 219]
    assert {total for _, total, *_ in news} == {219}
    facts = news[-1][2]
    assert facts["divergences"] == result.stats["diverging"].sum()
    assert facts["acceptance_rate"] == pytest.approx(result.stats["acceptance_rate"][:, -23:].mean(), rel=1e-6)
    assert facts["n_steps"] == pytest.approx(result.stats["n_steps"][:, -23:].mean())
    assert news[0][3]["theta"].shape == (3, 0, 3)
    assert news[1][3]["theta"].shape == (3, 20, 3)


def test_chains_in_lock_step_are_the_same_chains_and_resume_too(sample):
    checkpoints = []
    with jax.enable_x64(True):
        arguments = (DATA_64, STARTS.astype(np.float64), keys(3))
        one_by_one = sample(*arguments, chunk=25)
        together = sample(*arguments, chunk=25, vectorise=True, on_chunk=lambda *news: checkpoints.append(news[3]))
        resumed = sample(*arguments, chunk=25, vectorise=True, resume=checkpoints[1])
    # Batched arithmetic rounds otherwise, in the sixteenth digit, and that grows along a chain.
    np.testing.assert_allclose(together.theta, one_by_one.theta, atol=1e-6)
    assert np.array_equal(together.stats["n_steps"], one_by_one.stats["n_steps"])
    assert same(resumed, together)


def test_one_program_serves_all_chains_chunks_and_data_of_equal_shape():
    traces = []

    def counted(theta, data):
        traces.append(1)
        return gaussian(theta, data)

    settings = {"max_tree_depth": 4, "chunk": 8, **LENGTHS}
    nuts.sample(counted, DATA, STARTS, keys(3), **settings)
    first = len(traces)
    other = (DATA[0] + 1.0, DATA[1] * 2.0)
    moved = nuts.sample(counted, other, STARTS + 1, keys(3, seed=1), **settings)
    nuts.sample(counted, other, STARTS[:1], keys(1), **settings)
    assert first <= 3
    assert len(traces) == first
    kernel = hamiltonian_kernel(counted, "NUTS", warmup=30, target_accept=0.8, max_tree_depth=4)
    init, advance = sampling.program(kernel, 8, False)
    assert (init._cache_size(), advance._cache_size()) == (1, 1)
    # The data were arguments: other data, other posterior.
    np.testing.assert_allclose(moved.theta.mean((0, 1)), MEAN + 1, atol=1.5)


def test_the_starts_decide_the_precision():
    with jax.enable_x64(True):
        result = SAMPLERS["nuts"](DATA_64, STARTS.astype(np.float64), keys(3))
    assert result.theta.dtype == np.float64
    assert result.stats["energy"].dtype == np.float64
    assert SAMPLERS["nuts"](DATA, STARTS, keys(3)).theta.dtype == np.float32
    with pytest.raises(ValueError, match="starts are float64, expected float32: cast them or set"):
        SAMPLERS["nuts"](DATA, STARTS.astype(np.float64), keys(3))


def test_numbers_of_starts_and_keys_must_agree():
    with pytest.raises(ValueError, match="3 starts and 2 keys"):
        SAMPLERS["nuts"](DATA, STARTS, keys(2))


def test_a_checkpoint_of_another_run_is_refused(sample):
    checkpoints = []
    sample(DATA, STARTS, keys(3), chunk=25, on_chunk=lambda *news: checkpoints.append(news[3]))
    with pytest.raises(ValueError, match="not of this run"):
        sample(DATA, STARTS[:2], keys(2), chunk=25, resume=checkpoints[1])
    with pytest.raises(ValueError, match="not of this run"):
        sample(DATA, STARTS, keys(3), chunk=25, resume={**checkpoints[1], "done": np.array(60)})
    with pytest.raises(ValueError, match="not of this run"):
        sample(DATA, STARTS, keys(3), chunk=25, resume={"done": np.array(25), "theta": np.zeros((3, 0, 3))})
