"""Predictors: from a row's design columns to the natural parameters eta."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from models.spec.settings import Count, Positive, Settings

Activation = Literal["relu", "tanh", "gelu", "silu", "softplus"]
Width = Annotated[int, Field(ge=1, le=100_000)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=100)]


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
