"""Sweeps with known answers, and the double loops that say what each criterion is."""

from itertools import combinations, product

import numpy as np

VALUES = {"rate": (0.1, 0.2, 0.4), "width": (8, 16, 32), "decay": ("none", "some")}


def grid(n_splits, n_seeds=1, values=VALUES):
    """Columns of a full grid: split, and each setting."""
    rows = list(product(range(n_splits), *values.values(), range(n_seeds)))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return columns[0], dict(zip(values, columns[1:-1], strict=True))


def ranks(column):
    """Numbers in the order of a column's values."""
    return np.unique(column, return_inverse=True)[1].astype(float)


def pairs_of(split, settings):
    """All pairs on the same split, and the names of the settings that they differ in."""
    for i, k in combinations(range(len(split)), 2):
        if split[i] == split[k]:
            yield i, k, [name for name, column in settings.items() if column[i] != column[k]]


def slow_psi(measure, gap, split, settings, setting):
    """The mean over groups of the mean concordance of their pairs."""
    groups = {}
    for i, k, differ in pairs_of(split, settings):
        if differ == [setting]:
            others = tuple(column[i] for name, column in settings.items() if name != setting)
            concordance = np.sign(measure[i] - measure[k]) * np.sign(gap[i] - gap[k])
            groups.setdefault((split[i], others), []).append(concordance)
    return np.mean([np.mean(group) for group in groups.values()])


def slow_information(measure, gap, split, settings, conditioned):
    """I(V_mu; V_g | U) / H(V_g | U) from a dictionary of the ordered pairs, by the definition."""
    counts = {}
    for i, k, _ in pairs_of(split, settings):
        for a, b in ((i, k), (k, i)):
            u = tuple((settings[name][a], settings[name][b]) for name in conditioned)
            key = (u, np.sign(measure[a] - measure[b]), np.sign(gap[a] - gap[b]))
            counts[key] = counts.get(key, 0) + 1
    n = sum(counts.values())

    def total(keep):
        return sum(c for key, c in counts.items() if keep(*key))

    information = entropy = 0.0
    for (u, m, g), c in counts.items():
        of_u, of_m = total(lambda v, *_, u=u: v == u), total(lambda v, x, _, u=u, m=m: (v, x) == (u, m))
        of_g = total(lambda v, _, y, u=u, g=g: (v, y) == (u, g))
        information += c / n * np.log(c * of_u / (of_m * of_g))
        entropy -= c / n * np.log(of_g / of_u)
    return information / entropy if entropy > 1e-12 else np.nan


def slow_sign_errors(measure, gap, split, settings, weight=lambda i, k: 1.0):
    """Weighted sign errors and effective pairs by environment: a frozen set of the two runs' settings."""
    found = {}
    for i, k, differ in pairs_of(split, settings):
        if len(differ) == 1:
            environment = frozenset(tuple(column[r] for column in settings.values()) for r in (i, k))
            error = (1 - np.sign(measure[i] - measure[k]) * np.sign(gap[i] - gap[k])) / 2
            found.setdefault(environment, []).append((error, weight(i, k)))
    errors, pairs = {}, {}
    for environment, rows in found.items():
        e, w = np.array(rows).T
        if w.sum() > 0:
            errors[environment], pairs[environment] = np.average(e, weights=w), w.sum() ** 2 / np.sum(w**2)
    return errors, pairs
