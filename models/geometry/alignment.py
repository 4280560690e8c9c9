"""Permutation alignment: numbering the hidden units of one net as another net numbers them."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.optimize import linear_sum_assignment

from models.geometry.symmetries import Hidden, hidden_layers
from models.posterior import Model


class Alignment(NamedTuple):
    """A net with its hidden units renumbered: the same function.

    Attributes:
        theta: (p,) of the dtype that it came in.
        orders: for each hidden layer (u,), the unit that was put in each place.
        n_sweeps: over all layers, the last of which changed nothing.
    """

    theta: np.ndarray
    orders: tuple[np.ndarray, ...]
    n_sweeps: int


def align(model: Model, theta: Array | np.ndarray, reference: Array | np.ndarray, key: PRNGKeyArray) -> Alignment:
    """Permute hidden units so that |theta - reference| is small, by weight matching.

    Ainsworth et al. (2023, "Git Re-Basin", section 3.2, algorithm 1). Given the order of the other layers' units, the
    squared distance depends on a layer's order through a sum over its units, with A the reference and B theta:

        maximise over orders s  sum_i C[i, s(i)],  C = A[incoming] B[incoming]' + A[outgoing] B[outgoing]',

    a linear assignment problem. Layers take turns, in a new random order each sweep, until none changes. The distance
    never grows. With one hidden layer the result is optimal; with more it is optimal for each layer given the others,
    which may not be the best of all: that problem is NP-hard (ibid., lemma 1).

    Computed in float64 on the host. Rescaling of units is not undone.

    Args:
        model: of both nets.
        theta: (p,) the net to renumber.
        reference: (p,) the net that stays.
        key: of the order of the layers.

    Raises:
        NotApplicableError: a predictor without hidden layers.
    """
    layers = hidden_layers(model)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    own = np.asarray(theta)
    a, b = np.asarray(reference, np.float64), np.asarray(own, np.float64)
    where = np.arange(b.size)
    orders = [np.arange(len(layer.incoming)) for layer in layers]
    n_sweeps, changed = 0, True
    while changed:
        changed = False
        n_sweeps += 1
        for i in rng.permutation(len(layers)):
            order = _best_order(a, b[where], layers[i])
            if order is not None:
                where = _permuted(where, layers[i], order)
                orders[i] = orders[i][order]
                changed = True
    return Alignment(own[where], tuple(orders), n_sweeps)


def _best_order(a: np.ndarray, b: np.ndarray, layer: Hidden) -> np.ndarray | None:
    """The order of b's units in this layer that is nearest to a's; None unless better by more than rounding."""
    similarity = a[layer.incoming] @ b[layer.incoming].T + a[layer.outgoing] @ b[layer.outgoing].T
    places, order = linear_sum_assignment(similarity, maximize=True)
    gain = np.sum(similarity[places, order]) - np.trace(similarity)
    return order if gain > 1e-12 * np.sum(np.abs(similarity[places, order])) else None


def _permuted(where: np.ndarray, layer: Hidden, order: np.ndarray) -> np.ndarray:
    """`symmetries.permute`, of positions and on the host."""
    where = where.copy()
    where[layer.incoming] = where[layer.incoming[order]]
    where[layer.outgoing] = where[layer.outgoing[order]]
    return where
