"""A state as named arrays, so that it can be stored without pickles, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PREFIX = "state/"


class CheckpointError(ValueError):
    """A checkpoint that is not of the run that should go on from it: the run can only start over."""


def to_arrays(state: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree on the host, by `state/` and their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(state))
    return {PREFIX + jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def from_arrays(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """The state that `to_arrays` named, of the same structure as `like`; other arrays are passed over.

    Raises:
        CheckpointError: names, shapes or types differ from those of `like`.
    """
    expected = to_arrays(like)
    found = {name: array for name, array in arrays.items() if name.startswith(PREFIX)}
    if {k: (a.shape, a.dtype) for k, a in found.items()} != {k: (a.shape, a.dtype) for k, a in expected.items()}:
        raise CheckpointError(
            "the checkpoint is not of this run (other chains, parameters or versions): start it afresh"
        )
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in expected])
