"""The settings of a learner, as frozen records: predictor x likelihood x prior x inference.

A spec is data, never code. YAML or JSON goes in, canonical JSON comes out, and its hash is stable: two specs hash alike
exactly when they mean the same fit.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from models.spec.inference import HMC, NUTS, Inference, Optimise
from models.spec.likelihoods import (
    LIKELIHOODS_OF,
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    Likelihood,
    NegativeBinomial,
)
from models.spec.predictors import BlackBox, Formula, Linear, Predictor
from models.spec.priors import GLM_PRIOR, Flat, Prior
from models.spec.settings import Kind, Settings, SpecError, Task

_INFERENCES_OF: Mapping[str, tuple[str, ...]] = {
    "linear": ("optimise", "nuts", "hmc"),
    "mlp": ("optimise", "nuts", "hmc"),
    "convnet": ("optimise", "nuts", "hmc"),
    "formula": ("pymc",),
    "svm": ("library",),
    "boosted-trees": ("library",),
}


class Learner(Settings):
    """A named combination. `likelihood` None is resolved by the data's task (see `resolve`).

    A learner that states no prior has the flat one where it is optimised, so that its weight decay alone holds it, and
    `GLM_PRIOR` where it is a formula, for under a flat prior many data sets have no proper posterior.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    predictor: Predictor
    likelihood: Likelihood | None = None
    prior: Prior = Flat()
    inference: Inference

    @property
    def kind(self) -> Kind:
        """Which of the four kinds the comparison speaks of."""
        if isinstance(self.predictor, BlackBox):
            return "baseline"
        if isinstance(self.predictor, Formula | Linear):
            return "glm"
        return "deterministic" if isinstance(self.inference, Optimise) else "bayesian-net"

    @model_validator(mode="before")
    @classmethod
    def _with_prior(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "prior" not in data:
            inference = data.get("inference")
            method = inference.get("method") if isinstance(inference, Mapping) else getattr(inference, "method", None)
            if method == "pymc":
                return {**data, "prior": GLM_PRIOR}
        return data

    @model_validator(mode="after")
    def _possible(self) -> "Learner":
        allowed = _INFERENCES_OF[self.predictor.kind]
        if self.inference.method not in allowed:
            raise ValueError(
                f"predictor {self.predictor.kind!r} cannot be fitted by {self.inference.method!r}: "
                f"set inference.method to {' or '.join(repr(a) for a in allowed)}"
            )
        if isinstance(self.inference, NUTS | HMC) and isinstance(self.prior, Flat):
            raise ValueError("sampling a net needs a proper prior: set prior.kind to 'normal'")
        if isinstance(self.inference, NUTS | HMC):
            if self.inference.init.weight_decay:
                raise ValueError("the prior already holds the weights back: set inference.init.weight_decay to 0")
            if self.inference.init.optimiser == "lbfgs":
                raise ValueError("lbfgs starts all chains alike: set inference.init.optimiser to 'adam' or 'sgd'")
        if isinstance(self.inference, Optimise):
            if self.inference.weight_decay and not isinstance(self.prior, Flat):
                raise ValueError("a weight decay is a Gaussian prior: state prior or weight_decay, not both")
            if self.inference.dropout and isinstance(self.predictor, Linear):
                raise ValueError("a linear predictor has no hidden units to drop: set inference.dropout to 0")
        if isinstance(self.predictor, BlackBox) and self.likelihood is not None:
            raise ValueError(f"{self.predictor.kind!r} has no likelihood to choose: leave likelihood out")
        return self


def resolve(learner: Learner, task: Task, n_classes: int) -> Learner:
    """Fill in the likelihood that the task asks for, and check a stated one against it.

    Classes: Bernoulli for two, else categorical (reference-coded where the predictor is a GLM's); real: Gaussian for
    GLMs, heteroscedastic Gaussian for nets; counts: negative binomial.

    Raises:
        SpecError: a stated likelihood that does not fit the target.
    """
    if isinstance(learner.predictor, BlackBox):
        return learner
    stated = learner.likelihood
    if stated is None:
        if task == "classes":
            coding = "reference" if learner.kind == "glm" else "softmax"
            chosen = Bernoulli() if n_classes == 2 else Categorical(coding=coding)
        elif task == "real":
            chosen = Gaussian() if learner.kind == "glm" else HeteroscedasticGaussian()
        else:
            chosen = NegativeBinomial()
        return learner.model_copy(update={"likelihood": chosen})
    if stated.kind not in LIKELIHOODS_OF[task] or (stated.kind == "bernoulli" and n_classes != 2):
        options = [k for k in LIKELIHOODS_OF[task] if k != "bernoulli" or n_classes == 2]
        what = f"{n_classes} classes" if task == "classes" else {"real": "real numbers", "count": "counts"}[task]
        raise SpecError(
            f"learner {learner.name!r}: likelihood {stated.kind!r} does not fit a target of {what}; "
            f"use {' or '.join(repr(o) for o in options)}, or state another --task"
        )
    if isinstance(learner.predictor, Formula) and stated.kind == "heteroscedastic-gaussian":
        raise SpecError(f"learner {learner.name!r}: a formula has one linear predictor; use 'gaussian' or 'student-t'")
    return learner
