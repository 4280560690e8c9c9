"""The best of independent starts: when it is believed, when the search ends, and how it would vary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.families.restarts import End, best_of, spread


def searched(values, converged=None, rounding=0.0):
    """`best_of` over searches that end at these values, each after one evaluation."""
    ends = jnp.asarray(values, jnp.float32)
    sound = jnp.ones(len(values), bool) if converged is None else jnp.asarray(converged)
    return jax.jit(
        lambda: best_of(lambda i: End(ends[i], sound[i], jnp.asarray(1)), len(values), jnp.asarray(rounding))
    )()


def test_a_value_that_every_start_finds_is_settled_soon():
    found = searched([2.0] * 50)
    assert (float(found.value), float(found.error), int(found.n)) == (2.0, 0.0, 7)  # 2 / (7 * 6) <= 0.05


def test_the_more_different_ends_the_longer_the_search():
    found = searched([1.0, 2.0, 3.0] * 20)
    assert float(found.value) == 3.0
    assert int(found.n) == 16  # 12 / (16 * 15) <= 0.05


@pytest.mark.parametrize(
    ("values", "converged"),
    [
        ([3.0, *[1.0] * 9], None),
        (np.arange(10.0), None),
        ([1.0] * 3 + [jnp.nan] + [1.0] * 6, None),
        ([2.0, 2.0, 3.0, *[1.0] * 7], [True, True, False, *[True] * 7]),
        ([1.0] * 10, [False] * 10),
        ([1.0] * 10, [True] + [False] * 9),
    ],
    ids=["once", "all-different", "not-a-number", "higher-unconverged", "none-converged", "one-converged"],
)
def test_what_was_not_found_again_is_not_known(values, converged):
    assert np.isnan(searched(values, converged).value)


def test_ends_within_rounding_are_one():
    assert float(searched([0.0, 1e-9] * 5, rounding=1e-8).value) == pytest.approx(1e-9)
    assert np.isnan(searched([1e-9] + [0.0] * 9, rounding=1e-10).value)


def test_the_spread_is_that_of_resampled_searches_of_half_the_length():
    rng = np.random.default_rng(0)
    values = np.round(rng.exponential(size=15), 1)
    best = np.max(rng.choice(values, size=(200_000, 8)), axis=1)
    found = spread(jnp.asarray([*values, 9.0, -9.0], jnp.float32), jnp.asarray(15))
    assert float(found) == pytest.approx(np.std(best), rel=0.01)
