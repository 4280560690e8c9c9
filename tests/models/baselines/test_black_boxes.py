"""Baselines give what scikit-learn gives when called directly, as distributions that are honest on unseen rows."""

import itertools

import numpy as np
import pytest
import scipy.stats as stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC, SVR

from models.baselines.black_boxes import FLOOR, fit_baseline
from models.data.dataset import DataError, Part, Split
from models.prediction.scoring import score
from models.spec.inference import Library
from models.spec.learner import Learner
from models.spec.predictors import BoostedTrees, SupportVectors

SVM = Learner(name="svm", predictor=SupportVectors(), inference=Library())
TREES = Learner(name="boosted-trees", predictor=BoostedTrees(max_rounds=60), inference=Library())
BOTH = pytest.mark.parametrize("learner", [SVM, TREES], ids=lambda learner: learner.name)


def split_of(task, x, y, sizes, n_classes=0, location=0.0, scale=1.0):
    edges = np.cumsum([0, *sizes])
    parts = [Part(x[a:b], y[a:b], np.arange(a, b), {}) for a, b in itertools.pairwise(edges)]
    return Split(task, n_classes, tuple(f"x{j}" for j in range(x.shape[1])), None, *parts, location, scale)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return split_of("classes", x[order] / 16, y[order], (800, 300, 500), 10)


@pytest.fixture(scope="module")
def diabetes():
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order] / x.std(), y[order]
    location, scale = y[:240].mean(), y[:240].std()
    return split_of("real", x, (y - location) / scale, (240, 100, 102), location=location, scale=scale)


