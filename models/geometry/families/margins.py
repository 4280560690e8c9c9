"""Margins of the training rows: by how much the observed class beats the next best, in logits.

    margin_i = log p(y_i | x_i) - max_{c != y_i} log p(c | x_i) = eta_{y_i} - max_{c != y_i} eta_c

Differences of log probabilities are differences of logits, so that all codings of the classes agree: one logit eta of
two classes has margin +-eta, and a reference class has the logit 0. A row that is misclassified has a negative margin
and stays in, and a tie has 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.geometry.definition import Definition, Estimate, NoSettings, NotApplicableError, Point
from models.geometry.families.norms import spectral_norms
from models.geometry.landscape import Landscape

QUANTILES = (0.05, 0.1, 0.25, 0.5)


def class_count(landscape: Landscape) -> int:
    """K, the number of classes.

    Raises:
        NotApplicableError: a target that is not classes.
    """
    family = landscape.model.family
    if family.probabilities is None:
        raise NotApplicableError(
            f"margins and errors need classes, and the target's likelihood is {family.name}: "
            "use a norm of the weights, 'fisher_rao_norm', or 'pac_bayes_sigma' with on: loss"
        )
    eta, extra = jnp.zeros((1, family.n_outputs)), jnp.zeros(len(family.extras))
    return jax.eval_shape(family.probabilities, eta, extra).shape[1]


def margins(landscape: Landscape, theta: Float[Array, " p"]) -> Float[Array, " n"]:
    """The margin of each row.

    Raises:
        NotApplicableError: a target that is not classes.
    """
    family = landscape.model.family
    classes = jnp.arange(class_count(landscape), dtype=landscape.y.dtype)
    eta, extra = landscape.model.predict(theta, landscape.x), landscape.model.extra(theta)
    log_p = jax.vmap(lambda c: family.log_density(eta, extra, jnp.full_like(landscape.y, c)), out_axes=1)(classes)
    observed = landscape.y[:, None] == classes
    # The sum over the one observed class, which keeps a NaN.
    own = jnp.sum(jnp.where(observed, log_p, 0.0), axis=1)
    return own - jnp.max(jnp.where(observed, -jnp.inf, log_p), axis=1)


def training_error(landscape: Landscape, theta: Float[Array, " p"]) -> Float[Array, ""]:
    """Share of the rows whose class is not strictly the most probable; rows whose logits overflow are errors.

    Raises:
        NotApplicableError: a target that is not classes.
    """
    return jnp.mean(jnp.where(margins(landscape, theta) > 0.0, 0.0, 1.0).astype(theta.dtype))


def _quantiles(margins: Float[Array, " n"]) -> Float[Array, " q"]:
    return jnp.quantile(margins, jnp.asarray(QUANTILES, margins.dtype))


def _names(point: Point, settings: NoSettings) -> tuple[str, ...]:
    del point, settings
    return tuple(f"quantile {q:g}" for q in QUANTILES)


def _margin(point: Point, settings: NoSettings) -> Estimate:
    del settings
    return Estimate(_quantiles(margins(point.landscape, point.theta)), 0.0, 1)


def _normalised_margin(point: Point, settings: NoSettings) -> Estimate:
    """Margins over (root mean square of |x|) prod_l s_l, s_l the spectral norms (Bartlett et al. 2017, section 2).

    Without their sum over layers, see `log_spectral_complexity`, it is the margin over how far the net, biases aside,
    could spread its outputs at all. In logarithms, since the product overflows before the quotient does.
    """
    del settings
    landscape = point.landscape
    scale = 0.5 * jnp.log(jnp.mean(jnp.sum(jnp.square(landscape.x), axis=1)))
    scale += jnp.sum(jnp.log(spectral_norms(landscape.model, point.theta)))
    return Estimate(_quantiles(margins(landscape, point.theta)) * jnp.exp(-scale), 0.0, 1)


def _inverse_margin(point: Point, settings: NoSettings) -> Estimate:
    """Jiang et al. (2020), equation 22: one over the square of the margins' tenth percentile.

    Where that is not positive the measure has no value: its square would call a net that errs more the simpler one.
    """
    del settings
    tenth = jnp.quantile(margins(point.landscape, point.theta), 0.1)
    return Estimate(jnp.where(tenth > 0.0, 1.0 / jnp.square(tenth), jnp.nan), 0.0, 1)


DEFINITIONS = (
    Definition(
        "margin",
        "margin",
        "quantiles over training rows of the observed class's logit minus the next best",
        _margin,
        "rescaling",
        "simpler",
        components=_names,
    ),
    Definition(
        "normalised_margin",
        "margin",
        "quantiles of the margins, divided by the root mean square of |x| and by the product of spectral norms",
        _normalised_margin,
        "rescaling",
        "simpler",
        components=_names,
    ),
    Definition(
        "inverse_margin",
        "margin",
        "1 / squared tenth percentile of the margins; no value where a tenth of the training rows is misclassified",
        _inverse_margin,
        "rescaling",
        "more complex",
    ),
)
