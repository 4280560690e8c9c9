"""What has no proper posterior under a flat prior, on data made so, and against maximum likelihood by scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.joint.propriety import INTERCEPT, fault


def of(x, y, likelihood="bernoulli"):
    """What the fault is, after the words that all of them begin with."""
    design = np.column_stack([np.ones(len(y)), x])
    found = fault(design, [INTERCEPT, *(f"x{j}" for j in range(design.shape[1] - 1))], np.asarray(y), likelihood)
    if found is None:
        return None
    begins, said = found.split(", and ", 1)
    assert begins == "its prior is flat"
    return said


def rows(n=60, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_overlapping_classes_are_proper():
    x = rows()
    y = (x[:, 0] + np.random.default_rng(1).normal(size=60) > 0).astype(int)
    assert of(x, y) is None
    assert of(x, np.arange(60) % 3, "categorical") is None


def test_the_column_that_separates_is_named():
    x = rows()
    assert of(x, (x[:, 1] > 0.3).astype(int)) == "the classes are separated by 'x1', alone"


def test_a_tie_at_the_boundary_separates_still():
    """Quasi-separation: one value of the column holds both classes."""
    x = rows()
    x[:, 2] = np.repeat([-1.0, 0.0, 1.0], 20)
    y = np.r_[np.zeros(20), np.arange(20) % 2, np.ones(20)].astype(int)
    assert of(x, y) == "the classes are separated by 'x2', alone"


def test_columns_that_separate_together_are_named():
    x = rows()
    assert of(x, (x[:, 0] + x[:, 2] > 0).astype(int)) == "the classes are separated by 'x0', 'x2' together"


def test_one_class_of_three_that_is_apart_is_enough():
    x = rows()
    y = np.where(x[:, 1] > 0.5, 2, np.arange(60) % 2)
    assert of(x, y, "categorical") == "the classes are separated by 'x1', alone"


@pytest.mark.parametrize("seed", range(6))
def test_separation_is_where_maximum_likelihood_runs_away(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(18, 5))
    y = (x @ rng.normal(size=5) + rng.logistic(size=18) > 0).astype(int)
    fit = LogisticRegression(C=1e10, max_iter=100_000, tol=1e-10).fit(x, y)
    assert (of(x, y) is not None) == (np.abs(fit.coef_).max() > 50)


def test_a_level_with_no_counts_is_named():
    x = rows()
    x[:, 1] = np.arange(60) % 4 == 0
    y = np.where(x[:, 1] == 1, 0, 1 + np.arange(60) % 5)
    y[1] = 0
    assert of(x, y, "poisson") == "rows whose count is 0 are told apart from all others by 'x1', alone"
    y[4] = 2
    assert of(x, y, "negative-binomial") is None


def test_copies_and_combinations_of_columns_are_named():
    x, y = rows(), rows(d=1, seed=1)[:, 0]
    assert of(x, y, "gaussian") is None
    assert of(np.column_stack([x, -2 * x[:, 1]]), y, "gaussian") == "'x3' is 'x1' again"
    assert of(np.column_stack([x, x[:, 0] + x[:, 2]]), y, "student-t") == "'x3' is a combination of 'x0', 'x2'"
    assert of(np.column_stack([x, np.zeros(60)]), y, "gaussian") == "'x3' does not vary in the training rows"


def test_more_coefficients_than_rows():
    assert of(rows(14, 16), rows(14, 1)[:, 0], "gaussian") == "17 coefficients for 14 training rows"
