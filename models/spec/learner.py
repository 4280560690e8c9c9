"""The settings of a learner, as frozen records: predictor x likelihood x prior x inference.

A spec is data, never code. YAML or JSON goes in, canonical JSON comes out, and its hash is stable: two specs hash alike
exactly when they mean the same fit.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from models.spec.settings import Count, NonNegative, Positive, Settings, Share, SpecError

SCHEMA_VERSION = 4
_MOST_DRAWS = 10**6  # of all chains of a run

Task = Literal["classes", "real", "count"]
Kind = Literal["deterministic", "bayesian-net", "glm", "baseline"]
Activation = Literal["relu", "tanh", "gelu", "silu", "softplus"]
Width = Annotated[int, Field(ge=1, le=100_000)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=100)]


# --- predictors -------------------------------------------------------------------------------------------------------


class Linear(Settings):
    """Affine map of the design columns: eta = x W + b."""

    kind: Literal["linear"] = "linear"


class MLP(Settings):
    """Fully connected net; one hidden layer per entry of `widths`."""

    kind: Literal["mlp"] = "mlp"
    widths: Widths = (32, 32)
    activation: Activation = "relu"


class ConvNet(Settings):
    """Convolution, activation and max-pooling by 2 per entry of `channels`, then one hidden layer of `width`.

    Convolves in one or two dimensions, as the input has.
    """

    kind: Literal["convnet"] = "convnet"
    channels: Widths = (8, 16)
    kernel: Width = 3
    width: Width = 32
    activation: Activation = "relu"


class Formula(Settings):
    """A GLM's linear predictor as a formula over the design columns and the factors; None is all columns, additive."""

    kind: Literal["formula"] = "formula"
    formula: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("formula")
    @classmethod
    def _allowed(cls, formula: str | None) -> str | None:
        if formula is not None:
            from models.spec.formula_grammar import read  # a second to import, and most learners have no formula

            read(formula)
        return formula


class SupportVectors(Settings):
    """Support vector machine with an RBF kernel; class probabilities are calibrated by cross-fitted Platt scaling."""

    kind: Literal["svm"] = "svm"
    c: Positive = 10.0
    gamma: Positive | Literal["scale", "auto"] = "scale"


class BoostedTrees(Settings):
    """Histogram gradient boosting of regression trees.

    `min_leaf` None is a tenth of the training rows, at most 20, so that small tables can be split at all.
    """

    kind: Literal["boosted-trees"] = "boosted-trees"
    learning_rate: Positive = 0.1
    max_rounds: Annotated[int, Field(ge=1, le=100_000)] = 200
    max_leaves: Annotated[int, Field(ge=2, le=100_000)] = 31
    min_leaf: Count | None = None


Net = Linear | MLP | ConvNet
BlackBox = SupportVectors | BoostedTrees
Predictor = Annotated[Linear | MLP | ConvNet | Formula | SupportVectors | BoostedTrees, Field(discriminator="kind")]

# --- likelihoods ------------------------------------------------------------------------------------------------------


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
    """Normal with one noise scale for all rows, learned as log sigma; `models.fitting.noise` has the floor of an
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

# --- priors -----------------------------------------------------------------------------------------------------------


class Normal(Settings):
    """Independent N(0, s^2) over weights.

    s = `scale` for constant scaling and `scale` / sqrt(fan-in) for fan-in; biases have `bias_scale`. The
    likelihood's own parameters (log sigma, log alpha) have the scale 1. All are centred at the null
    model (`models.joint.null`), the last biases at its natural parameters, so that eta is as free on counts of
    millions as on numbers about 0.
    """

    kind: Literal["normal"] = "normal"
    scale: Positive = 1.0
    scaling: Literal["fan-in", "constant"] = "fan-in"
    bias_scale: Positive = 1.0


class Flat(Settings):
    """No prior of its own: the weight decay, where there is one, is the prior N(0, 1 / (n * weight_decay))."""

    kind: Literal["flat"] = "flat"


Prior = Annotated[Normal | Flat, Field(discriminator="kind")]

# Weakly informative: eta's prior sd is 2.5 for an average standardised row, however many columns there are.
GLM_PRIOR = Normal(scale=2.5, scaling="fan-in", bias_scale=2.5)

# --- inference --------------------------------------------------------------------------------------------------------


class Constant(Settings):
    """The same learning rate throughout."""

    kind: Literal["constant"] = "constant"


class Cosine(Settings):
    """From the learning rate to zero along half a cosine, after `warmup` (share of all steps) of linear increase."""

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Plateau(Settings):
    """Multiply the learning rate by `factor` when the validation loss has not improved for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Share = 0.1
    patience: Count = 10


