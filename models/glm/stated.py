"""What a learner with a formula states, checked as far as can be before a model is built."""

import numpy as np
from formulae.matrices import DesignMatrices
from formulae.terms import Term

from models.data.dataset import Split
from models.glm.design import design_of, display
from models.spec.formula_grammar import shown
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical, Likelihood, NegativeBinomial
from models.spec.predictors import Formula
from models.spec.priors import Flat, Normal
from models.spec.settings import SpecError

# What Bambi and PyMC call by these names, so that no column of a formula may.
_OF_THE_MEAN = {"categorical": "p", "bernoulli": "p"}
_OF_THE_REST = {
    "gaussian": ("sigma", "log_sigma"),
    "student-t": ("sigma", "log_sigma", "nu"),
    "negative-binomial": ("alpha", "log_alpha"),
}


def checked(learner: Learner) -> tuple[Likelihood, Normal | Flat]:
    """The likelihood and the prior of a learner that a formula can have.

    Raises:
        SpecError: softmax coding, which has no reference class; a negative binomial under a flat prior, which has a
            posterior only where the data bound every coefficient.
    """
    likelihood, prior = learner.likelihood, learner.prior
    assert likelihood is not None, "resolve the learner first"
    if isinstance(likelihood, Categorical) and likelihood.coding == "softmax":
        raise SpecError(
            f"learner {learner.name!r}: a formula's classes are coded against the first one; "
            f"set likelihood.coding to 'reference'"
        )
    if isinstance(likelihood, NegativeBinomial) and isinstance(prior, Flat):
        raise SpecError(
            f"learner {learner.name!r}: a negative binomial is fitted under a proper prior alone, for a flat "
            f"one leaves a posterior only where the data bound every coefficient; "
            f"set prior.kind to 'normal'"
        )
    return likelihood, prior


def checked_formula(learner: Learner, split: Split) -> tuple[str, DesignMatrices]:
    """The learner's formula for Bambi and its design of the training part: what can be known before a model is built.

    Raises:
        SpecError: as `formula_model` does.
    """
    assert isinstance(learner.predictor, Formula) and learner.predictor.formula is not None
    likelihood, _ = checked(learner)
    formula = learner.predictor.formula
    text, design = design_of(formula, split)
    taken = {"Intercept", _OF_THE_MEAN.get(likelihood.kind, "mu"), *_OF_THE_REST.get(likelihood.kind, ())}
    for name in taken & {term.name for term in design.model.common_terms if isinstance(term, Term)}:
        raise SpecError(
            f"formula {shown(formula)} uses {name!r}, which is the name of a parameter of the {likelihood.kind} model: "
            "rename the column of that name"
        )
    if isinstance(likelihood, Categorical):
        _check_groups_of_classes(formula, design)
    return text, design


def _check_groups_of_classes(formula: str, design: DesignMatrices) -> None:
    """Bambi cannot build these."""
    for term in design.group.terms.values() if design.group else ():
        if np.ndim(term.expr.data) == 2 and np.shape(term.expr.data)[1] > 1:
            raise SpecError(
                f"formula {shown(formula)} has the term {display(term.name)!r}, several columns whose effects differ "
                "by group; for a categorical likelihood they must be single columns of numbers"
            )
