"""Black-box baselines by scikit-learn: support vector machines and boosted trees, made to predict distributions.

What a library predicts is turned into a distribution with at most one number more, learned from the validation part:

- classes: the library's probabilities, (cross-fitted) as it calibrates them. A class that training lacks has none, so
  probabilities are floored at `FLOOR` and renormalised: such a row scores log(1e-12), not minus infinity;
- real: N(m(x), s^2) with s the root mean squared validation residual;
- counts: negative binomial with mean m(x) and variance m + m^2 / alpha, alpha by maximum likelihood on the validation
  part. A large alpha is a Poisson distribution.

Everything runs on one thread, so that equal seeds give equal bits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

from models.data.dataset import DataError, Part, Split
from models.joint.noise import count_log_mass, likeliest_log_alpha
from models.prediction.predictive import N_SAMPLES, Predictive
from models.spec.learner import Learner
from models.spec.predictors import BoostedTrees, SupportVectors

FLOOR = 1e-12
_FOLDS = 5
_MIN_LEAF = 20
_NO_SPLIT = "no tree split its {} training rows, so that all rows are predicted alike: lower predictor.min_leaf"
_MIN_SD = 1e-6
_MIN_COUNT_MEAN = 1e-3

# (n, d) inputs to (n,) means on the split's scale, or to (n, K) probabilities.
_Function = Callable[[np.ndarray], np.ndarray]


class BaselineFit(NamedTuple):
    """A fitted baseline.

    Attributes:
        predict: part -> predictive distribution in the target's own units; the same bits whenever it is called.
        n_parameters: numbers that were fitted: dual coefficients of support vectors, intercepts and calibration slopes
            of a support vector machine, leaf values of trees, and the one number of the distribution. What selects
            among them (support vectors themselves, split points) is not counted.
        warnings: in plain words.
    """

    predict: Callable[[Part], Predictive]
    n_parameters: int
    warnings: tuple[str, ...] = ()


def fit_baseline(learner: Learner, split: Split, seed: int) -> BaselineFit:
    """Fit a support vector machine or boosted trees to the training part; see the module for the distribution.

    Trees stop when the loss on the validation part has not improved for ten rounds.

    Raises:
        DataError: a class with a single training row, on which an SVM's probabilities cannot be cross-fitted.
    """
    with threadpool_limits(1):
        warnings = ()
        match learner.predictor:
            case SupportVectors() as settings:
                function, n_parameters = _support_vectors(settings, split, seed)
            case BoostedTrees() as settings:
                function, n_parameters, n_trees = _boosted_trees(settings, split, seed)
                if n_parameters == n_trees:
                    warnings = (_NO_SPLIT.format(len(split.train.y)),)
            case other:
                raise TypeError(f"{other.kind!r} is no baseline")
        build = {"classes": _classes, "real": _real, "count": _counts}[split.task]
        predictive = build(function, split, seed)

    def predict(part: Part) -> Predictive:
        with threadpool_limits(1):
            return predictive(part)

    return BaselineFit(predict, n_parameters + (split.task != "classes"), warnings)


# --- functions --------------------------------------------------------------------------------------------------------


def _support_vectors(settings: SupportVectors, split: Split, seed: int) -> tuple[_Function, int]:
    """Radial basis functions, exp(-gamma |x - x'|^2). Counts are regressed on the log1p scale, then rescaled."""
    x, y = split.train.x, split.train.y
    kernel = {"C": settings.c, "gamma": settings.gamma}
    if split.task == "classes":
        counts = np.bincount(y, minlength=split.n_classes)
        least = int(counts[counts > 0].min())
        if least < 2:
            raise DataError("svm: a class has a single training row, and calibration needs two: merge rare classes")
        folds = StratifiedKFold(min(_FOLDS, least), shuffle=True, random_state=seed)
        model: Any = CalibratedClassifierCV(SVC(**kernel), method="sigmoid", cv=folds, ensemble=False)  # pyright: ignore[reportArgumentType] - its default is "auto"
        [calibrated] = model.fit(x, y).calibrated_classifiers_
        machine = calibrated.estimator
        size = machine.dual_coef_.size + machine.intercept_.size + 2 * len(calibrated.calibrators)
        return _all_classes(model.predict_proba, model.classes_, split.n_classes), size
    if split.task == "real":
        machine = SVR(**kernel).fit(x, y)
        return machine.predict, machine.dual_coef_.size + 1
    logs = np.log1p(y)
    centre, spread = logs.mean(), logs.std()
    machine = SVR(**kernel).fit(x, (logs - centre) / spread)

    def mean(rows: np.ndarray) -> np.ndarray:
        return np.maximum(np.expm1(centre + spread * machine.predict(rows)), _MIN_COUNT_MEAN)

    # The mean of exp is not exp of the mean: one factor brings the validation part's total right (Duan 1983).
    factor = max(split.validation.y.mean(), _MIN_COUNT_MEAN) / mean(split.validation.x).mean()
    return lambda rows: factor * mean(rows), machine.dual_coef_.size + 2


def _boosted_trees(settings: BoostedTrees, split: Split, seed: int) -> tuple[_Function, int, int]:
    """Their function, and the numbers of leaves and of trees."""
    train, validation = split.train, split.validation
    options = {
        "learning_rate": settings.learning_rate,
        "max_iter": settings.max_rounds,
        "max_leaf_nodes": settings.max_leaves,
        "min_samples_leaf": settings.min_leaf or min(_MIN_LEAF, max(1, len(train.y) // 10)),
        "early_stopping": True,
        "random_state": seed,
    }
    if split.task == "classes":
        known = np.isin(validation.y, train.y)
        model: Any = HistGradientBoostingClassifier(**options)
        model.fit(train.x, train.y, X_val=validation.x[known], y_val=validation.y[known])
        function = _all_classes(model.predict_proba, model.classes_, split.n_classes)
    else:
        model = HistGradientBoostingRegressor(loss="squared_error" if split.task == "real" else "poisson", **options)
        model.fit(train.x, train.y, X_val=validation.x, y_val=validation.y)
        function = model.predict
    leaves = [tree.get_n_leaf_nodes() for trees in model._predictors for tree in trees]
    return function, sum(leaves), len(leaves)


def _all_classes(probabilities: _Function, known: np.ndarray, n_classes: int) -> _Function:
    """Probabilities of all K classes from those of the known ones, none below `FLOOR`; rows sum to 1."""

    def every(x: np.ndarray) -> np.ndarray:
        p = np.zeros((len(x), n_classes))
        p[:, known] = probabilities(x)
        p = np.maximum(p, FLOOR)
        return p / p.sum(axis=1, keepdims=True)

    return every


# --- distributions ----------------------------------------------------------------------------------------------------


def _classes(function: _Function, split: Split, seed: int) -> Callable[[Part], Predictive]:
    del split, seed

    def predict(part: Part) -> Predictive:
        p = function(part.x)
        return Predictive(np.log(p[np.arange(len(p)), part.y]), probabilities=p)

    return predict


def _real(function: _Function, split: Split, seed: int) -> Callable[[Part], Predictive]:
    residuals = split.validation.y - function(split.validation.x)
    sd = max(float(np.sqrt(np.mean(residuals**2))), _MIN_SD)

    def predict(part: Part) -> Predictive:
        mean = function(part.x)
        samples = mean[:, None] + sd * np.random.default_rng(seed).standard_normal((len(mean), N_SAMPLES))
        return Predictive(
            stats.norm.logpdf(part.y, mean, sd) - np.log(split.scale),
            mean=split.location + split.scale * mean,
            samples=split.location + split.scale * samples,
        )

    return predict


def _counts(function: _Function, split: Split, seed: int) -> Callable[[Part], Predictive]:
    log_alpha = likeliest_log_alpha(split.validation.y, function(split.validation.x))
    alpha = math.exp(log_alpha)

    def predict(part: Part) -> Predictive:
        mean = function(part.x)
        rng = np.random.default_rng(seed)
        samples = rng.negative_binomial(alpha, (alpha / (alpha + mean))[:, None], (len(mean), N_SAMPLES))
        return Predictive(count_log_mass(part.y, mean, log_alpha), mean=mean, samples=samples.astype(float))

    return predict
