"""Small splits with numbers a GLM can be checked against, and the check itself."""

import numpy as np

from models.data.dataset import Part, Split
from models.diagnostics.convergence import mcse_mean
from models.spec.inference import PyMC
from models.spec.learner import Learner
from models.spec.likelihoods import Bernoulli, Categorical, Gaussian, NegativeBinomial, Poisson, StudentT
from models.spec.predictors import Formula
from models.spec.priors import Normal

FAMILIES = {
    "categorical": (Categorical(coding="reference"), "classes", 4),
    "categorical-of-two": (Categorical(coding="reference"), "classes", 2),
    "bernoulli": (Bernoulli(), "classes", 2),
    "gaussian": (Gaussian(), "real", 0),
    "student-t": (StudentT(degrees=5), "real", 0),
    "poisson": (Poisson(), "count", 0),
    "negative-binomial": (NegativeBinomial(), "count", 0),
}


def learner(likelihood, formula=None, prior=None, **inference):
    settings = {"chains": 2, "warmup": 50, "draws": 30} | inference
    prior = prior or Normal(scale=1.5, bias_scale=2)
    return Learner(
        name="glm-bayes",
        predictor=Formula(formula=formula),
        likelihood=likelihood,
        prior=prior,
        inference=PyMC(**settings),
    )


def split_of(task, x, y, n_classes=0, columns=None, factors=None):
    """Train, validation and test parts that are the same rows."""
    columns = columns or tuple(f"x{j}" for j in range(x.shape[1]))
    part = Part(np.asarray(x, float), y, np.arange(len(y)), factors or {})
    return Split(task, n_classes, columns, None, part, part, part)


def random_split(family, n=40, d=3, factors=None, seed=0):
    _, task, n_classes = FAMILIES[family]
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = {
        "classes": lambda: rng.permutation(np.arange(n) % max(n_classes, 1)),
        "real": lambda: x[:, 0] + 0.5 * rng.normal(size=n),
        "count": lambda: rng.poisson(np.exp(0.5 + 0.3 * x[:, 0])),
    }[task]()
    return split_of(task, x, y, n_classes, factors=factors)


def assert_moments(draws, mean, sd, mean_error=0.0, sd_error=0.0, weights=None):
    """Mean and sd of draws (chain, draw) agree within 4 Monte Carlo standard errors of both sides combined.

    `weights` (chain, draw) are importance weights to the reference's prior; the errors are the delta method's.
    """
    w = np.ones(draws.shape) if weights is None else weights / weights.mean()

    def estimate(values):
        centre = np.mean(w * values)
        return centre, float(mcse_mean((w * (values - centre))[:, :, None])[0])

    got_mean, got_mean_error = estimate(draws)
    got_variance, variance_error = estimate((draws - got_mean) ** 2)
    got_sd = np.sqrt(got_variance)
    assert abs(got_mean - mean) < 4 * np.hypot(got_mean_error, mean_error)
    assert abs(got_sd - sd) < 4 * np.hypot(variance_error / (2 * got_sd), sd_error)
    assert got_mean_error < 0.1 * sd, "too few effective draws to say anything"
