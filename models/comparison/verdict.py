"""The verdict: which learner to trust, and why, in two to seven sentences that a person can act on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scipy import stats

from models.comparison.criteria import criterion
from models.comparison.estimate import Estimate
from models.comparison.influence import Decisive
from models.comparison.ranking import Comparison
from models.digits import above, format_ess, format_number, plus_minus
from models.spec.settings import Kind

R_HAT_LIMIT = 1.01
ESS_LIMIT = 400


class Splits(NamedTuple):
    """On how many of the comparison's splits all runs of a learner finished."""

    finished: int
    asked: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.finished / self.asked


class Trust(NamedTuple):
    """What is known of a learner besides its score, at its worst over its runs.

    Attributes:
        kind: which of the four kinds it is.
        posterior: whether it has one.
        r_hat_max: worst rank-normalised split R-hat of its predictions.
        ess_min: lowest effective sample size of its predictions.
        divergences: divergent transitions.
        n_chains: fewest chains of a run.
        calibration_error: on the test part.
        splits: on how many it finished; None where it finished on all.
        improper: why its posterior, or its estimate, does not exist without a proper prior; None where it does.
        warnings: in plain words.
    """

    kind: Kind
    posterior: bool = False
    r_hat_max: float | None = None
    ess_min: float | None = None
    divergences: int | None = None
    n_chains: int | None = None
    calibration_error: Estimate | None = None
    splits: Splits | None = None
    improper: str | None = None
    warnings: tuple[str, ...] = ()


def posterior_faults(trust: Trust) -> tuple[str, ...]:
    """Why a posterior's spread must not be read as posterior uncertainty; empty where it passed every check.

    It exists and is from more than one chain, with R-hat at most 1.01, an effective sample size of at least 400
    (Vehtari et al. 2021) and no divergences. A number that is missing or nan is a fault: silence is no proof of health.
    """
    faults = [] if trust.improper is None else [trust.improper]
    if trust.n_chains == 1:
        faults.append("a single chain, which cannot show that it missed something")
    elif trust.r_hat_max is None or math.isnan(trust.r_hat_max):
        faults.append("R-hat unknown")
    elif trust.r_hat_max > R_HAT_LIMIT:
        faults.append(f"R-hat {above(trust.r_hat_max, R_HAT_LIMIT)}, above {R_HAT_LIMIT}")
    if trust.ess_min is None or math.isnan(trust.ess_min):
        faults.append("effective sample size unknown")
    elif trust.ess_min < ESS_LIMIT:
        faults.append(f"effective sample size {format_ess(trust.ess_min)}, below {ESS_LIMIT}")
    if trust.divergences is None:
        faults.append("divergences unknown")
    elif trust.divergences:
        faults.append(f"{trust.divergences} divergence{'s' if trust.divergences > 1 else ''}")
    return tuple(faults)


def verdict(
    comparisons: Sequence[Comparison],
    estimates: Mapping[str, Estimate | None],
    trust: Mapping[str, Trust],
    metric: str = "log_score",
    decisive: Sequence[Decisive] = (),
) -> str:
    """Which learner to trust here, with the evidence.

    A learner that did not finish on all splits ranks below those that finished on more, whatever its score: a mean over
    the splits that it survived is no mean over all of them. Of the learners that finished on as many splits as the top
    one, the *best group* is the top one and all that are not shown to predict worse than it. Of these the one to prefer
    is the simplest that can be relied on: a GLM whose posterior passed its checks, then a GLM without a posterior, then
    a learner with a sound posterior, then the top one. One that more likely than not predicts worse than the top by
    more than the region of practical equivalence comes after those, though that is not shown. One whose posterior
    failed its checks, or does not exist, is never recommended.

    Args:
        comparisons: all pairs by `metric`; pairs missing in it count as not compared.
        estimates: of `metric` on the test part; None for a learner without a finished run.
        trust: facts for each learner in `estimates`.
        metric: a criterion's name.
        decisive: pairs whose difference comes from a row or two.

    Raises:
        ValueError: a learner without facts, or a comparison by another metric.
    """
    if missing := estimates.keys() - trust.keys():
        raise ValueError(f"trust: expected facts for every learner, none received for {', '.join(sorted(missing))}")
    if other := {c.metric for c in comparisons} - {metric}:
        raise ValueError(f"comparisons: expected the metric {metric!r}, received {', '.join(sorted(other))}")
    sign = 1 if criterion(metric).higher_is_better else -1
    finished = {name: e for name, e in estimates.items() if e is not None and not math.isnan(e.value)}
    if not finished:
        return "No learner finished a run, so nothing can be compared. Read the errors of the failed runs first."
    order = sorted(
        finished, key=lambda n: (math.isinf(finished[n].value), -_share(trust[n]), -sign * finished[n].value)
    )
    top = order[0]
    if math.isinf(finished[top].value):
        return (
            "Every learner gave some test row a predictive density of zero, so the log score cannot rank them. "
            "Compare them by accuracy or RMSE, and do not rely on the probabilities of any."
        )
    against_top: dict[str, Comparison] = {}
    for c in comparisons:
        if top in (c.a, c.b):
            said = c if c.b == top else c.swapped()
            against_top[said.a] = said
    partial = [n for n in order[1:] if _share(trust[n]) < _share(trust[top])]
    whole = [n for n in order if n not in partial]
    group = [top, *(n for n in whole[1:] if n in against_top and against_top[n].outcome != "worse")]
    losers = [against_top[n] for n in whole[1:] if n in against_top and n not in group]
    uncompared = [n for n in estimates if n != top and n not in against_top]
    sentences = [
        _leaders(group, against_top, finished, trust, metric, of_all=not partial),
        _losers(top, losers, metric),
        _partial(top, partial, against_top, trust, metric),
        _advice(_preferred(group, against_top, trust), group, whole, trust),
        _uncertainty(trust),
        f"Not compared with {top}, for want of common finished runs: {_list(uncompared)}." if uncompared else "",
        _next_step(group, against_top, finished[top].n_splits, trust, metric, decisive),
    ]
    return " ".join(s for s in sentences if s)


