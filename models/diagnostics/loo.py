"""Leave-one-out predictive density of the training rows, and with it the effective number of parameters."""

import warnings
from typing import Any, NamedTuple

import arviz as az
import numpy as np
from scipy.special import logsumexp

from models.diagnostics.chains import MIN_DRAWS
from models.diagnostics.convergence import convergence


class Loo(NamedTuple):
    """PSIS-LOO on the training rows (Vehtari, Gelman and Gabry 2017; tails and limits: Vehtari et al. 2024).

    Attributes:
        elpd: sum over rows of log p(y_i | y_-i), in nats; its standard error is sqrt(n var(elpd_i)).
        p: sum over rows of p_i = log mean_s p(y_i | theta_s) - log p(y_i | y_-i); likewise sqrt(n var(p_i)).
        pareto_k: (n,) shapes of the importance weights' tails; good up to min(1 - 1 / log10(draws), 0.7).
    """

    elpd: float
    elpd_se: float
    p: float
    p_se: float
    pareto_k: np.ndarray
    good_k: float


def loo(log_likelihood: np.ndarray) -> Loo | None:
    """PSIS-LOO from (chain, draw, n) log-likelihoods through ArviZ; None where they are not finite or too few.

    The relative efficiency is the mean effective share of draws of the likelihoods p(y_i | theta_s): a net has it too.
    Where all of the largest importance ratios are equal there is no tail to smooth: the plain ratios are used, with
    k = 0 if no draw differs (a class told with certainty), else k infinite (a chain that stood still).
    """
    n_chains, n_draws, n = log_likelihood.shape
    if n_draws < MIN_DRAWS or not np.all(np.isfinite(log_likelihood)):
        return None
    size = n_chains * n_draws
    log_likelihood = log_likelihood.astype(np.float64)
    shares = convergence(log_likelihood).ess_bulk / size
    efficiency = float(np.mean(np.where(np.isnan(shares), 1.0, shares)))
    tail = int(min(size / 5, 3 * np.sqrt(size / efficiency)))
    lowest = np.min(log_likelihood, axis=(0, 1))
    flat = np.sum(log_likelihood == lowest, axis=(0, 1)) >= tail

    elpd_i = np.log(size) - logsumexp(-log_likelihood, axis=(0, 1))
    pareto_k = np.where(np.ptp(log_likelihood, axis=(0, 1)) == 0, 0.0, np.inf)
    if not np.all(flat):
        smoothed = _psis(log_likelihood[:, :, ~flat], efficiency)
        elpd_i[~flat], pareto_k[~flat] = smoothed.elpd_i.values, smoothed.pareto_k.values
    # A shape that could not be fitted is as bad as can be.
    pareto_k = np.where(np.isnan(pareto_k), np.inf, pareto_k)
    p_i = logsumexp(log_likelihood, axis=(0, 1)) - np.log(size) - elpd_i
    se_elpd, se_p = (float(np.sqrt(n * np.var(values, ddof=1))) if n > 1 else np.inf for values in (elpd_i, p_i))
    good_k = float(min(1 - 1 / np.log10(size), 0.7))
    return Loo(float(np.sum(elpd_i)), se_elpd, float(np.sum(p_i)), se_p, pareto_k, good_k)


def _psis(log_likelihood: np.ndarray, efficiency: float) -> Any:
    tree = az.from_dict({"log_likelihood": {"y": log_likelihood}})
    with warnings.catch_warnings():
        # Bad tails are reported by their shapes; a single row's sum is that row's value.
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto distribution")
        warnings.filterwarnings("ignore", "The point-wise LOO is the same with the sum LOO")
        return az.loo(tree, pointwise=True, reff=efficiency)
