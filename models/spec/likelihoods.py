"""Likelihoods: the law of a target given eta, and which go with which task."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from models.spec.settings import Positive, Settings, Task


class Categorical(Settings):
    """Softmax over K classes.

    `softmax` has K logits; `reference` has K - 1 and holds the first class's at 0, as statisticians code it.
    """

    kind: Literal["categorical"] = "categorical"
    coding: Literal["softmax", "reference"] = "softmax"


class Bernoulli(Settings):
    """Two classes, one logit."""

    kind: Literal["bernoulli"] = "bernoulli"


class Gaussian(Settings):
    """Normal with one noise scale for all rows, learned as log sigma; `models.joint.noise` has the floor of an
    estimate's.
    """

    kind: Literal["gaussian"] = "gaussian"


class HeteroscedasticGaussian(Settings):
    """Normal whose mean and log sigma both depend on the input."""

    kind: Literal["heteroscedastic-gaussian"] = "heteroscedastic-gaussian"


class StudentT(Settings):
    """Student's t with `degrees` of freedom and one learned scale."""

    kind: Literal["student-t"] = "student-t"
    degrees: Positive = 4.0


class Poisson(Settings):
    """Counts with log rate eta."""

    kind: Literal["poisson"] = "poisson"


class NegativeBinomial(Settings):
    """Counts with log mean eta and one learned dispersion alpha: variance mu + mu^2 / alpha."""

    kind: Literal["negative-binomial"] = "negative-binomial"


Likelihood = Annotated[
    Categorical | Bernoulli | Gaussian | HeteroscedasticGaussian | StudentT | Poisson | NegativeBinomial,
    Field(discriminator="kind"),
]

LIKELIHOODS_OF: Mapping[Task, tuple[str, ...]] = {
    "classes": ("categorical", "bernoulli"),
    "real": ("gaussian", "heteroscedastic-gaussian", "student-t"),
    "count": ("poisson", "negative-binomial"),
}
