"""Can this posterior be believed? Mixing of parameters and of predictions, exploration of the energy, PSIS-LOO.

What cannot be estimated counts as failed: a posterior with a broken chain has R-hat infinity and no effective draws. A
net's weights are not identified (units may swap places), so the diagnostics that count for it are its predictions';
a GLM's are its parameters'.
"""

import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from models.diagnostics.chains import MIN_DRAWS, bfmi, chain_faults, disagreeing
from models.diagnostics.convergence import Convergence, convergence, mcse_mean, r_hat
from models.diagnostics.draws import PosteriorDraws
from models.diagnostics.loo import Loo, loo
from models.runs.result import Diagnostic

Scope = Literal["parameter", "prediction"]

RESOLUTION = 1e-3
"""Predictions (probabilities, or means in standard deviations of the target) that stay within this range all agree."""
N_WORST = 20


class Diagnosis(NamedTuple):
    """Rows for the table, and numbers by name for the summary (see `diagnose`)."""

    rows: tuple[Diagnostic, ...]
    summary: dict[str, float]


class _Measured(NamedTuple):
    """Draws (chain, draw, q) of the quantities of one scope, what each is called, and how well it mixed."""

    scope: Scope
    names: list[str]
    draws: np.ndarray
    mixing: Convergence

    @property
    def ess(self) -> np.ndarray:
        """(q,) the smaller of bulk and tail."""
        return np.minimum(self.mixing.ess_bulk, self.mixing.ess_tail)

    @property
    def worst(self) -> np.ndarray:
        """Positions of the highest R-hats, highest first."""
        return np.argsort(-self.mixing.r_hat, kind="stable")[:N_WORST]


def diagnose(draws: PosteriorDraws, *, test_rows: np.ndarray) -> Diagnosis:
    """Judge a posterior; `test_rows` (m,) number the predictions' rows in the dataset.

    Rows: parameters one by one where they are identified, else the `weights` by their worst and median; the predictions
    by their worst and median, and the worst twenty one by one; the energy of each chain and of all; LOO.

    The summary holds:
        n_chains, n_draws: draws are per chain.
        r_hat_max, ess_min: of the parameters where identified, else of the predictions; ESS of bulk or tail. A single
            chain has infinite R-hat, as a broken one: from within a mode it cannot tell that there are others.
        r_hat_weights_max, ess_weights_min: of a net's weights.
        r_hat_within_max: the largest R-hat of a single chain's two halves, over chains and the twenty worst quantities.
        chains_disagreeing: see `chains.disagreeing`, over the twenty worst quantities.
        chains_not_finite, chains_stuck, chains_repeating, chains_duplicated: see `chains.chain_faults`.
        divergences, bfmi_min, and treedepth_share where the sampler has trees.
        elpd_loo, elpd_loo_se, p_loo, p_loo_se, pareto_k_max, pareto_k_bad_share: where the log-likelihood is finite.
    """
    n_chains, n_draws = draws.stats["diverging"].shape
    faults = chain_faults(draws)
    broken = n_draws < MIN_DRAWS or any(faults.values())

    parameters = _measure("parameter", *_parameter_columns(draws))
    predictions = _measure("prediction", *_prediction_columns(draws.predictions, test_rows))
    if draws.identified:
        rows = _each(parameters, np.arange(len(parameters.names)))
    else:
        rows = _worst_and_median(parameters, "weights")
    rows += _worst_and_median(predictions, "predictions")
    rows += _each(predictions, predictions.worst)

    judged = parameters if draws.identified else predictions
    summary = {
        "n_chains": float(n_chains),
        "n_draws": float(n_draws),
        "r_hat_max": np.inf if broken or n_chains == 1 else float(np.max(judged.mixing.r_hat)),
        "ess_min": 0.0 if broken else float(np.min(judged.ess)),
        **{name: float(count) for name, count in faults.items()},
    }
    if not draws.identified:
        summary["r_hat_weights_max"] = float(np.max(parameters.mixing.r_hat))
        summary["ess_weights_min"] = float(np.min(parameters.ess))
    if n_draws >= MIN_DRAWS:
        suspects = judged.draws[:, :, judged.worst]
        within = [_fail_safe(r_hat(suspects[c : c + 1]), np.inf) for c in range(n_chains)]
        summary["r_hat_within_max"] = float(np.max(within))
        summary["chains_disagreeing"] = float(np.sum(disagreeing(suspects)))

    energy_rows, energy_summary = _energy(draws.stats)
    estimate = loo(draws.log_likelihood)
    if estimate is not None:
        summary |= _loo_summary(estimate)
        rows.append(Diagnostic("prediction", "training rows (worst)", pareto_k=summary["pareto_k_max"]))
    return Diagnosis((*rows, *energy_rows), summary | energy_summary)


