"""PyMC under our hands: the same bits twice, progress told, interrupts and failures passed on."""

import jax
import numpy as np
import pytest

from models.glm.formula import additive_model
from models.glm.sampling import SamplingError, sample
from models.spec.likelihoods import Poisson
from models.spec.priors import Flat
from tests.support.glm_problems import FAMILIES, learner, random_split, split_of


def run(family="bernoulli", seed=3, progress=lambda *_: None, *, only=None, resume=None, on_chain=None, **inference):
    spec = learner(FAMILIES[family][0], **inference)
    model = additive_model(spec, random_split(family))
    return sample(model, spec.inference, seed, progress, chains=only, resume=resume, on_chain=on_chain)


def test_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = run(), run(), run(seed=4)
    assert first.posterior.identical(again.posterior)
    assert first.stats.identical(again.stats)
    assert not np.any(first.posterior["slope"].values == other.posterior["slope"].values)
    assert not np.array_equal(first.posterior["slope"][0], first.posterior["slope"][1])


def test_statistics_carry_what_diagnostics_need():
    stats = run().stats
    assert {"energy", "diverging", "reached_max_treedepth", "tree_depth", "acceptance_rate"} <= set(stats)
    assert stats["energy"].shape == (2, 30)


def test_settings_reach_the_sampler():
    assert int(run(max_tree_depth=2).stats["tree_depth"].max()) <= 2
    assert int(run(max_tree_depth=10).stats["tree_depth"].max()) > 2
    assert run(target_accept=0.99).stats["step_size"].mean() < run(target_accept=0.5).stats["step_size"].mean()


def test_progress_rises_to_the_number_of_iterations_of_all_chains():
    told = []
    run(progress=lambda done, total, facts: told.append((done, total, facts["divergences"])))
    done, totals, divergences = zip(*told, strict=True)
    assert set(totals) == {160} and done[-1] == 160 and sorted(set(done)) == list(done)
    assert list(divergences) == sorted(divergences)


def test_divergences_after_warmup_are_counted():
    told = []
    drawn = run("poisson", target_accept=0.05, progress=lambda *a: told.append(a[2]["divergences"]))
    assert told[-1] == int(drawn.stats["diverging"].sum()) > 0


def test_double_precision_stays_here():
    assert not jax.config.jax_enable_x64
    seen = []
    run(progress=lambda *_: seen.append(jax.config.jax_enable_x64))
    assert all(seen) and not jax.config.jax_enable_x64


@pytest.mark.parametrize("at", [1, 159])
def test_an_interrupt_ends_the_sampling_in_the_first_chain_and_in_the_last(at, monkeypatch):
    monkeypatch.setattr("models.glm.watch._REPORT_EVERY", 0.0)
    told = []

    def interrupt(done, total, facts):
        told.append(done)
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(progress=interrupt)
    assert told[-1] == at


def test_a_density_that_is_nowhere_finite_is_a_sampling_error():
    x = np.full((20, 1), 1e6) * np.where(np.arange(20) % 2, 1, -1)[:, None]
    spec = learner(Poisson(), prior=Flat())
    model = additive_model(spec, split_of("count", x, np.full(20, 3)))
    with pytest.raises(SamplingError, match="PyMC"):
        sample(model, spec.inference, 0, lambda *_: None)


def test_a_chain_that_is_in_the_checkpoint_is_not_sampled_again():
    kept, told = [], []
    whole = run(chains=3, on_chain=kept.append)
    assert [each["chains"].tolist() for each in kept] == [[0], [0, 1]]
    resumed = run(chains=3, resume=kept[0], on_chain=lambda arrays: told.append(arrays["chains"].tolist()))
    assert told == [[0, 1]]
    assert resumed.posterior.identical(whole.posterior) and resumed.stats.identical(whole.stats)


def test_chosen_chains_are_those_of_the_whole_and_are_counted_alone():
    told = []
    whole, some = run(chains=3), run(chains=3, only=(0, 2), progress=lambda *news: told.append(news[:2]))
    assert some.checkpoint["chains"].tolist() == [0, 2]
    for found, expected in ((some.posterior, whole.posterior), (some.stats, whole.stats)):
        # PyMC numbers the chains that it is left with from 0.
        assert found.drop_vars("chain").identical(expected.isel(chain=[0, 2]).drop_vars("chain"))
    assert told[-1] == (160, 160)


@pytest.mark.parametrize("at", [1, 80, 81])
def test_an_interrupt_is_noticed_among_chains_that_are_passed_over(at, monkeypatch):
    monkeypatch.setattr("models.glm.watch._REPORT_EVERY", 0.0)

    def interrupt(done, total, facts):
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(chains=4, only=(0, 2), progress=interrupt)
