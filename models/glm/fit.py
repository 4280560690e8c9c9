"""A Bayesian GLM: fitted by PyMC through Bambi, handed back as draws that predict."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import bambi as bmb
import numpy as np
import xarray as xr

from models.data.dataset import Part, Split
from models.glm.design import display, frame, quietly
from models.glm.formula import EXTRAS, SLOPES, additive_model, formula_model, linear_predictor, pymc_model
from models.glm.groups import CLASSES, effects_of, new_levels
from models.glm.sampling import Sampled, SamplingError, sample
from models.glm.watch import Arrays, Progress
from models.joint import propriety
from models.spec.inference import PyMC
from models.spec.learner import Learner
from models.spec.predictors import Formula
from models.spec.priors import Flat

INTERCEPT = "intercept"


class GLMFit(NamedTuple):
    """Draws of a GLM.

    Attributes:
        theta: (chain, draw, p) in the layout of `models.joint.model.Model` over a `LinearNet`: weights (k, d)
        row-major,
            biases (k,), the family's own parameters. None for a stated formula, whose terms are other than columns.
        eta: part -> (chain * draw, n, k) natural parameters, chain by chain.
        extra: (chain * draw, m) the family's own parameters.
        posterior: DataTree with `posterior` and `sample_stats`, by chain and draw. Classes are numbered by code; the
            first one's logit is 0, so it has no coefficients.
        n_parameters: free scalars that were sampled.
        compile_seconds: until the first draw; `sample_seconds` from then on.
        improper: why there is no proper posterior under the stated prior; None where there is.
    """

    theta: np.ndarray | None
    eta: Callable[[Part], np.ndarray]
    extra: np.ndarray
    posterior: xr.DataTree
    n_parameters: int
    compile_seconds: float
    sample_seconds: float
    warnings: tuple[str, ...]
    improper: str | None = None


def fit_formula(learner: Learner, split: Split, seed: int, progress: Progress, **how: Any) -> GLMFit:
    """Sample the posterior of a resolved learner with a `Formula` predictor, given the training part.

    Without a formula the joint density is exactly `models.joint.model.log_joint` with a `LinearNet` and the scales of
    `models.joint.build.prior_scales`. `progress` and `how` are as in `sampling.sample`.

    Raises:
        SpecError: a formula or a combination that cannot be meant.
        SamplingError: PyMC could not start or go on.
    """
    model = _model(learner, split)
    improper = _fault(learner, model, split)
    try:
        sampled = _sampled(learner, model, seed, progress, **how)
    except SamplingError as error:
        raise SamplingError(f"{error} ({improper})" if improper else str(error)) from error
    found = _additive(sampled, split) if _is_additive(learner) else _stated(model, sampled, split, seed)
    return found._replace(improper=improper)


def sample_chains(
    learner: Learner, split: Split, seed: int, progress: Progress, chains: Sequence[int], **how: Any
) -> Arrays:
    """Sample some of the chains of such a posterior: the checkpoint that `fit_formula` resumes from, with them alone.

    Raises:
        SpecError: as `fit_formula` does.
        SamplingError: as `fit_formula` does.
    """
    return _sampled(learner, _model(learner, split), seed, progress, chains=chains, **how).checkpoint


def _model(learner: Learner, split: Split) -> bmb.Model:
    return additive_model(learner, split) if _is_additive(learner) else formula_model(learner, split)


def _sampled(learner: Learner, model: bmb.Model, seed: int, progress: Progress, **how: Any) -> Sampled:
    assert isinstance(learner.inference, PyMC)
    return sample(model, learner.inference, seed, progress, **how)


def _fault(learner: Learner, model: bmb.Model, split: Split) -> str | None:
    """What makes the posterior improper; group-specific effects have proper priors of their own."""
    if not isinstance(learner.prior, Flat):
        return None
    assert learner.likelihood is not None
    if _is_additive(learner):
        design, names = propriety.with_intercept(split.train.x, split.columns)
    else:
        common = linear_predictor(model).design.common
        if common is None:
            return None
        columns = common.as_dataframe()
        design, names = (
            columns.to_numpy(float),
            [propriety.INTERCEPT if c == "Intercept" else display(str(c)) for c in columns],
        )
    return propriety.fault(design, names, split.train.y, learner.likelihood.kind)


def _is_additive(learner: Learner) -> bool:
    assert isinstance(learner.predictor, Formula)
    return learner.predictor.formula is None


def flat_vectors(draws: xr.Dataset) -> np.ndarray:
    """(chain, draw, p) flat vectors from the draws of an additive model, as `GLMFit.posterior` has them."""
    weights, biases = (draws[n].values.reshape(*_extra(draws).shape[:2], -1) for n in (SLOPES, INTERCEPT))
    return np.concatenate([weights, biases, _extra(draws)], axis=2)


def _additive(sampled: Sampled, split: Split) -> GLMFit:
    draws = sampled.posterior.rename(Intercept=INTERCEPT)
    if f"{SLOPES}_dim" in draws.dims:
        draws = draws.rename({f"{SLOPES}_dim": "column"})
    else:
        draws[SLOPES] = draws[SLOPES].expand_dims("column")
    draws = draws.assign_coords(column=list(split.columns)).transpose("chain", "draw", ..., "column")
    extra = _extra(draws)
    chains, length = extra.shape[:2]
    theta = flat_vectors(draws)
    s, d = chains * length, len(split.columns)
    k = (theta.shape[2] - extra.shape[2]) // (d + 1)
    weights, biases = (a.reshape(s, k, -1) for a in np.split(theta[..., : k * (d + 1)], [k * d], axis=2))

    def eta(part: Part) -> np.ndarray:
        return part.x @ weights.mT + biases.mT

    return GLMFit(
        theta=theta,
        eta=eta,
        extra=extra.reshape(s, -1),
        posterior=_tree(draws, sampled.stats),
        n_parameters=theta.shape[2],
        compile_seconds=sampled.compile_seconds,
        sample_seconds=sampled.sample_seconds,
        warnings=(),
    )


def _stated(model: bmb.Model, sampled: Sampled, split: Split, seed: int) -> GLMFit:
    draws = sampled.posterior
    terms: Any = linear_predictor(model)
    extra = _extra(draws)
    s = draws.sizes["chain"] * draws.sizes["draw"]
    classes = (CLASSES,) if CLASSES in draws.dims else ()
    effects = effects_of(terms, draws, seed)

    def eta(part: Part) -> np.ndarray:
        data = frame(split, part)
        total: Any = 0.0
        if terms.design.common:
            with quietly():
                common = terms.predict_common(
                    draws, data, False, ("chain", "draw", *classes), ("__obs__", "__variables__"), {}
                )
            total = common.transpose("chain", "draw", "__obs__", *classes).values.reshape(s, len(part.y), -1)
        return sum((effect.eta(data) for effect in effects), start=total)

    return GLMFit(
        theta=None,
        eta=eta,
        extra=extra.reshape(s, -1),
        posterior=_tree(_as_written(draws), sampled.stats),
        n_parameters=sum(start.size for start in pymc_model(model).initial_point().values()),
        compile_seconds=sampled.compile_seconds,
        sample_seconds=sampled.sample_seconds,
        warnings=new_levels(terms, split),
    )


def _extra(draws: xr.Dataset) -> np.ndarray:
    """(chain, draw, m) the family's own parameters; m is 0 or 1."""
    names = [name for name in EXTRAS if name in draws]
    shape = (draws.sizes["chain"], draws.sizes["draw"], len(names))
    return np.stack([draws[name].values for name in names], axis=2) if names else np.zeros(shape)


def _tree(draws: xr.Dataset, stats: xr.Dataset) -> xr.DataTree:
    if CLASSES in draws.dims:
        draws = draws.rename({CLASSES: "class"})
        draws = draws.assign_coords({"class": draws["class"].astype(int)})
    return xr.DataTree.from_dict({"posterior": draws, "sample_stats": stats})


def _as_written(draws: xr.Dataset) -> xr.Dataset:
    """The draws, their terms called as the formula calls them."""
    names = [*draws.variables, *draws.dims]
    return draws.rename({str(name): display(str(name)) for name in names if display(str(name)) != name})
