"""Which measures predict generalisation? All of them held against the gap, by four criteria that fail differently."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.digits import format_signed
from models.generalisation.bootstrap import Interval
from models.generalisation.correlation import Larger, RankCorrelation, flatness_sentence, rank_correlation
from models.generalisation.granulated import granulated
from models.generalisation.mutual_information import conditional_mutual_information
from models.generalisation.sign_error import SignError, no_sign_error, robust_sign_error
from models.generalisation.sweep_runs import usable_runs

# What a larger value of these stands for goes with a smaller gap, if the measure is right.
FALLING: tuple[Larger, ...] = ("flatter", "simpler")


class Ranked(NamedTuple):
    """How well one measure predicts the gap.

    Attributes:
        tau: Kendall's tau-a within splits; positive where a larger measure goes with a larger gap.
        granulated: tau with one setting varied, by setting; `psi` their mean.
        information: what the measure tells beyond the settings, from 0 to 1 (`conditional_mutual_information`).
        sign_error: in the worst environment, against the direction that `larger` leads one to expect.
        larger: what a larger value of the measure stands for.
        n_runs: runs with a value and a gap, on splits with two or more.
    """

    measure: str
    larger: Larger
    tau: RankCorrelation
    granulated: Mapping[str, Interval]
    psi: Interval
    information: Interval
    sign_error: SignError
    n_runs: int
    n_splits: int


def rank_measures(
    measures: Mapping[str, np.ndarray],
    larger: Mapping[str, Larger],
    gap: np.ndarray,
    split: np.ndarray,
    settings: Mapping[str, np.ndarray],
    *,
    gap_error: np.ndarray | None = None,
    dataset: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[Ranked, ...]:
    """Hold every measure against the gap, largest |tau| first, unknown last.

    Four criteria. Tau: does the measure order runs as their gaps do? Psi: also if one setting at a time is varied, so
    that following one influential setting is not enough? Information: is anything left of it once two settings are
    known? Sign error: does it hold everywhere, or does it fail for some settings? Runs on different splits are never
    compared. Another target, such as the error out of distribution, takes the gap's place.

    Intervals are over splits, for these datasets, settings and learners: they say nothing of other learners. That of
    tau is `rank_correlation`'s. The others are sums over groups of pairs or not smooth, so they have the bootstrap of
    whole splits: `bootstrap.cluster_interval`.

    Args:
        measures: (n,) of each measure, nan where it has no value.
        larger: what a larger value of each stands for; "neither" has no expected direction, hence no sign error.
        gap: (n,) test minus train loss, or another loss; nan where there is none.
        split: (n,) labels of the splits.
        settings: (n,) values of each setting of the learners; those that do not vary are ignored. Without the seed.
        gap_error: (n,) standard errors of the gaps, by which the sign error weights its pairs.
        dataset: (n,) labels; runs of different datasets are not compared. None: one dataset.
        seed: of the bootstraps.

    Raises:
        ValueError: columns of different lengths, or a measure whose direction is not given.
    """
    if unknown := sorted(measures.keys() - larger.keys()):
        raise ValueError(f"larger: expected what a larger value stands for of {', '.join(unknown)}")
    split = np.asarray(split)
    group = _splits(np.zeros(split.shape, int) if dataset is None else np.asarray(dataset), split)
    found = []
    for name, measure in measures.items():
        runs = usable_runs(measure, gap, gap_error, group, settings)
        tau = rank_correlation(runs.measure, runs.gap, runs.split, seed)
        by_setting, psi = granulated(runs, seed)
        error = (
            no_sign_error(f"a larger {name} has no expected direction")
            if larger[name] == "neither"
            else robust_sign_error(runs, seed, falling=larger[name] in FALLING)
        )
        information = conditional_mutual_information(runs, seed)
        found.append(Ranked(name, larger[name], tau, by_setting, psi, information, error, tau.n_runs, tau.n_splits))
    return tuple(sorted(found, key=lambda ranked: -np.nan_to_num(abs(ranked.tau.tau), nan=-1.0)))


def _splits(dataset: np.ndarray, split: np.ndarray) -> np.ndarray:
    """(n,) numbers of the splits of all datasets."""
    if dataset.shape != split.shape:
        raise ValueError(f"expected a dataset for each split, received {dataset.shape} for {split.shape}")
    pairs = list(zip(dataset.tolist(), split.tolist(), strict=True))
    number = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    return np.array([number[pair] for pair in pairs], np.int64)


def generalisation_sentence(words: str, found: Ranked, target: str = "the generalisation gap") -> str:
    """What a measure tells here of generalisation, in plain words: the rank correlation, and whether to rely on it.

    Args:
        words: the measure's name in words, such as "the trace of the Hessian".
        found: how it was ranked.
        target: the loss or gap that it was held against, in words.
    """
    said = [flatness_sentence(words, found.tau, found.larger, target)]
    if not (found.tau.lower > 0 or found.tau.upper < 0):
        return said[0]
    direction = float(np.sign(found.tau.tau))
    said += [_one_varied(found.psi, direction), _told(found.information), _worst(found, direction)]
    said.append("All this is said of these learners and settings alone.")
    return " ".join(filter(None, said))


def _one_varied(psi: Interval, direction: float) -> str:
    """Whether what tau shows, in its direction, holds where one setting alone differs."""
    if not np.isfinite(psi.lower):
        return ""
    evidence = f"(granulated tau {format_signed(psi.told)}, {format_signed(psi.lower)} to {format_signed(psi.upper)})"
    if _opposed(psi, direction):
        return f"Where one setting at a time is varied, the opposite holds {evidence}: do not rely on it."
    if _opposed(psi, -direction):
        return f"It holds as well where one setting at a time is varied, on average {evidence}."
    return f"It is not shown where one setting at a time is varied {evidence}: the settings may explain it."


def _opposed(psi: Interval, direction: float) -> bool:
    """Whether psi is shown to have the other sign."""
    return max(direction * psi.lower, direction * psi.upper) < 0


def _told(information: Interval) -> str:
    if not np.isfinite(information.told):
        return ""
    return (
        f"Whatever two settings are known, it tells {_share(information)} of what is open about which of two is the "
        "larger."
    )


def _worst(found: Ranked, direction: float) -> str:
    """The worst environment: a measure that holds on average and fails somewhere is not to be relied on there.

    The sign error is against the direction that one expects of the measure. What goes the other way is told so, and of
    what is not to be relied on at all nothing more is said.
    """
    error = found.sign_error
    if error.environment is None or _opposed(found.psi, direction):
        return ""
    wrong = f"it orders {_share(error.worst)} of the pairs wrongly ({error.environment})."
    if direction != (-1.0 if found.larger in FALLING else 1.0):
        return f"This is against what is expected of it: held to that, at worst {wrong}"
    return f"{'At worst' if error.worst.told < 0.5 else 'But it does not hold everywhere: at worst'} {wrong}"


def _share(found: Interval) -> str:
    """The share without its bias, and its interval."""
    about = f"about {found.told:.0%}"
    return about if np.isnan(found.lower) else f"{about} (95 % interval {found.lower:.0%} to {found.upper:.0%})"
