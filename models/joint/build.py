"""From a spec to the functions it names: the model over a flat vector and its prior's scales."""

import numpy as np

from models.joint import likelihoods, priors
from models.joint.likelihoods import Family
from models.joint.model import Model, build
from models.predictors.convnet import ConvolutionalNet
from models.predictors.linear import LinearNet
from models.predictors.mlp import ACTIVATIONS, MLPNet
from models.spec.inference import HMC, NUTS, Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    Likelihood,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from models.spec.predictors import MLP, ConvNet, Formula, Linear, Predictor
from models.spec.priors import Flat
from models.spec.settings import SpecError

MOST_PARAMETERS = 10**8
MOST_DRAWN_BYTES = 16 * 2**30
_BYTES = 4  # of a parameter


def family_of(likelihood: Likelihood, n_classes: int) -> Family:
    """The functions of a likelihood."""
    match likelihood:
        case Categorical(coding=coding):
            return likelihoods.categorical(n_classes, reference=coding == "reference")
        case Bernoulli():
            return likelihoods.bernoulli()
        case Gaussian():
            return likelihoods.gaussian()
        case HeteroscedasticGaussian():
            return likelihoods.heteroscedastic_gaussian()
        case StudentT(degrees=degrees):
            return likelihoods.student_t(degrees)
        case Poisson():
            return likelihoods.poisson()
        case NegativeBinomial():
            return likelihoods.negative_binomial()


def model_of(
    predictor: Predictor, likelihood: Likelihood, n_classes: int, n_inputs: int, shape: tuple[int, ...] | None
) -> Model:
    """The flat model of a net or a GLM, the same object for the same arguments, so that programs are found again.

    Raises:
        SpecError: a conv net for a table, which has no neighbouring pixels, or more than `MOST_PARAMETERS` parameters.
    """
    model = _model_of(predictor, likelihood, n_classes, n_inputs, shape)
    if model.n_parameters > MOST_PARAMETERS:
        raise SpecError(
            f"it would have {model.n_parameters:,} parameters, and {MOST_PARAMETERS:,} is the most: make it narrower"
        )
    return model


def _model_of(
    predictor: Predictor, likelihood: Likelihood, n_classes: int, n_inputs: int, shape: tuple[int, ...] | None
) -> Model:
    family = family_of(likelihood, n_classes)
    k = family.n_outputs
    match predictor:
        case Linear() | Formula():
            return build(family, LinearNet, n_inputs, k)
        case MLP(widths=widths, activation=activation):
            return build(family, MLPNet, n_inputs, k, widths, ACTIVATIONS[activation])
        case ConvNet() as p:
            if shape is None:
                raise SpecError("a convnet needs images or sequences; this dataset is a table: use an 'mlp'")
            activation = ACTIVATIONS[p.activation]
            return build(family, ConvolutionalNet, shape, k, p.channels, p.kernel, p.width, activation)
        case _:
            raise SpecError(f"predictor {predictor.kind!r} is a black box: it has no parameter vector")


def check_draws(learner: Learner, model: Model) -> None:
    """Refuse more draws than a worker can hold.

    Raises:
        SpecError: the draws of all chains of a run would have more than `MOST_DRAWN_BYTES`.
    """
    inference = learner.inference
    if not isinstance(inference, NUTS | HMC):
        return
    size = inference.chains * inference.draws * model.n_parameters * _BYTES
    if size > MOST_DRAWN_BYTES:
        fewer = MOST_DRAWN_BYTES // (inference.chains * model.n_parameters * _BYTES)
        raise SpecError(
            f"{inference.chains:,} chains of {inference.draws:,} draws of {model.n_parameters:,} parameters would have "
            f"{size / 2**30:,.0f} GiB, and {MOST_DRAWN_BYTES // 2**30} is the most: "
            + (f"set inference.draws to {fewer:,} or fewer" if fewer else "make the net narrower")
        )


def prior_scales(learner: Learner, model: Model, n_rows: int) -> np.ndarray:
    """(p,) standard deviations of the Gaussian prior over theta that is stated, by prior or by weight decay."""
    if not isinstance(learner.prior, Flat):
        p = learner.prior
        return priors.normal_scales(model, p.scale, p.bias_scale, fan_in=p.scaling == "fan-in")
    if isinstance(learner.inference, Optimise):
        return priors.decay_scales(model, learner.inference.weight_decay, n_rows)
    return priors.flat_scales(model)