def counts(rng, n, dispersion):
    x = rng.normal(size=(n, 2))
    mean = np.exp(1.0 + 0.6 * np.sin(2 * x[:, 0]) + 0.3 * x[:, 1])
    y = rng.poisson(mean if dispersion is None else rng.gamma(dispersion, mean / dispersion))
    return split_of("count", x, y, (n // 2, n // 4, n - n // 2 - n // 4)), mean


def test_svm_for_classes_is_the_direct_call(digits):
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    direct = CalibratedClassifierCV(SVC(C=10.0, gamma="scale"), cv=folds, ensemble=False)
    direct.fit(digits.train.x, digits.train.y)
    got = fit_baseline(SVM, digits, 3).predict(digits.test)
    np.testing.assert_allclose(got.probabilities, direct.predict_proba(digits.test.x), atol=1e-10)
    scores = {m.metric: m.value for m in score(got, digits.test.y, "classes", "test")}
    assert scores["accuracy"] > 0.96 and scores["log_score"] > -0.2


def test_trees_for_classes_are_the_direct_call(digits):
    direct = HistGradientBoostingClassifier(max_iter=60, early_stopping=True, random_state=3)
    direct.fit(digits.train.x, digits.train.y, X_val=digits.validation.x, y_val=digits.validation.y)
    got = fit_baseline(TREES, digits, 3).predict(digits.test)
    np.testing.assert_allclose(got.probabilities, direct.predict_proba(digits.test.x), atol=1e-10)
    scores = {m.metric: m.value for m in score(got, digits.test.y, "classes", "test")}
    assert scores["accuracy"] > 0.9 and scores["log_score"] > -0.4


@BOTH
def test_probabilities_are_a_distribution_and_its_logarithm_is_the_log_density(digits, learner):
    got = fit_baseline(learner, digits, 0).predict(digits.test)
    assert got.probabilities is not None
    np.testing.assert_allclose(got.probabilities.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(got.log_density, np.log(got.probabilities[np.arange(500), digits.test.y]))


@BOTH
def test_a_class_that_training_lacks_has_the_floor(digits, learner):
    kept = digits.train.y != 4
    train = Part(digits.train.x[kept], digits.train.y[kept], digits.train.rows[kept], {})
    got = fit_baseline(learner, digits.__class__(**{**digits.__dict__, "train": train}), 0).predict(digits.test)
    assert got.probabilities is not None and got.probabilities.shape == (500, 10)
    np.testing.assert_allclose(got.probabilities[:, 4], FLOOR, rtol=1e-9)
    assert np.all(np.isfinite(got.log_density))


def test_svm_with_a_class_of_one_row_is_refused():
    x, y = np.arange(12.0)[:, None], np.array([0] * 6 + [1] * 5 + [2])
    with pytest.raises(DataError, match="single training row"):
        fit_baseline(SVM, split_of("classes", np.tile(x, (3, 1)), np.tile(y, 3), (12, 12, 12), 3), 0)


def test_regressions_are_the_direct_calls(diabetes):
    train, validation, test = diabetes.train, diabetes.validation, diabetes.test
    trees = HistGradientBoostingRegressor(max_iter=60, early_stopping=True, random_state=3)
    trees.fit(train.x, train.y, X_val=validation.x, y_val=validation.y)
    svm = SVR(C=10.0).fit(train.x, train.y)
    for learner, direct in ((SVM, svm), (TREES, trees)):
        got = fit_baseline(learner, diabetes, 3).predict(test)
        np.testing.assert_allclose(got.mean, diabetes.location + diabetes.scale * direct.predict(test.x), rtol=1e-10)
        sd = diabetes.scale * np.sqrt(np.mean((validation.y - direct.predict(validation.x)) ** 2))
        y = diabetes.location + diabetes.scale * test.y
        np.testing.assert_allclose(got.log_density, stats.norm.logpdf(y, got.mean, sd), rtol=1e-10)


@BOTH
def test_real_density_integrates_to_one_in_the_targets_own_units(diabetes, learner):
    fitted = fit_baseline(learner, diabetes, 0)
    grid = np.linspace(-8, 8, 4001)
    row = np.repeat(diabetes.test.x[:1], len(grid), axis=0)
    density = np.exp(fitted.predict(Part(row, grid, np.arange(len(grid)), {})).log_density)
    assert np.trapezoid(density, diabetes.location + diabetes.scale * grid) == pytest.approx(1.0, abs=1e-9)


@BOTH
def test_samples_have_the_moments_of_the_density(diabetes, learner):
    got = fit_baseline(learner, diabetes, 0).predict(diabetes.test)
    assert got.samples is not None and got.mean is not None and got.samples.shape == (102, 256)
    residuals = got.samples - got.mean[:, None]
    at_the_mean = diabetes.test._replace(y=(got.mean - diabetes.location) / diabetes.scale)
    peak = fit_baseline(learner, diabetes, 0).predict(at_the_mean).log_density
    sd = np.exp(-peak[0]) / np.sqrt(2 * np.pi)
    n = residuals.size
    assert abs(residuals.mean()) < 4 * sd / np.sqrt(n)
    assert abs(residuals.std() - sd) < 4 * sd / np.sqrt(2 * n)


@BOTH
@pytest.mark.parametrize("dispersion", [None, 1.5])
def test_counts_are_scored_nearly_as_well_as_by_the_truth(learner, dispersion):
    split, mean = counts(np.random.default_rng(0), 1600, dispersion)
    got = fit_baseline(learner, split, 0).predict(split.test)
    alpha = 1e6 if dispersion is None else dispersion
    truth = stats.nbinom(alpha, alpha / (alpha + mean[-len(split.test.y) :])).logpmf(split.test.y)
    assert truth.mean() - got.log_density.mean() == pytest.approx(0.06, abs=0.06)
    scored = {m.metric: m.value for m in score(got, split.test.y, "count", "test")}
    assert scored["calibration_error"] < 0.06


@BOTH
def test_count_masses_sum_to_one(learner):
    split, _ = counts(np.random.default_rng(0), 400, 1.5)
    support = np.arange(2000)
    part = Part(np.repeat(split.test.x[:1], len(support), axis=0), support, support, {})
    assert np.exp(fit_baseline(learner, split, 0).predict(part).log_density).sum() == pytest.approx(1.0, abs=1e-9)


@BOTH
@pytest.mark.parametrize("task", ["classes", "real", "count"])
def test_same_seed_gives_the_same_bits(digits, diabetes, learner, task):
    split = {"classes": digits, "real": diabetes, "count": counts(np.random.default_rng(0), 200, 1.5)[0]}[task]
    first, again = (fit_baseline(learner, split, 5) for _ in range(2))
    assert first.n_parameters == again.n_parameters
    for one, other in zip(first.predict(split.test), again.predict(split.test), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parameters_are_counted(diabetes):
    machine = SVR(C=10.0).fit(diabetes.train.x, diabetes.train.y)
    assert fit_baseline(SVM, diabetes, 0).n_parameters == len(machine.support_) + 1 + 1
    one_round = TREES.model_copy(update={"predictor": BoostedTrees(max_rounds=1, max_leaves=4)})
    assert fit_baseline(one_round, diabetes, 0).n_parameters == 4 + 1


def test_small_tables_are_split_and_what_no_tree_splits_is_said():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    split = split_of("real", x, np.sign(x[:, 0]) + 0.1 * rng.normal(size=60), (36, 12, 12))
    trees = fit_baseline(TREES, split, 0)
    assert trees.warnings == ()
    assert np.mean((trees.predict(split.test).mean - split.test.y) ** 2) < 0.5
    stated = TREES.model_copy(update={"predictor": BoostedTrees(min_leaf=20)})
    (said,) = fit_baseline(stated, split, 0).warnings
    assert said.startswith("no tree split its 36 training rows")


def test_large_counts_that_are_poisson_are_given_no_more_spread():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (600, 1)).astype(float)
    y = rng.poisson(np.where(x[:, 0] > 0, 4e6, 1e6))
    split = split_of("count", x, y, (300, 150, 150))
    trees = TREES.model_copy(update={"predictor": BoostedTrees(max_rounds=200)})
    got = fit_baseline(trees, split, 0).predict(split.test)
    best = stats.poisson(np.where(split.test.x[:, 0] > 0, 4e6, 1e6)).logpmf(split.test.y)
    assert np.mean(got.log_density) > np.mean(best) - 0.5
    assert np.all(np.isfinite(got.samples))
