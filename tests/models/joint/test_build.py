"""From specs to functions: each name builds what it says, once."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.joint.build import check_draws, family_of, model_of, prior_scales
from models.spec.inference import HMC, Optimise, PyMC
from models.spec.learner import Learner
from models.spec.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from models.spec.predictors import MLP, ConvNet, Formula, Linear, SupportVectors
from models.spec.priors import Flat, Normal
from models.spec.settings import SpecError


@pytest.mark.parametrize(
    ("likelihood", "outputs", "extras"),
    [
        (Categorical(), 5, ()),
        (Categorical(coding="reference"), 4, ()),
        (Bernoulli(), 1, ()),
        (Gaussian(), 1, ("log_sigma",)),
        (HeteroscedasticGaussian(), 2, ()),
        (StudentT(), 1, ("log_sigma",)),
        (Poisson(), 1, ()),
        (NegativeBinomial(), 1, ("log_alpha",)),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_every_likelihood_has_its_family(likelihood, outputs, extras):
    family = family_of(likelihood, 5)
    assert (family.name, family.n_outputs, family.extras) == (likelihood.kind, outputs, extras)
    classes = likelihood.kind in ("categorical", "bernoulli")
    assert (family.probabilities is not None, family.mean is None, family.sample is None) == (classes,) * 3


def test_degrees_of_freedom_reach_the_density():
    eta, extra, y = jnp.zeros((1, 1)), jnp.zeros(1), jnp.array([3.0])
    narrow, wide = (family_of(StudentT(degrees=nu), 0).log_density(eta, extra, y) for nu in (100.0, 1.0))
    assert narrow[0] < wide[0]


@pytest.mark.parametrize(
    ("predictor", "shape", "n_parameters"),
    [
        (Linear(), None, 16 * 3 + 3),
        (Formula(), None, 16 * 3 + 3),
        (MLP(widths=(5, 2)), None, 16 * 5 + 5 + 5 * 2 + 2 + 2 * 3 + 3),
        (ConvNet(channels=(2,), width=6), (4, 4, 1), 2 * 9 + 2 + 8 * 6 + 6 + 6 * 3 + 3),
        (ConvNet(channels=(2,), width=6), (8, 2), 2 * 2 * 3 + 2 + 8 * 6 + 6 + 6 * 3 + 3),
    ],
    ids=["linear", "formula", "mlp", "images", "sequences"],
)
def test_every_predictor_has_its_model(predictor, shape, n_parameters):
    model = model_of(predictor, Categorical(), 3, 16, shape)
    assert model.n_parameters == n_parameters
    theta = jax.eval_shape(model.init, jax.random.key(0))
    assert theta.shape == (n_parameters,)
    assert jax.eval_shape(model.predict, theta, jnp.ones((2, 16))).shape == (2, 3)
    assert model is model_of(predictor.model_copy(), Categorical(), 3, 16, shape)


def test_a_large_net_is_described_without_its_memory():
    """4.6 GB of float64, which its whole vector would take."""
    tracemalloc.start()
    try:
        model = model_of(MLP(widths=(9000, 9000)), Categorical(), 3, 16, None)
        with pytest.raises(SpecError, match="it would have 400,420,003 parameters, and 100,000,000 is the most"):
            model_of(MLP(widths=(20_000, 20_000)), Categorical(), 3, 16, None)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert model.n_parameters == 17 * 9000 + 9001 * 9000 + 9001 * 3


def test_more_draws_than_a_worker_can_hold_are_refused():
    model = model_of(MLP(widths=(1000, 1000)), Categorical(), 3, 16, None)
    prior = Normal()
    few, many = (
        Learner(name="a", predictor=MLP(), prior=prior, inference=HMC(chains=4, draws=draws)) for draws in (1000, 2000)
    )
    check_draws(few, model)
    with pytest.raises(SpecError, match=r"would have 30 GiB, and 16 is the most: set inference\.draws to 1,0\d\d or"):
        check_draws(many, model)


def test_a_convnet_is_refused_for_a_table():
    with pytest.raises(SpecError, match="this dataset is a table: use an 'mlp'"):
        model_of(ConvNet(), Categorical(), 3, 16, None)


def test_a_black_box_has_no_vector():
    with pytest.raises(SpecError, match="'svm' is a black box"):
        model_of(SupportVectors(), Categorical(), 3, 16, None)


def learner(predictor, inference, prior):
    return Learner(name="a", predictor=predictor, likelihood=Gaussian(), prior=prior, inference=inference)


def test_the_stated_prior_is_the_prior():
    model = model_of(Linear(), Gaussian(), 0, 4, None)
    stated = Normal(scale=3.0, bias_scale=0.5)
    for inference in (Optimise(), HMC()):
        scales = prior_scales(learner(Linear(), inference, stated), model, 10)
        np.testing.assert_allclose(scales, [1.5] * 4 + [0.5, 1.0])
    scales = prior_scales(learner(Formula(), PyMC(), Normal(scale=3.0, scaling="constant")), model, 10)
    np.testing.assert_allclose(scales, [3.0] * 4 + [1.0, 1.0])


def test_a_weight_decay_is_a_prior_and_none_is_flat():
    model = model_of(Linear(), Gaussian(), 0, 4, None)
    decayed = prior_scales(learner(Linear(), Optimise(weight_decay=0.1), Flat()), model, 40)
    np.testing.assert_allclose(decayed, [0.5] * 5 + [1.0])
    for inference, predictor in ((Optimise(), Linear()), (PyMC(), Formula())):
        scales = prior_scales(learner(predictor, inference, Flat()), model, 40)
        np.testing.assert_allclose(scales, [np.inf] * 5 + [1.0])
