"""Spreads that unseen rows refute, against SciPy's densities and the truth's own scores."""

import numpy as np
import pytest
from scipy import optimize, stats

from models.data.dataset import Dataset, Partition, sealed
from models.data.preparation import prepare
from models.joint import noise
from models.spec.inference import Cosine, Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import Poisson
from models.spec.predictors import MLP, Linear
from models.spec.priors import Normal
from tests.support.runs import fit_all, request

# An epoch of 180 training rows is five steps of Adam: log alpha gets no further than 0.9 in all of them.
NET = Learner(
    name="net",
    predictor=MLP(widths=(32, 32)),
    inference=Optimise(
        optimiser="adam", learning_rate=3e-3, schedule=Cosine(), epochs=60, weight_decay=1e-4, patience=30
    ),
)
LINEAR = Learner(
    name="linear",
    predictor=Linear(),
    likelihood=Poisson(),
    prior=Normal(scale=2.5, scaling="fan-in", bias_scale=2.5),
    inference=Optimise(optimiser="lbfgs", batch_size=None, epochs=2000),
)
RNG = np.random.default_rng(0)


def counts_about(mean, alpha, n=300):
    """A table whose counts have this mean for an average row, and the mean of each row."""
    x = RNG.standard_normal((n, 3))
    means = mean * np.exp(x @ [0.3, -0.2, 0.1])
    y = RNG.poisson(means * RNG.gamma(alpha, 1 / alpha, n))
    return sealed(Dataset("counts", "count", x, ("a", "b", "c"), {}, None, y, "y", ())), means


def test_alpha_is_that_of_largest_likelihood():
    mean = RNG.uniform(5, 50, 300)
    y = stats.nbinom(3.0, 3.0 / (3.0 + mean)).rvs(random_state=1)

    def loss(log_alpha):
        alpha = np.exp(log_alpha)
        return -stats.nbinom(alpha, alpha / (alpha + mean)).logpmf(y).sum()

    expected = optimize.minimize_scalar(loss, bounds=(-5, 10), method="bounded").x
    assert noise.likeliest_log_alpha(y, mean) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("mean", [3e3, 1e7])
def test_a_net_scores_counts_known_to_three_per_cent_as_the_truth_does(mean):
    dataset, means = counts_about(mean, 1000.0)
    (result,) = fit_all([request(NET, dataset)], dataset)
    test = prepare(dataset, Partition()).test
    truth = stats.nbinom(1000, 1000 / (1000 + means[test.rows])).logpmf(test.y).mean()
    (score,) = [m.value for m in result.metrics if (m.part, m.metric) == ("test", "log_score")]
    assert truth - 1.0 < score < truth + 0.2
    assert result.warnings[0].startswith("rows of the validation part vary less about its predictions than its")


def test_a_net_of_counts_starts_at_the_null_model():
    """Training for no time at all leaves one mean for all rows."""
    dataset, _ = counts_about(3e3, 1000.0)
    still = NET.model_copy(update={"inference": NET.inference.model_copy(update={"learning_rate": 1e-12, "epochs": 1})})
    (result,) = fit_all([request(still, dataset)], dataset)
    train = prepare(dataset, Partition()).train
    np.testing.assert_allclose(result.parameters["theta"][-2], np.log(train.y.mean()), rtol=1e-6)
    np.testing.assert_allclose(result.parameters["theta"][-34:-2], 0.0, atol=1e-9)


@pytest.mark.parametrize(("alpha", "said"), [(2.0, True), (1e12, False)])
def test_a_poisson_likelihood_that_is_too_sure_says_so(alpha, said):
    dataset, _ = counts_about(300.0, alpha, 200)
    (result,) = fit_all([request(LINEAR, dataset)], dataset)
    told = [w for w in result.warnings if "negative-binomial, learns how much" in w]
    assert bool(told) == said


def test_what_is_too_sure_is_told_by_how_much():
    mean = np.full(4000, 100.0)
    y = stats.nbinom(10, 10 / 110).rvs(4000, random_state=2)  # variance 100 + 100^2 / 10
    said = noise.too_sure(y, mean, stats.poisson(100).logpmf(y))
    assert "are 11 times what its Poisson likelihood states" in said
    even = stats.poisson(100).rvs(4000, random_state=3)
    assert noise.too_sure(even, mean, stats.poisson(100).logpmf(even)) is None
