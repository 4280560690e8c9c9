"""What a measure is: where it is taken, what it returns, and what is said of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.landscape import Landscape
from models.spec.settings import Settings

Family = Literal["curvature", "sharpness", "norm", "margin", "pac-bayes", "bayesian", "path"]
Invariance = Literal["rescaling", "permutation", "none"]


class NotApplicableError(ValueError):
    """A measure that has no meaning here; the message says why, and what would have one."""


class Point(NamedTuple):
    """One parameter vector of one run.

    Attributes:
        scales: (p,) prior standard deviations, infinite where flat.
        key: the randomness of this point's estimates.
        centre: (p,) of the prior.
        initial: (p,) the parameters before training; None where the fit had no start of its own.
    """

    landscape: Landscape
    theta: Float[Array, " p"]
    scales: Float[Array, " p"] | np.ndarray
    key: PRNGKeyArray
    initial: Float[Array, " p"] | None = None
    centre: Array | np.ndarray = np.zeros(())


class Estimate(NamedTuple):
    """A number, or one for each of the measure's components.

    Attributes:
        value: () or (k,); NaN where it did not converge, which is how that is told.
        standard_error: likewise; 0 for values without chance.
        n_products: curvature-vector products that it took, and gradients where it takes these; 0 for dense algebra.
    """

    value: Float[Array, "*k"] | float | np.ndarray
    standard_error: Float[Array, "*k"] | float | np.ndarray
    n_products: Int[Array, ""] | int


class Profile(NamedTuple):
    """A curve over x, or a surface over x and y, as (g,) columns: a spectral density, a slice of the loss."""

    x: Float[Array, " g"] | np.ndarray
    value: Float[Array, " g"] | np.ndarray
    standard_error: Float[Array, " g"] | np.ndarray
    n_products: Int[Array, ""] | int
    y: Float[Array, " g"] | np.ndarray | None = None


class NoSettings(Settings):
    """A measure without settings."""


def _whole(point: Point, settings: Any) -> tuple[str, ...]:
    del point, settings
    return ("",)


def _always(point: Point, settings: Any) -> bool:
    del point, settings
    return True


@dataclass(frozen=True)
class Definition:
    """One measure of the catalogue.

    Attributes:
        about: one line: what it is, its unit and reduction.
        compute: the measure at a point under its settings. Raises `NotApplicableError`; where it is traced, that rests
            on the model, the shapes and the settings alone.
        settings: the record of its settings; all have defaults.
        invariance: what leaves it unchanged: "rescaling" (of homogeneous layers, and permutations of units too),
            "permutation" (alone) or "none".
        larger: what a larger value stands for.
        components: names of the k entries of an `Estimate`, such as the layers; one empty name for a scalar.
        traced: whether `compute` can be traced at this point, and so run in one program for many; otherwise it is
            called with concrete arrays, one point at a time.
    """

    name: str
    family: Family
    about: str
    compute: Callable[[Point, Any], Estimate | Profile]
    invariance: Invariance
    larger: Literal["sharper", "flatter", "more complex", "simpler", "neither"]
    settings: type[Settings] = NoSettings
    components: Callable[[Point, Any], tuple[str, ...]] = _whole
    traced: Callable[[Point, Any], bool] = _always
