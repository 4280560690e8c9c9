"""From parameters to figures: predictions on the three parts, scores, and what plots need."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from models.data.dataset import Part, Split
from models.joint.likelihoods import Family
from models.prediction.predictive import DrawPredictions, Predictive, predict_draws
from models.prediction.scoring import pit, pointwise, score
from models.runs.result import Metric, PartName

PARTS: tuple[PartName, ...] = ("train", "validation", "test")


class Evaluation(NamedTuple):
    """Scores of one run on all parts, and the test part's rows."""

    metrics: tuple[Metric, ...]
    pointwise: Mapping[str, np.ndarray]
    predictions: Mapping[str, np.ndarray]


def target_of(split: Split, part: Part) -> np.ndarray:
    """(n,) the part's target in its own units."""
    return split.location + split.scale * part.y if split.task == "real" else part.y


def predict_parts(
    family: Family,
    eta: Callable[[Part], Array | np.ndarray],
    extra: Array,
    split: Split,
    key: PRNGKeyArray,
) -> dict[PartName, DrawPredictions]:
    """Mixture predictions of s draws on each part; `eta` maps a part to (s, n, k) natural parameters."""
    return {
        name: predict_draws(
            family,
            eta(getattr(split, name)),
            extra,
            np.asarray(getattr(split, name).y, dtype=_target_dtype(split, extra)),
            jax.random.fold_in(key, i),
            split.location,
            split.scale,
        )
        for i, name in enumerate(PARTS)
    }


def _target_dtype(split: Split, extra: Array) -> np.dtype:
    return np.dtype(extra.dtype) if split.task == "real" else np.dtype(np.int32)


def evaluate(predictives: Mapping[PartName, Predictive], split: Split) -> Evaluation:
    """Score each part's predictive distribution against its rows."""
    metrics: list[Metric] = []
    for name in PARTS:
        y = target_of(split, getattr(split, name))
        metrics += score(predictives[name], y, split.task, name)
    test, y = predictives["test"], target_of(split, split.test)
    predictions: dict[str, np.ndarray] = {"y": y}
    if test.probabilities is not None:
        predictions["probabilities"] = test.probabilities
    else:
        assert test.mean is not None and test.samples is not None
        lower, upper = np.quantile(test.samples, [0.05, 0.95], axis=1)
        predictions |= {
            "mean": test.mean,
            "lower": lower,
            "upper": upper,
            "pit": pit(test.samples, y, seed=None if split.task == "real" else 0),
        }
    return Evaluation(tuple(metrics), pointwise(test, y, split.task, split.test.rows), predictions)