def _measure(scope: Scope, names: list[str], draws: np.ndarray) -> _Measured:
    q = draws.shape[2]
    if draws.shape[1] < MIN_DRAWS:
        return _Measured(scope, names, draws, Convergence(np.full(q, np.inf), np.zeros(q), np.zeros(q)))
    found = convergence(draws)
    mixing = Convergence(
        _fail_safe(found.r_hat, np.inf), _fail_safe(found.ess_bulk, 0.0), _fail_safe(found.ess_tail, 0.0)
    )
    return _Measured(scope, names, draws, mixing)


def _fail_safe(values: np.ndarray, failed: float) -> np.ndarray:
    return np.where(np.isnan(values), failed, values)


def _parameter_columns(draws: PosteriorDraws) -> tuple[list[str], np.ndarray]:
    """Names such as `slope[2, age]` and the draws (chain, draw, q)."""
    names, columns = [], []
    for name, values in draws.parameters.items():
        axes = draws.labels[name].values() if name in draws.labels else map(range, values.shape[2:])
        names += [f"{name}[{', '.join(map(str, at))}]" if at else name for at in itertools.product(*axes)]
        columns.append(values.reshape(*values.shape[:2], -1))
    return names, columns[0] if len(columns) == 1 else np.concatenate(columns, axis=2)


def _prediction_columns(predictions: np.ndarray, test_rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names and draws (chain, draw, q) of the predictions that differ between draws by more than the resolution.

    Ranks would make much of probabilities between 1e-12 and 1e-9. Of two classes the second says all. Where nothing
    differs by as much, everything is judged.
    """
    c = predictions.shape[3]
    spread = np.ptp(predictions, axis=(0, 1))
    counted = np.ones(spread.shape, bool)
    if c == 2:
        counted[:, 0] = False
    # A spread that is not a number is judged, and fails.
    wide = counted & ~(spread < RESOLUTION)
    places = np.argwhere(wide if np.any(wide) else counted)
    names = [f"test row {test_rows[i]}, " + ("mean" if c == 1 else f"class {k}") for i, k in places]
    return names, predictions[:, :, places[:, 0], places[:, 1]]


def _each(measured: _Measured, chosen: np.ndarray) -> list[Diagnostic]:
    if measured.draws.shape[1] < MIN_DRAWS:
        errors = np.full(len(chosen), np.inf)
    else:
        errors = mcse_mean(measured.draws[:, :, chosen])
    mixing = measured.mixing
    return [
        Diagnostic(
            measured.scope,
            measured.names[i],
            r_hat=float(mixing.r_hat[i]),
            ess_bulk=float(mixing.ess_bulk[i]),
            ess_tail=float(mixing.ess_tail[i]),
            mcse=float(error),
        )
        for i, error in zip(chosen, errors, strict=True)
    ]


def _worst_and_median(measured: _Measured, what: str) -> list[Diagnostic]:
    """The worst and the median of each column by itself: not those of one quantity."""
    return [
        Diagnostic(
            measured.scope,
            f"{what} ({label})",
            r_hat=float(high(measured.mixing.r_hat)),
            ess_bulk=float(low(measured.mixing.ess_bulk)),
            ess_tail=float(low(measured.mixing.ess_tail)),
        )
        for label, high, low in (("worst", np.max, np.min), ("median", np.median, np.median))
    ]


def _energy(stats: Mapping[str, np.ndarray]) -> tuple[list[Diagnostic], dict[str, float]]:
    """BFMI, divergences and the share of trajectories that reached the largest tree depth."""
    fractions = bfmi(np.asarray(stats["energy"], np.float64))
    divergences = np.sum(stats["diverging"], axis=1)
    summary = {"divergences": float(np.sum(divergences)), "bfmi_min": float(np.min(fractions))}
    shares = None
    if "reached_max_treedepth" in stats:
        shares = np.mean(stats["reached_max_treedepth"], axis=1)
        summary["treedepth_share"] = float(np.mean(shares))
    rows = [
        Diagnostic(
            "energy",
            f"chain {c}",
            divergences=int(divergences[c]),
            bfmi=float(fractions[c]),
            treedepth_share=None if shares is None else float(shares[c]),
        )
        for c in range(len(fractions))
    ]
    every = Diagnostic(
        "energy",
        "all chains",
        divergences=int(np.sum(divergences)),
        bfmi=summary["bfmi_min"],
        treedepth_share=summary.get("treedepth_share"),
    )
    return [*rows, every], summary


def _loo_summary(estimate: Loo) -> dict[str, float]:
    return {
        "elpd_loo": estimate.elpd,
        "elpd_loo_se": estimate.elpd_se,
        "p_loo": estimate.p,
        "p_loo_se": estimate.p_se,
        "pareto_k_max": float(np.max(estimate.pareto_k)),
        "pareto_k_bad_share": float(np.mean(estimate.pareto_k > estimate.good_k)),
    }
