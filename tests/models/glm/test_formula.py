"""What Bambi builds is what `models.joint.model` says, and what cannot be built is refused in words."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.glm.design import design_of
from models.glm.formula import additive_model, formula_model, pymc_model
from models.glm.sampling import XLA
from models.glm.stated import checked_formula
from models.joint.build import model_of, prior_scales
from models.joint.model import log_joint
from models.joint.priors import null_centre
from models.spec.likelihoods import Categorical, Gaussian, NegativeBinomial
from models.spec.priors import Flat, Normal
from models.spec.settings import SpecError
from tests.support.glm_problems import FAMILIES, learner, random_split

pytestmark = pytest.mark.usefixtures("float64")


def in_order_of(pymc, theta, k, d):
    """The flat vector in the order of PyMC's own."""
    weights, bias, extra = theta[: k * d].reshape(k, d), theta[k * d : k * d + k], theta[k * d + k :]
    values = {"Intercept": bias, "slope": weights.T, "log_sigma": extra, "log_alpha": extra}
    return np.concatenate([values[v.name].ravel() for v in pymc.value_vars])


WIDE, CONSTANT = Normal(scale=2, bias_scale=3), Normal(scaling="constant")
CASES = [(family, prior, 3) for family in FAMILIES for prior in (WIDE, Flat())]
CASES.remove(("negative-binomial", Flat(), 3))  # refused: see below
CASES += [("gaussian", CONSTANT, 1), ("categorical", CONSTANT, 1)]


@pytest.mark.parametrize(("family", "prior", "d"), CASES)
def test_joint_and_gradient_are_those_of_the_flat_model(family, prior, d):
    likelihood, _, n_classes = FAMILIES[family]
    split, spec = random_split(family, d=d), learner(likelihood, prior=prior)
    ours = model_of(spec.predictor, likelihood, n_classes, d, None)
    scales, centre = jnp.asarray(prior_scales(spec, ours, 40)), jnp.asarray(null_centre(ours, split.train.y))
    x, y = jnp.asarray(split.train.x), jnp.asarray(split.train.y)
    k = ours.family.n_outputs
    pymc = pymc_model(additive_model(spec, split))
    value_and_gradient = pymc.logp_dlogp_function(ravel_inputs=True, mode=XLA)._pytensor_function

    def joint(theta):
        return log_joint(ours, theta, scales, x, y, centre)

    # Among classes the last point has probabilities that underflow.
    rng = np.random.default_rng(1)
    for size in (0.3, 1.0, 300.0 if n_classes else 5.0):
        theta = rng.normal(size=ours.n_parameters) * size
        theta[ours.n_weights :] /= size
        value, gradient = value_and_gradient(in_order_of(pymc, theta, k, d))
        expected = in_order_of(pymc, np.asarray(jax.grad(joint)(jnp.asarray(theta))), k, d)
        np.testing.assert_allclose(value, joint(jnp.asarray(theta)), rtol=1e-9)
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


def refusal(likelihood, formula=None, prior=None, columns=None, factors=None):
    split = random_split("gaussian", factors=factors)
    if columns:
        split = split.__class__(**{**split.__dict__, "columns": columns})
    check = partial(design_of, formula) if formula else partial(additive_model, learner(likelihood, prior=prior))
    with pytest.raises(SpecError) as caught:
        check(split)
    return str(caught.value)


def test_formula_with_an_unknown_column_offers_near_names():
    message = refusal(Gaussian(), "x0 + incone", columns=("x0", "income", "x2"))
    assert "'x0 + incone'" in message and "'incone'" in message and "did you mean 'income'" in message


def test_formula_with_a_column_like_none_lists_the_columns():
    assert "the columns are 'x0', 'x1', 'x2'" in refusal(Gaussian(), "(1|wholly_else)")


def test_formula_that_cannot_be_read_is_named():
    for formula in ("x0 + ", "x0 +* x1", "x0 $ x1", "x0 + (x1"):
        message = refusal(Gaussian(), formula)
        assert repr(formula) in message and "cannot be read" in message


def test_formula_with_a_left_side_is_refused():
    assert "without '~'" in refusal(Gaussian(), "y ~ x0")


def test_formula_without_terms_is_refused():
    assert "the intercept alone is '1'" in refusal(Gaussian(), "0")


@pytest.mark.parametrize("call", ["os.system('true')", "np.load(x0)", "open(x0)", "log(eval ('os'))"])
def test_formula_cannot_call_what_is_not_listed(call):
    message = refusal(Gaussian(), f"x0 + {call}")
    assert "it may call" in message and "standardize" in message


@pytest.mark.parametrize(
    "call", ["(os.system)('true')", "log(x0)('true')", "os.system`('true')", "log(__import__ ('os'))", "x0 ('a') ('b')"]
)
def test_formula_cannot_call_what_has_no_plain_name(call):
    assert "cannot be read" in refusal(Gaussian(), f"x0 + {call}")


def test_formula_whose_terms_are_not_finite_is_refused():
    with np.errstate(invalid="ignore"):
        message = refusal(Gaussian(), "log(x0)")
    assert "'log(x0)'" in message and "standardised" in message


def test_formula_whose_column_is_called_as_a_parameter_is_refused():
    split = replace(random_split("gaussian"), columns=("x0", "sigma", "x2"))
    with pytest.raises(SpecError, match="rename the column"):
        checked_formula(learner(Gaussian(), "sigma"), split)


def test_softmax_coding_is_refused():
    assert "likelihood.coding to 'reference'" in refusal(Categorical())


def test_negative_binomial_under_a_flat_prior_is_refused():
    said = refusal(NegativeBinomial(), prior=Flat())
    assert "only where the data bound every coefficient; set prior.kind to 'normal'" in said


def test_group_effects_have_their_own_scale_and_common_ones_the_prior():
    factors = {"g": np.array(["a", "b"] * 20, object)}
    spec = learner(Gaussian(), "x0 + x1 + (1|g)", Normal(scale=3, bias_scale=5))
    split = random_split("gaussian", factors=factors)
    built = formula_model(spec, split)
    priors = {name: str(term.prior) for name, term in built.parameters["mu"].terms.items()}
    assert priors["Intercept"] == f"Normal(mu: {split.train.y.mean():.4f}, sigma: 5.0)"
    assert priors["x0"] == priors["x1"] == "Normal(mu: 0.0, sigma: 2.1213)"
    assert priors["1|g"] == "Normal(mu: 0.0, sigma: HalfNormal(sigma: 3.0))"
