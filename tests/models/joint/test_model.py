"""The flat vector: order, priors, gradients and Hessians against independent twins."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as stats

from models.joint import likelihoods, priors
from models.joint.build import model_of, prior_scales
from models.joint.model import build, log_joint, log_prior
from models.predictors.convnet import ConvLayer, ConvolutionalNet, max_pool
from models.predictors.linear import LinearNet
from models.predictors.mlp import ACTIVATIONS, MLPNet
from models.spec.inference import Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical
from models.spec.predictors import MLP, ConvNet
from models.spec.priors import Normal
from models.spec.settings import SpecError

pytestmark = pytest.mark.usefixtures("float64")


def mlp(family, widths=(4, 3), activation="tanh", d=5):
    return build(family, MLPNet, d, family.n_outputs, widths, ACTIVATIONS[activation])


def test_flat_vector_and_net_are_the_same_function():
    model = mlp(likelihoods.categorical(3))
    net = MLPNet(5, 3, (4, 3), ACTIVATIONS["tanh"], jax.random.key(1))
    theta = model.init(jax.random.key(1))
    x = jax.random.normal(jax.random.key(2), (6, 5))
    np.testing.assert_array_equal(model.predict(theta, x), jax.vmap(net)(x))
    assert model.n_parameters == sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(net, eqx.is_array)))


def test_mlp_is_the_numpy_formula():
    model = mlp(likelihoods.categorical(3), activation="relu")
    theta = jax.random.normal(jax.random.key(0), (model.n_parameters,))
    x = np.random.default_rng(0).normal(size=(6, 5))
    edges = np.cumsum([0, 20, 4, 12, 3, 9, 3])
    w1, b1, w2, b2, w3, b3 = (np.asarray(theta[a:b]) for a, b in itertools.pairwise(edges))
    h = np.maximum(x @ w1.reshape(4, 5).T + b1, 0)
    h = np.maximum(h @ w2.reshape(3, 4).T + b2, 0)
    np.testing.assert_allclose(model.predict(theta, jnp.asarray(x)), h @ w3.reshape(3, 3).T + b3, rtol=1e-12)


def test_extras_stand_at_the_end_and_start_at_zero():
    model = build(likelihoods.gaussian(), LinearNet, 2, 1)
    assert model.n_parameters == 4
    np.testing.assert_array_equal(model.init(jax.random.key(0)), np.zeros(4))
    theta = jnp.array([1.0, 2.0, 3.0, 0.5])
    got = model.log_likelihood(theta, jnp.array([[1.0, 1.0]]), jnp.array([5.0]))
    np.testing.assert_allclose(got, stats.norm(6.0, np.exp(0.5)).logpdf(5.0), rtol=1e-12)


def test_fan_in_and_biases_are_known_weight_by_weight():
    model = mlp(likelihoods.categorical(3))
    np.testing.assert_array_equal(model.fan_in[:20], 5)
    assert model.is_bias.sum() == 4 + 3 + 3
    conv = build(likelihoods.categorical(10), ConvolutionalNet, (8, 8, 1), 10, (2, 3), 3, 7, ACTIVATIONS["relu"])
    assert set(conv.fan_in[~conv.is_bias]) == {9, 18, 12, 7}


def test_log_prior_is_scipys_and_infinite_scales_add_nothing():
    theta, scales = jnp.array([0.3, -2.0, 5.0]), jnp.array([0.5, 2.0, jnp.inf])
    expected = stats.norm(0, [0.5, 2.0]).logpdf([0.3, -2.0]).sum()
    np.testing.assert_allclose(log_prior(theta, scales), expected, rtol=1e-12)
    assert jnp.all(jnp.isfinite(jax.grad(log_prior)(theta, scales)))


def test_weight_decay_is_the_prior_it_states():
    model = mlp(likelihoods.gaussian())
    n, decay = 50, 0.02
    theta = jax.random.normal(jax.random.key(0), (model.n_parameters,))
    penalty = jax.grad(lambda t: 0.5 * decay * jnp.sum(t[: model.n_weights] ** 2))(theta)
    scales = jnp.asarray(priors.decay_scales(model, decay, n)).at[model.n_weights :].set(jnp.inf)
    prior = jax.grad(lambda t: -log_prior(t, scales) / n)(theta)
    np.testing.assert_allclose(penalty, prior, rtol=1e-12)


def test_a_centre_moves_the_prior():
    theta, scales, centre = jnp.array([0.3, -2.0]), jnp.array([0.5, 2.0]), jnp.array([1.0, -3.0])
    expected = stats.norm(centre, scales).logpdf(theta).sum()
    np.testing.assert_allclose(log_prior(theta, scales, centre), expected, rtol=1e-12)


def test_prior_scales_follow_the_spec():
    learner = Learner(
        name="a", predictor=MLP(widths=(4, 3)), prior=Normal(scale=2.0, bias_scale=0.5), inference=Optimise()
    )
    model = model_of(learner.predictor, Categorical(), 3, 5, None)
    scales = prior_scales(learner, model, 10)
    assert scales[0] == pytest.approx(2.0 / np.sqrt(5))
    assert scales[20] == 0.5
    constant = learner.model_copy(update={"prior": Normal(scale=2.0, scaling="constant")})
    assert prior_scales(constant, model, 10)[0] == 2.0


FAMILIES = {
    "categorical": (likelihoods.categorical(3), lambda r: r.integers(0, 3, 8)),
    "bernoulli": (likelihoods.bernoulli(), lambda r: r.integers(0, 2, 8)),
    "gaussian": (likelihoods.gaussian(), lambda r: r.normal(size=8)),
    "heteroscedastic": (likelihoods.heteroscedastic_gaussian(), lambda r: r.normal(size=8)),
    "student-t": (likelihoods.student_t(4), lambda r: r.normal(size=8)),
    "poisson": (likelihoods.poisson(), lambda r: r.integers(0, 5, 8)),
    "negative-binomial": (likelihoods.negative_binomial(), lambda r: r.integers(0, 5, 8)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_of_the_log_joint_is_the_finite_difference(name):
    family, target = FAMILIES[name]
    model = mlp(family)
    rng = np.random.default_rng(3)
    x, y = jnp.asarray(rng.normal(size=(8, 5))), jnp.asarray(target(rng))
    theta = jnp.asarray(rng.normal(size=model.n_parameters))
    scales = jnp.asarray(priors.normal_scales(model, 1.0, 1.0, fan_in=True))

    def f(t):
        return log_joint(model, t, scales, x, y)

    gradient = jax.grad(f)(theta)
    h = 1e-6
    for i in range(0, model.n_parameters, 5):
        e = jnp.zeros_like(theta).at[i].set(h)
        assert float(gradient[i]) == pytest.approx(float((f(theta + e) - f(theta - e)) / (2 * h)), rel=1e-5, abs=1e-6)


def test_convnet_shrinks_odd_sizes_and_sequences():
    x = jnp.arange(10.0).reshape(2, 5).T
    np.testing.assert_array_equal(max_pool(x), np.array([[1, 3, 4], [6, 8, 9]]).T)
    assert model_of(ConvNet(channels=(4, 8)), Categorical(), 10, 40, (40, 1)).n_parameters == (
        (3 * 4 + 4) + (3 * 4 * 8 + 8) + (10 * 8 * 32 + 32) + (32 * 10 + 10)
    )


def test_convolution_is_the_direct_sum():
    conv = ConvLayer(2, 1, (3, 3), jax.random.key(0))
    image = np.random.default_rng(0).normal(size=(4, 5, 2))
    padded = np.pad(image, [(1, 1), (1, 1), (0, 0)])
    kernel = np.asarray(conv.weight).reshape(3, 3, 2)
    direct = [[(padded[i : i + 3, j : j + 3] * kernel).sum() for j in range(5)] for i in range(4)]
    np.testing.assert_allclose(conv(jnp.asarray(image))[..., 0], direct, rtol=1e-10)


def test_convnet_refuses_a_table():
    with pytest.raises(SpecError, match="use an 'mlp'"):
        model_of(ConvNet(), Categorical(), 3, 5, None)


def test_dropout_keeps_the_mean_and_is_off_without_a_key():
    model = build(likelihoods.poisson(), MLPNet, 3, 1, (200,), ACTIVATIONS["relu"])
    theta = model.init(jax.random.key(0))
    x = jnp.ones((4000, 3))
    dropped = model.predict_dropped(theta, x, jnp.asarray(0.3), jax.random.key(1))[:, 0]
    plain = float(model.predict(theta, x[:1])[0, 0])
    assert float(dropped.std()) > 0
    assert abs(float(dropped.mean()) - plain) < 4 * float(dropped.std()) / np.sqrt(len(dropped))
    np.testing.assert_allclose(
        model.predict_dropped(theta, x, jnp.asarray(0.0), jax.random.key(1))[:, 0], plain, rtol=1e-10
    )
