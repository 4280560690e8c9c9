"""Permutation alignment: numbering the hidden units of one net as another net numbers them."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.optimize import linear_sum_assignment

from models.geometry.connectivity.symmetries import Hidden, hidden_layers
from models.joint.model import Model

# Random orders that the search starts from, beside the three others.
RESTARTS = 12
# The share of a similarity or a distance that rounding is held to explain.
ROUNDING = 1e-12


class Alignment(NamedTuple):
    """A net with its hidden units renumbered: the same function.

    Attributes:
        theta: (p,) of the dtype that it came in.
        orders: for each hidden layer (u,), the unit that was put in each place.
        n_sweeps: over all layers, from the start that led here; the last changed nothing.
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

    Which optimum that is hangs on the order that the search starts from, so it starts from several: the units as they
    are; layers matched once in turn by what feeds them, from the first, and by what reads them, from the last, either
    of which finds a copy that is near to exact; and `RESTARTS` random orders. The nearest net is returned: theta itself
    where none is nearer. Computed in float64 on the host. Rescaling of units is not undone.

    Args:
        model: of both nets.
        theta: (p,) the net to renumber.
        reference: (p,) the net that stays.
        key: of the order of the layers.

    Raises:
        NotApplicableError: a predictor without hidden layers.
    """
    layers = hidden_layers(model)
    seed = np.asarray(jax.random.key_data(key))
    own = np.asarray(theta)
    a, b = np.asarray(reference, np.float64), np.asarray(own, np.float64)
    as_it_is = _Numbering(np.arange(b.size), tuple(np.arange(len(layer.incoming)) for layer in layers), 0)
    best = nearest = None
    for i in range(3 + RESTARTS):
        rng = np.random.default_rng([*seed, i])
        if i == 0:
            start = as_it_is
        elif i == 1:
            start = _matched(a, b, layers, as_it_is, range(len(layers)), "incoming")
        elif i == 2:
            start = _matched(a, b, layers, as_it_is, reversed(range(len(layers))), "outgoing")
        else:
            start = _random(b, layers, as_it_is, rng)
        found = _settled(a, b, layers, start, rng)
        distance = float(np.sum(np.square(a - b[found.where])))
        if best is None or nearest is None or distance < nearest - ROUNDING * np.sum(np.square(a)):
            best, nearest = found, distance
    assert best is not None
    return Alignment(own[best.where], best.orders, best.n_sweeps)


class _Numbering(NamedTuple):
    """The position in theta that is put in each place, each layer's units likewise, and the sweeps so far."""

    where: np.ndarray
    orders: tuple[np.ndarray, ...]
    n_sweeps: int

    def renumbered(self, layers: tuple[Hidden, ...], i: int, order: np.ndarray) -> "_Numbering":
        """With layer i's units in this order."""
        orders = tuple(old[order] if j == i else old for j, old in enumerate(self.orders))
        return self._replace(where=_permuted(self.where, layers[i], order), orders=orders)


def _settled(
    a: np.ndarray, b: np.ndarray, layers: tuple[Hidden, ...], numbering: _Numbering, rng: np.random.Generator
) -> _Numbering:
    """Layers in turn, until none changes."""
    changed = True
    while changed:
        changed = False
        numbering = numbering._replace(n_sweeps=numbering.n_sweeps + 1)
        for i in rng.permutation(len(layers)).tolist():
            order = _best_order(a, b[numbering.where], layers[i])
            if order is not None:
                numbering, changed = numbering.renumbered(layers, i, order), True
    return numbering


def _matched(
    a: np.ndarray,
    b: np.ndarray,
    layers: tuple[Hidden, ...],
    numbering: _Numbering,
    turns: Iterable[int],
    side: Literal["incoming", "outgoing"],
) -> _Numbering:
    """Each layer once, by the weights on one side of it."""
    for i in turns:
        positions = getattr(layers[i], side)
        similarity = a[positions] @ b[numbering.where][positions].T
        numbering = numbering.renumbered(layers, i, linear_sum_assignment(similarity, maximize=True)[1])
    return numbering._replace(n_sweeps=1)


def _random(b: np.ndarray, layers: tuple[Hidden, ...], numbering: _Numbering, rng: np.random.Generator) -> _Numbering:
    """A random order of the units by size, so that it does not depend on how they were numbered."""
    for i, layer in enumerate(layers):
        sizes = np.sum(np.sort(np.square(b[layer.incoming]), axis=1), axis=1)
        numbering = numbering.renumbered(layers, i, np.argsort(sizes, kind="stable")[rng.permutation(len(sizes))])
    return numbering


def _best_order(a: np.ndarray, b: np.ndarray, layer: Hidden) -> np.ndarray | None:
    """The order of b's units in this layer that is nearest to a's; None unless better by more than rounding."""
    similarity = a[layer.incoming] @ b[layer.incoming].T + a[layer.outgoing] @ b[layer.outgoing].T
    places, order = linear_sum_assignment(similarity, maximize=True)
    gain = np.sum(similarity[places, order]) - np.trace(similarity)
    return order if gain > ROUNDING * np.sum(np.abs(similarity[places, order])) else None


def _permuted(where: np.ndarray, layer: Hidden, order: np.ndarray) -> np.ndarray:
    """`symmetries.permute`, of positions and on the host."""
    where = where.copy()
    where[layer.incoming] = where[layer.incoming[order]]
    where[layer.outgoing] = where[layer.outgoing[order]]
    return where
