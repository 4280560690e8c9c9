"""States as named arrays and back."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.inference.state import CheckpointError, from_arrays, to_arrays


class Inner(NamedTuple):
    count: jax.Array
    nothing: None


class Outer(NamedTuple):
    theta: jax.Array
    inner: tuple[Inner, ...]


STATE = Outer(jnp.arange(3.0), (Inner(jnp.int32(4), None),))


def test_a_state_comes_back_from_its_arrays():
    arrays = to_arrays(STATE)
    assert sorted(arrays) == ["state/inner.0.count", "state/theta"]
    back = from_arrays({**arrays, "seconds": np.zeros(3)}, jax.tree.map(jnp.zeros_like, STATE))
    assert jax.tree.structure(back) == jax.tree.structure(STATE)
    np.testing.assert_array_equal(back.theta, STATE.theta)
    assert back.inner[0].count == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {**a, "state/theta": np.zeros(4, np.float32)},
        lambda a: {**a, "state/theta": np.zeros(3, np.float64)},
        lambda a: {**a, "state/more": np.zeros(3)},
        lambda a: {"state/theta": a["state/theta"]},
        lambda a: {},
    ],
)
def test_arrays_of_another_state_are_refused(change):
    with pytest.raises(CheckpointError, match="not of this run"):
        from_arrays(change(to_arrays(STATE)), STATE)