def _share(facts: Trust) -> float:
    return 1.0 if facts.splits is None else facts.splits.share


def _faults(facts: Trust) -> tuple[str, ...]:
    """Why a learner is not to be relied on."""
    if facts.posterior:
        return posterior_faults(facts)
    return () if facts.improper is None else (facts.improper,)


def _preferred(group: Sequence[str], against_top: Mapping[str, Comparison], trust: Mapping[str, Trust]) -> str:
    def rank(name: str) -> tuple[bool, bool, int, int]:
        facts = trust[name]
        failed = bool(_faults(facts))
        sound = facts.posterior and not failed
        likely_worse = name in against_top and against_top[name].p_worse > 0.5
        if facts.kind == "glm":
            place = 0 if sound else 1
        else:
            place = 2 if sound else 3
        return failed, likely_worse, place, group.index(name)

    return min(group, key=rank)


def _leaders(
    group: Sequence[str],
    against_top: Mapping[str, Comparison],
    estimates: Mapping[str, Estimate],
    trust: Mapping[str, Trust],
    metric: str,
    *,
    of_all: bool,
) -> str:
    top, *rest = group
    score = plus_minus(estimates[top].value, estimates[top].standard_error)
    on = trust[top].splits
    missing = (
        ""
        if on is None or on.share == 1
        else f", on {on.finished} of {on.asked} splits only, as no other finished on more"
    )
    label = f"{top} (test {_metric_words(metric)} {score}{missing})"
    if len(estimates) == 1:
        return f"Only {label} finished, so there is nothing to compare it with."
    best = "scores best" if of_all else "scores best of those that finished on as many splits"
    if not rest:
        return f"{label} {best}."
    same = [n for n in rest if against_top[n].outcome == "equivalent"]
    sentence = f"{label} {best}; no difference from it is shown for {_list(rest)}"
    if same:
        who = "" if same == rest else f"{_list(same)} {'is' if len(same) == 1 else 'are'} "
        width = max(against_top[n].rope for n in same)
        sentence += f" ({who}practically equivalent, within {format_number(width, 2)} {criterion(metric).unit})"
    return sentence + "."


def _partial(
    top: str, names: Sequence[str], against_top: Mapping[str, Comparison], trust: Mapping[str, Trust], metric: str
) -> str:
    """Learners that rank below for the splits that they lack, and what the common splits say."""
    said = []
    for name in names:
        splits = trust[name].splits
        assert splits is not None
        text = f"{name} finished on {splits.finished} of {splits.asked} splits only, so it ranks below"
        if name in against_top:
            c = against_top[name]
            by = plus_minus(c.difference, c.standard_error)
            shown = "no difference is shown" if c.outcome == "not shown" else f"{c.outcome} than {top}"
            shown = f"equivalent to {top}" if c.outcome == "equivalent" else shown
            text += (
                f" (on {c.n_splits} common split{'' if c.n_splits == 1 else 's'} its {_metric_words(metric)} minus "
                f"that of {top} is {by}: {shown}, which says nothing of the others)"
            )
        said.append(text)
    return f"{'; '.join(said)}." if said else ""


