"""What a sampler leaves, by chain and draw, and its layout as ArviZ's DataTree."""

from collections.abc import Mapping
from typing import NamedTuple

import arviz as az
import numpy as np
import xarray as xr


class PosteriorDraws(NamedTuple):
    """Everything a sampler leaves, by chain and draw.

    Attributes:
        parameters: by name, (chain, draw, ...); a net's flat vector is `theta`, (chain, draw, p).
        stats: (chain, draw) sampler statistics in ArviZ's names; `energy` and `diverging` at least.
        log_likelihood: (chain, draw, n) of the training rows, in nats.
        predictions: (chain, draw, m, c) of the test rows: class probabilities, or the standardised mean with c = 1.
        identified: whether the parameters have a meaning of their own (a GLM's do, a net's weights do not).
        labels: by parameter, its dimensions after chain and draw in order, each with its coordinates.
    """

    parameters: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray]
    log_likelihood: np.ndarray
    predictions: np.ndarray
    identified: bool
    labels: Mapping[str, Mapping[str, np.ndarray]] = {}


def to_datatree(
    draws: PosteriorDraws, *, train_rows: np.ndarray, test_rows: np.ndarray, keep_parameters: bool
) -> xr.DataTree:
    """Lay draws out as ArviZ does: `sample_stats`, `log_likelihood`, `predictions`, and `posterior` where it is kept.

    A net's draws are one variable with the dimension `parameter`. `predictions` holds each draw's `probability` (by row
    and class) or standardised `mean` (by row). Rows are numbered as in the dataset.
    """
    classes = draws.predictions.shape[3] > 1
    predictions = {"probability": draws.predictions} if classes else {"mean": draws.predictions[..., 0]}
    groups = {
        "sample_stats": dict(draws.stats),
        "log_likelihood": {"y": draws.log_likelihood},
        "predictions": predictions,
    }
    if keep_parameters:
        groups = {"posterior": dict(draws.parameters), **groups}
    return az.from_dict(
        groups,
        dims={"theta": ["parameter"], "y": ["train_row"], **{name: list(axes) for name, axes in draws.labels.items()}},
        coords={"train_row": train_rows, **{dim: at for axes in draws.labels.values() for dim, at in axes.items()}},
        pred_dims={"probability": ["test_row", "class"], "mean": ["test_row"]},
        pred_coords={"test_row": test_rows},
    )
