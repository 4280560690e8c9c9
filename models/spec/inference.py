"""Ways of inference: optimisers, samplers, and a library's own fit."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.spec.settings import Count, NonNegative, Positive, Settings, Share

_MOST_DRAWS = 10**6  # of all chains of a run


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