Schedule = Annotated[Constant | Cosine | Plateau, Field(discriminator="kind")]


class Optimise(Settings):
    """Minimise mean negative log-likelihood - log prior / n + weight_decay / 2 * |weights|^2.

    `weight_decay` w on a flat prior is the Gaussian prior N(0, 1 / (n w)) over the weights. `adamw` decouples it from
    the gradient (Loshchilov and Hutter 2019), and then it is a prior in name only. `batch_size` None is the full batch.
    `clip` scales a longer gradient down to this Euclidean norm.
    `patience` stops a run when the validation loss has not improved for as many epochs, and keeps the best epoch's
    parameters. `lbfgs` is full batch, float64, and stops by its gradient: the convex control.
    """

    method: Literal["optimise"] = "optimise"
    optimiser: Literal["sgd", "adam", "adamw", "lbfgs"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Schedule = Cosine()
    epochs: Count = 100
    batch_size: Count | None = 32
    weight_decay: NonNegative = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip: Positive | None = None
    patience: Count | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Optimise":
        if self.optimiser == "lbfgs":
            for name in ("batch_size", "patience"):
                if getattr(self, name) is not None:
                    raise ValueError(f"lbfgs takes the full batch to convergence: set {name} to null")
            if self.dropout:
                raise ValueError("lbfgs needs a deterministic loss: set dropout to 0")
        return self


class _Chains(Settings):
    """What all samplers share."""

    chains: Annotated[int, Field(ge=1, le=1000)] = 4
    warmup: Count = 200
    draws: Count = 200

    @model_validator(mode="after")
    def _bounded(self) -> "_Chains":
        if self.chains * self.draws > _MOST_DRAWS:
            raise ValueError(
                f"{self.chains:,} chains of {self.draws:,} draws are {self.chains * self.draws:,} draws of the "
                f"posterior, and {_MOST_DRAWS:,} is the most: set draws to {_MOST_DRAWS // self.chains:,} or fewer"
            )
        return self


class _Sample(_Chains):
    """What all samplers of a net's log joint share; chains start from members optimised by `init`."""

    target_accept: Share = 0.8
    init: Optimise = Optimise(optimiser="adam", learning_rate=5e-3, epochs=60, batch_size=64)
    keep_draws: bool = True
    chunk: Count = 25


class NUTS(_Sample):
    """No-U-turn sampler (Hoffman and Gelman 2014) by NumPyro, diagonal mass matrix."""

    method: Literal["nuts"] = "nuts"
    max_tree_depth: Annotated[int, Field(ge=1, le=15)] = 6


class HMC(_Sample):
    """Hamiltonian Monte Carlo by NumPyro with a fixed number of leapfrog steps."""

    method: Literal["hmc"] = "hmc"
    steps: Count = 50


class PyMC(_Chains):
    """PyMC's own NUTS on the model that Bambi builds from the formula."""

    method: Literal["pymc"] = "pymc"
    warmup: Count = 500
    draws: Count = 500
    target_accept: Share = 0.8
    max_tree_depth: Annotated[int, Field(ge=1, le=15)] = 10


class Library(Settings):
    """The library's own fit of a black box."""

    method: Literal["library"] = "library"


Inference = Annotated[Optimise | NUTS | HMC | PyMC | Library, Field(discriminator="method")]

# --- learner ----------------------------------------------------------------------------------------------------------

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


def canonical_json(value: Settings | Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces: equal specs give equal text."""
    data = value.model_dump(mode="json") if isinstance(value, Settings) else value
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Settings | Mapping[str, Any]) -> str:
    """First 128 bits of the SHA-256 of the canonical JSON, in hexadecimal."""
    return digest_text(canonical_json(value))


def digest_text(text: str) -> str:
    """First 128 bits of the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
