"""From a formula, or from none, to the Bambi model that a learner means."""

from typing import Any

import bambi as bmb
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
from bambi.model_components import DistributionalComponent
from scipy.special import expit, logit

from models.data.dataset import Part, Split
from models.glm.design import NAMESPACE, call_in_empty_namespace, quietly
from models.glm.stated import checked, checked_formula
from models.joint.build import family_of
from models.joint.null import Null
from models.spec.formula_grammar import RESPONSE
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical, Likelihood, StudentT
from models.spec.priors import Flat, Normal
from models.spec.settings import SpecError

SLOPES = "slope"
"""The term that holds all columns where no formula is given."""
EXTRAS = ("log_sigma", "log_alpha")
"""The families' own parameters."""

_FAMILIES = {
    "categorical": "categorical",
    "bernoulli": "bernoulli",
    "gaussian": "gaussian",
    "student-t": "t",
    "poisson": "poisson",
    "negative-binomial": "negativebinomial",
}


def additive_model(learner: Learner, split: Split) -> bmb.Model:
    """Build the GLM on all design columns: eta = x W + b.

    Its joint density is `models.joint.model.log_joint` of a `LinearNet` with the same likelihood and prior. The columns
    are one matrix-valued term, as a term of its own for each would multiply the time to compile.

    Raises:
        SpecError: see `checked`.
    """
    likelihood, prior = checked(learner)
    eta, extra = _null(likelihood, split)
    model = bmb.Model(
        f"`{RESPONSE}` ~ design()",
        pd.DataFrame({RESPONSE: _response(likelihood, split.train)}),
        family=_FAMILIES[likelihood.kind],
        link=_link(likelihood),
        priors={
            **_extras(likelihood, extra),
            "Intercept": _intercept(likelihood, prior, eta),
            "design()": _normal(prior, len(split.columns)),
        },
        auto_scale=False,
        center_predictors=False,
        extra_namespace={"design": lambda: split.train.x},
    )
    model.set_alias({"design()": SLOPES})
    model.build()
    return model


def formula_model(learner: Learner, split: Split) -> bmb.Model:
    """Build the GLM that the learner's formula names, over the design's columns and the factors.

    Common effects have the learner's prior, with the number of their columns as fan-in. Group-specific effects, such as
    `(1|school)`, are N(0, tau^2) with tau ~ half-normal(`scale`); under a flat prior tau ~ half-normal(1), as flat tau
    need not have a proper posterior.

    Raises:
        SpecError: a formula that may not or cannot be evaluated (see `design.design_of`); see also `checked`.
    """
    likelihood, prior = checked(learner)
    text, design = checked_formula(learner, split)
    data = design.data.assign(**{RESPONSE: _response(likelihood, split.train)})
    start, extra = _null(likelihood, split)
    try:
        with quietly():
            model = call_in_empty_namespace(
                bmb.Model,
                {
                    "formula": text,
                    "data": data,
                    "family": _FAMILIES[likelihood.kind],
                    "link": _link(likelihood),
                    "priors": _extras(likelihood, extra),
                    "auto_scale": False,
                    "center_predictors": False,
                    "extra_namespace": NAMESPACE,
                },
            )
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise SpecError(f"learner {learner.name!r}: the formula cannot be evaluated: {error}") from None
    eta = linear_predictor(model)
    width = sum(np.atleast_2d(term.data.T).shape[0] for term in eta.common_terms.values())
    tau = bmb.Prior("HalfNormal", sigma=prior.scale if isinstance(prior, Normal) else 1.0)
    group = bmb.Prior("Normal", mu=0.0, sigma=tau)
    priors = {"common": _normal(prior, max(width, 1)), "group_specific": group}
    if eta.intercept_term is not None:
        priors["Intercept"] = _intercept(likelihood, prior, start)
    model.set_priors(priors=priors)
    model.build()
    return model


def linear_predictor(model: bmb.Model) -> DistributionalComponent:
    """The component that holds the terms of eta."""
    assert model.family is not None
    return model.parameters[model.family.likelihood.parent]


def pymc_model(model: bmb.Model) -> pm.Model:
    """What PyMC samples."""
    assert model.backend is not None and model.backend.model is not None
    return model.backend.model


def _response(likelihood: Likelihood, part: Part) -> np.ndarray | pd.Categorical:
    return pd.Categorical(part.y) if isinstance(likelihood, Categorical) else part.y


def _link(likelihood: Likelihood) -> dict[str, bmb.Link] | None:
    """Bambi's own logit keeps probabilities above 2e-16, which bends the density where the odds are long."""
    if likelihood.kind != "bernoulli":
        return None
    return {"p": bmb.Link("unclipped logit", link=logit, linkinv=expit, linkinv_backend=pt.sigmoid)}


def _null(likelihood: Likelihood, split: Split) -> Null:
    """The natural parameters and the likelihood's own of the null model, about which priors are centred."""
    family = family_of(likelihood, split.n_classes)
    assert family.null is not None
    return family.null(split.train.y)


def _intercept(likelihood: Likelihood, prior: Normal | Flat, eta: np.ndarray) -> bmb.Prior:
    """About the null model's natural parameters, or flat and started there."""
    if isinstance(likelihood, Categorical):
        # Bambi would take the start of one class's intercept for a scalar; logits are never far from 0.
        centre, flat = eta, bmb.Prior("Flat")
    else:
        centre, flat = float(eta[0]), bmb.Prior("Flat", initval=float(eta[0]))
    if isinstance(prior, Flat):
        return flat
    return bmb.Prior("Normal", mu=centre, sigma=float(prior.bias_scale))


def _normal(prior: Normal | Flat, fan_in: int) -> bmb.Prior:
    """The prior of a slope among `fan_in`."""
    # PyMC has been seen to take integers for another distribution's: all numbers are floats.
    match prior:
        case Normal(scale=scale, scaling=scaling):
            return bmb.Prior("Normal", mu=0.0, sigma=scale / fan_in**0.5 if scaling == "fan-in" else float(scale))
        case Flat():
            return bmb.Prior("Flat")


def _extras(likelihood: Likelihood, centre: np.ndarray) -> dict[str, bmb.Prior | float]:
    """Sigma or alpha through its logarithm, which is N(centre, 1); the degrees of freedom as they are stated."""

    def through_logarithm(name: str) -> Any:
        log = pm.Normal(f"log_{name}", mu=float(centre[0]), sigma=1.0)
        return pm.Deterministic(name, pt.exp(log))

    positive = bmb.Prior("LogNormal", dist=through_logarithm)
    match likelihood.kind:
        case "gaussian":
            return {"sigma": positive}
        case "student-t":
            assert isinstance(likelihood, StudentT)
            # A plain 4.0 would become a float32 constant.
            return {"sigma": positive, "nu": np.float64(likelihood.degrees)}
        case "negative-binomial":
            return {"alpha": positive}
        case _:
            return {}
