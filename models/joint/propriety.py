"""Whether coefficients under a flat prior have a proper posterior, and what in the data takes it away.

A flat prior leaves it to the data to bound every direction of the coefficients b of eta = X b. They do not where X has
less than full column rank, or where the likelihood does not fall along some direction for ever: the classes are
separated (Albert and Anderson 1984), or counts of 0 alone are told apart (Santos Silva and Tenreyro 2010). Then no
finite b is best, the posterior has no finite mass, and draws of it mean nothing however many there are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from models.data.dataset import listed

REMEDY = (
    "the data leave its coefficients free, so its draws and its scores say nothing, and more draws do not help: "
    "state a proper prior (prior.kind 'normal')"
)
INTERCEPT = "the intercept"
_TOLERANCE = 1e-8
_LARGEST = 1e5  # a direction that needs larger coefficients for a mean margin of 1 is rounding


def fault(design: np.ndarray, names: Sequence[str], y: np.ndarray, likelihood: str) -> str | None:
    """What makes the posterior improper under a flat prior on the coefficients, in plain words; None where it is not.

    Args:
        design: (n, q) columns of the linear predictor on the training rows, the intercept among them.
        names: of the q columns.
        y: (n,) codes, counts or real numbers.
        likelihood: its kind.
    """
    cause = rank_fault(design, names) or separation(design, names, y, likelihood)
    return None if cause is None else f"its prior is flat, and {cause}"


def no_estimate(x: np.ndarray, columns: Sequence[str], y: np.ndarray, likelihood: str) -> str | None:
    """Likewise of the maximum of the likelihood, for (n, d) design columns; copies of columns leave it predictions."""
    design, names = with_intercept(x, columns)
    n, q = design.shape
    cause = f"{q} coefficients for {n} training rows" if q > n else separation(design, names, y, likelihood)
    return None if cause is None else f"its prior is flat, and {cause}"


def with_intercept(x: np.ndarray, columns: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The design of a + x b and its names."""
    return np.column_stack([np.ones(len(x)), x]), [INTERCEPT, *columns]


def rank_fault(design: np.ndarray, names: Sequence[str]) -> str | None:
    """Why X has less than full column rank: columns that do not vary, copies and combinations of others, few rows."""
    n, q = design.shape
    if q > n:
        return f"{q} coefficients for {n} training rows"
    said = []
    kept: list[int] = []
    for j in range(q):
        before = design[:, kept]
        weights = np.linalg.lstsq(before, design[:, j], rcond=None)[0] if kept else np.zeros(0)
        rest = np.linalg.norm(design[:, j] - before @ weights)
        if rest > _TOLERANCE * np.linalg.norm(design[:, j]):
            kept.append(j)
            continue
        sources = [
            names[k] for k, w in zip(kept, weights, strict=True) if abs(w) > _TOLERANCE * np.max(np.abs(weights))
        ]
        if not np.any(design[:, j]) or sources == [INTERCEPT]:
            said.append(f"{names[j]!r} does not vary in the training rows")
        elif len(sources) == 1:
            said.append(f"{names[j]!r} is {sources[0]!r} again")
        else:
            said.append(f"{names[j]!r} is a combination of {listed(sources)}")
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"{', '.join(said[:3])}{more}" if said else None


def separation(design: np.ndarray, names: Sequence[str], y: np.ndarray, likelihood: str) -> str | None:
    """Which columns separate the classes, or tell counts of 0 apart; None where none do."""
    if likelihood in ("categorical", "bernoulli"):
        what, direction = "the classes are separated", _between_classes
    elif likelihood in ("poisson", "negative-binomial"):
        what, direction = "rows whose count is 0 are told apart from all others", _below_zeros
    else:
        return None
    used = direction(design, y)
    if used is None:
        return None
    fixed = [j for j, name in enumerate(names) if name == INTERCEPT]
    slopes = [j for j in range(len(names)) if j not in fixed]
    alone = [names[j] for j in slopes if direction(design[:, [*fixed, j]], y) is not None]
    if alone:
        return f"{what} by {listed(alone)}, {'alone' if len(alone) == 1 else 'each alone'}"
    return f"{what} by {listed(names[j] for j in slopes if used[j])} together"


def _between_classes(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """(q,) columns of a direction along which no row's class loses against another and some win; None if none is.

    Class c has coefficients b_c, the first none, and the margin of a row of class c over class k is x (b_c - b_k).
    """
    codes, y = np.unique(y, return_inverse=True)
    (n, q), k = x.shape, len(codes)
    others = np.array([[c for c in range(k) if c != own] for own in range(k)], int).reshape(k, k - 1)[y].ravel()
    rows = np.repeat(np.arange(n), k - 1)
    pairs = np.arange(len(rows))
    own, other = (sparse.csr_array((np.ones(len(pairs)), (pairs, c)), (len(pairs), k)) for c in (y[rows], others))
    signs = (own - other)[:, 1:]
    margins = sparse.hstack([signs[:, [c]].multiply(x[rows]) for c in range(k - 1)])
    found = _ray(margins, None)
    return None if found is None else np.any(found.reshape(k - 1, q), axis=0)


def _below_zeros(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """(q,) columns of a direction that lowers eta in rows of count 0 and changes no other; None if none is."""
    return _ray(-x[y == 0], x[y > 0]) if np.any(y == 0) else None


def _ray(margins: Any, level: np.ndarray | None) -> np.ndarray | None:
    """Which entries of b are not 0, for the b of least sum |b| with margins b >= 0, of mean 1, and level b = 0."""
    q = margins.shape[1]
    margins = sparse.csr_array(margins)
    mean = np.asarray(margins.mean(axis=0)).ravel()
    both = sparse.hstack([margins, -margins])
    found = linprog(
        np.ones(2 * q),
        A_ub=-both,
        b_ub=np.zeros(margins.shape[0]),
        A_eq=np.array([[*mean, *-mean]]) if level is None else np.vstack([[*mean, *-mean], np.hstack([level, -level])]),
        b_eq=np.r_[1.0, np.zeros(0 if level is None else len(level))],
        bounds=(0, _LARGEST),
        method="highs",
    )
    if found.status != 0:
        return None
    return np.abs(found.x[:q] - found.x[q:]) > _TOLERANCE * np.abs(found.x).max()
