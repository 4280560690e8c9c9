"""Posterior draws, healthy ones to be broken by the tests."""

import numpy as np

from models.diagnostics.draws import PosteriorDraws


def healthy(*, n_chains=4, n_draws=250, identified=True, seed=0):
    """Independent draws of three parameters, of two classes' probabilities on five rows, and of 30 log-likelihoods."""
    rng = np.random.default_rng(seed)
    shape = (n_chains, n_draws)
    theta = rng.normal(size=(*shape, 3))
    p = 1 / (1 + np.exp(-theta[..., :1] - np.linspace(-2, 2, 5)))
    return PosteriorDraws(
        parameters={"theta": theta},
        stats={
            "energy": rng.normal(size=shape),
            "diverging": np.zeros(shape, bool),
            "reached_max_treedepth": np.zeros(shape, bool),
        },
        log_likelihood=-0.5 * np.square(rng.normal(size=30) - 0.1 * theta[..., :1]),
        predictions=np.stack([1 - p, p], axis=-1),
        identified=identified,
    )


def changed(draws, change):
    """The same draws after `change(chains)` on every array of parameters, predictions and log-likelihoods."""

    def apply(values):
        values = values.copy()
        change(values)
        return values

    return draws._replace(
        parameters={name: apply(values) for name, values in draws.parameters.items()},
        predictions=apply(draws.predictions),
        log_likelihood=apply(draws.log_likelihood),
    )