def _losers(top: str, losers: Sequence[Comparison], metric: str) -> str:
    if not losers:
        return ""
    shortfalls = [f"{c.a} by {plus_minus(abs(c.difference), c.standard_error)}" for c in losers]
    return f"{top} predicts better than {_list(shortfalls)} {criterion(metric).unit}."


def _advice(chosen: str, group: Sequence[str], whole: Sequence[str], trust: Mapping[str, Trust]) -> str:
    facts = trust[chosen]
    if faults := _faults(facts):
        reliable = [n for n in whole if not _faults(trust[n])]
        sentence = f"{chosen} is not recommended: " + (
            facts.improper if facts.improper is not None else f"its posterior failed its checks ({', '.join(faults)})"
        )
        others = f"the first of those that are not ruled out so is {reliable[0]}" if reliable else "nor is any other"
        return f"{sentence}; {others}."
    simplest = facts.kind == "glm" and len(group) > 1
    if simplest and facts.posterior:
        sentence = f"Prefer {chosen}: it is the simplest of these, and its posterior is readable and passed its checks"
    elif simplest:
        sentence = f"Prefer {chosen} for its predictions: it is the simplest of these, but has no posterior"
    elif facts.posterior:
        sentence = f"Prefer {chosen}: its posterior passed its checks"
    else:
        sentence = f"Use {chosen} for its predictions; it has no posterior"
    if facts.calibration_error is not None and not math.isnan(facts.calibration_error.value):
        error = facts.calibration_error
        sentence += f"; its calibration error is {plus_minus(error.value, error.standard_error)}"
    if facts.warnings:
        sentence += f"; read its {'warning' if len(facts.warnings) == 1 else 'warnings'} first"
    return sentence + "."


def _uncertainty(trust: Mapping[str, Trust]) -> str:
    having = {n: posterior_faults(facts) for n, facts in trust.items() if facts.posterior}
    sound = [n for n, faults in having.items() if not faults]
    failed = [f"{n} ({', '.join(faults)})" for n, faults in having.items() if faults]
    if not having:
        return ""
    if not failed:
        return f"The spread of {_list(sound)} can be read as posterior uncertainty."
    refusal = f"the spread of {_list(failed)} as posterior uncertainty"
    if not sound:
        return f"Do not read {refusal}."
    return f"The spread of {_list(sound)} can be read as posterior uncertainty; do not read {refusal}."


def _next_step(
    group: Sequence[str],
    against_top: Mapping[str, Comparison],
    n_splits: int,
    trust: Mapping[str, Trust],
    metric: str,
    decisive: Sequence[Decisive],
) -> str:
    top = group[0]
    rows = {d.a if d.b == top else d.b: d for d in decisive if top in (d.a, d.b)}
    undecided = [against_top[n] for n in group[1:] if against_top[n].outcome == "not shown"]
    open_ones = [c for c in undecided if c.a not in rows]
    steps = []
    if rows:
        named = dict.fromkeys(text for d in rows.values() for text in d.rows_in_words)
        steps.append(
            f"look at {_list(named)}, which {'makes' if len(named) == 1 else 'make'} most of the difference of "
            f"{_list(rows)} from {top}, and mend or remove what is wrong there: more splits would not help"
        )
    if open_ones:
        reach, name = max((float(stats.t.ppf(0.975, c.degrees)) * c.standard_error, c.a) for c in open_ones)
        steps.append(
            f"the difference of {name} from {top} has a 95 % interval of {format_number(reach, 2)} "
            f"{criterion(metric).unit} to either side, so use more than {n_splits} "
            f"split{'' if n_splits == 1 else 's'}, or more data, to decide"
        )
    if n_splits == 1:
        steps.append("one split tells of these fits only, not of fits to other rows, so use more splits")
    failed = [n for n in group if trust[n].posterior and posterior_faults(trust[n])]
    if improper := [n for n in group if trust[n].improper is not None]:
        steps.append(f"give {_list(improper)} a proper prior: more draws would not help")
    if any(trust[n].improper is None and _thin(trust[n]) for n in failed):
        steps.append("a larger budget gives the chains that failed their checks more draws")
    return f"Next: {'; '.join(steps)}." if steps else ""


def _thin(facts: Trust) -> bool:
    """Whether more draws may help, as they do not against divergences alone."""
    r_hat, ess = facts.r_hat_max, facts.ess_min
    return (r_hat is not None and r_hat > R_HAT_LIMIT) or (ess is not None and ess < ESS_LIMIT)


def _metric_words(metric: str) -> str:
    return {"log_score": "log score", "rmse": "RMSE"}.get(metric, metric)


def _list(names: Iterable[str]) -> str:
    *init, last = names
    return f"{', '.join(init)} and {last}" if init else last
