"""A cheap learner on real overlapping splits, whose truth is known: what the comparison's claims are held against."""

import numpy as np

NOISE = 1.0


def random_splits(n: int, n_splits: int, n_train: int, n_test: int, rng: np.random.Generator):
    """(train, test) row numbers of repeated random splits of the same n rows."""
    orders = [rng.permutation(n) for _ in range(n_splits)]
    return [(order[:n_train], order[n_train : n_train + n_test]) for order in orders]


def least_squares_scores(x, y, splits):
    """Squared errors (J, n_test) of ordinary least squares, refitted on each split."""
    fits = [np.linalg.lstsq(x[train], y[train])[0] for train, _ in splits]
    return np.array([(y[test] - x[test] @ fit) ** 2 for fit, (_, test) in zip(fits, splits, strict=True)])


def least_squares_risk(n_train: int, d: int) -> float:
    """E (y - x b)^2 on a new row over training sets: noise^2 (1 + d / (n - d - 1)), x standard normal, no intercept."""
    return NOISE**2 * (1 + d / (n_train - d - 1))


def random_feature_scores(x, y, splits, n_seeds: int, width: int, rng: np.random.Generator):
    """Log scores (J, S, n_test) of ridge regression on tanh features that are drawn anew for each fit."""
    scores = np.empty((len(splits), n_seeds, len(splits[0][1])))
    for j, (train, test) in enumerate(splits):
        for s in range(n_seeds):
            features = np.tanh(x @ rng.normal(size=(x.shape[1], width)) + rng.normal(size=width))
            gram = features[train].T @ features[train] + np.eye(width)
            weights = np.linalg.solve(gram, features[train].T @ y[train])
            residual = y - features @ weights
            variance = np.mean(residual[train] ** 2) * len(train) / max(1, len(train) - width / 2)
            scores[j, s] = -0.5 * (np.log(2 * np.pi * variance) + residual[test] ** 2 / variance)
    return scores


def smooth_task(n: int, rng: np.random.Generator):
    """A sine along a random direction, whose period the features can follow on every data set."""
    x, direction = rng.normal(size=(n, 3)), rng.normal(size=3)
    return x, np.sin(x @ direction / np.linalg.norm(direction)) + 0.3 * rng.normal(size=n)


def values_of(rows):
    """(J, S) means of (J, S, n_test) row scores."""
    return rows.mean(axis=-1)


def errors_of(rows):
    """(J, S) standard errors of those means."""
    return rows.std(axis=-1, ddof=1) / np.sqrt(rows.shape[-1])
