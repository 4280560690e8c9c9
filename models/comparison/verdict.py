"""The verdict: which learner to trust, and why, in two to six sentences that a person can act on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scipy import stats

from models.comparison.criteria import criterion
from models.comparison.estimate import Estimate
from models.comparison.ranking import Comparison
from models.spec import Kind

_ROUNDING = 1e-12  # a relative error that is float64's alone, as of the mean of equal values
R_HAT_LIMIT = 1.01
ESS_LIMIT = 400


class Trust(NamedTuple):
    """What is known of a learner besides its score, at its worst over its runs.

    Attributes:
        kind: which of the four kinds it is.
        posterior: whether it has one.
        r_hat_max: worst rank-normalised split R-hat of its predictions.
        ess_min: lowest effective sample size of its predictions.
        divergences: divergent transitions.
        calibration_error: on the test part.
        improper: why its posterior, or its estimate, does not exist without a proper prior; None where it does.
        warnings: in plain words.
    """

    kind: Kind
    posterior: bool = False
    r_hat_max: float | None = None
    ess_min: float | None = None
    divergences: int | None = None
    calibration_error: Estimate | None = None
    improper: str | None = None
    warnings: tuple[str, ...] = ()


def posterior_faults(trust: Trust) -> tuple[str, ...]:
    """Why a posterior's spread must not be read as posterior uncertainty; empty where it passed every check.

    It exists, R-hat at most 1.01 and effective sample size at least 400 (Vehtari et al. 2021), no divergences. A number
    that is missing or nan is a fault: silence is no proof of health.
    """
    faults = [] if trust.improper is None else [trust.improper]
    if trust.r_hat_max is None or math.isnan(trust.r_hat_max):
        faults.append("R-hat unknown")
    elif trust.r_hat_max > R_HAT_LIMIT:
        faults.append(f"R-hat {_digits(trust.r_hat_max, R_HAT_LIMIT)}, above {R_HAT_LIMIT}")
    if trust.ess_min is None or math.isnan(trust.ess_min):
        faults.append("effective sample size unknown")
    elif trust.ess_min < ESS_LIMIT:
        faults.append(f"effective sample size {math.floor(trust.ess_min)}, below {ESS_LIMIT}")
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
) -> str:
    """Which learner to trust here, with the evidence.

    The *best group* is the learner with the best estimate and all that are not shown to predict worse than it. Of these
    the one to prefer is the simplest that can be relied on: a GLM whose posterior passed its checks, then a GLM without
    a posterior, then a learner with a sound posterior, then the top one. One whose posterior failed its checks comes
    after those, for its predictions only; one that more likely than not predicts worse than the top by more than the
    region of practical equivalence comes last of all, though that is not shown.

    Args:
        comparisons: all pairs by `metric`; pairs missing in it count as not compared.
        estimates: of `metric` on the test part; None for a learner without a finished run.
        trust: facts for each learner in `estimates`.
        metric: a criterion's name.

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
    order = sorted(finished, key=lambda name: -sign * finished[name].value)
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
    group = [top, *(n for n in order[1:] if n in against_top and against_top[n].outcome != "worse")]
    losers = [against_top[n] for n in order[1:] if n in against_top and n not in group]
    uncompared = [n for n in estimates if n != top and n not in against_top]
    sentences = [
        _leaders(group, against_top, finished, metric),
        _losers(top, losers, metric),
        _advice(_preferred(group, against_top, trust), group, trust),
        _uncertainty(trust),
        f"Not compared with {top}, for want of common finished runs: {_list(uncompared)}." if uncompared else "",
        _next_step(group, against_top, finished[top].n_splits, trust, metric),
    ]
    return " ".join(s for s in sentences if s)


def _preferred(group: Sequence[str], against_top: Mapping[str, Comparison], trust: Mapping[str, Trust]) -> str:
    def rank(name: str) -> tuple[bool, bool, int, int]:
        facts = trust[name]
        failed = facts.posterior and bool(posterior_faults(facts))
        sound = facts.posterior and not failed
        likely_worse = name in against_top and against_top[name].p_worse > 0.5
        if facts.kind == "glm":
            place = 0 if sound else 1
        else:
            place = 2 if sound else 3
        return likely_worse, failed, place, group.index(name)

    return min(group, key=rank)


def _leaders(
    group: Sequence[str], against_top: Mapping[str, Comparison], estimates: Mapping[str, Estimate], metric: str
) -> str:
    top, *rest = group
    score = _plus_minus(estimates[top].value, estimates[top].standard_error)
    label = f"{top} (test {_metric_words(metric)} {score})"
    if len(estimates) == 1:
        return f"Only {label} finished, so there is nothing to compare it with."
    if not rest:
        return f"{label} scores best."
    same = [n for n in rest if against_top[n].outcome == "equivalent"]
    sentence = f"{label} scores best; no difference from it is shown for {_list(rest)}"
    if same:
        who = "" if same == rest else f"{_list(same)} {'is' if len(same) == 1 else 'are'} "
        width = max(against_top[n].rope for n in same)
        sentence += f" ({who}practically equivalent, within {width:.2g} {criterion(metric).unit})"
    return sentence + "."


def _losers(top: str, losers: Sequence[Comparison], metric: str) -> str:
    def by(c: Comparison) -> str:
        return _plus_minus(abs(c.difference), c.standard_error)

    unit = criterion(metric).unit
    if not losers:
        return ""
    if len(losers) == 1:
        return f"{top} predicts better than {losers[0].a} by {by(losers[0])} {unit}."
    shortfalls = [f"{c.a} by {by(c)}" for c in losers]
    return f"{top} predicts better than {_list(shortfalls)} {unit}."


def _advice(chosen: str, group: Sequence[str], trust: Mapping[str, Trust]) -> str:
    facts = trust[chosen]
    faults = posterior_faults(facts) if facts.posterior else ()
    simplest = facts.kind == "glm" and len(group) > 1
    if faults:
        sentence = f"Use {chosen} for its predictions only: its posterior failed its checks"
    elif simplest and facts.posterior:
        sentence = f"Prefer {chosen}: it is the simplest of these, and its posterior is readable and passed its checks"
    elif simplest:
        sentence = f"Prefer {chosen} for its predictions: it is the simplest of these, but has no posterior"
    elif facts.posterior:
        sentence = f"Prefer {chosen}: its posterior passed its checks"
    else:
        sentence = f"Use {chosen} for its predictions; it has no posterior"
    if facts.calibration_error is not None and not math.isnan(facts.calibration_error.value):
        error = facts.calibration_error
        sentence += f"; its calibration error is {_plus_minus(error.value, error.standard_error)}"
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
    group: Sequence[str], against_top: Mapping[str, Comparison], n_splits: int, trust: Mapping[str, Trust], metric: str
) -> str:
    undecided = [against_top[n] for n in group[1:] if against_top[n].outcome == "not shown"]
    steps = []
    if undecided:
        reach, name = max((float(stats.t.ppf(0.975, c.degrees)) * c.standard_error, c.a) for c in undecided)
        steps.append(
            f"the difference of {name} from {group[0]} is known to ± {reach:.2g} {criterion(metric).unit} only, "
            f"so use more than {n_splits} split{'' if n_splits == 1 else 's'}, or more data, to decide"
        )
    if n_splits == 1:
        steps.append("one split tells of these fits only, not of fits to other rows, so use more splits")
    if any(trust[n].posterior and posterior_faults(trust[n]) for n in group):
        steps.append("a larger budget gives the chains that failed their checks more draws")
    return f"Next: {'; '.join(steps)}." if steps else ""


def _digits(value: float, limit: float) -> str:
    # 1.012 must not read "1.01, above 1.01".
    return f"{value:.2f}" if round(value, 2) > limit else f"{value:.4g}"


def _plus_minus(value: float, error: float) -> str:
    if not math.isfinite(value) or not math.isfinite(error) or error <= _ROUNDING * abs(value):
        return f"{value:.3g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    if value and places + math.floor(math.log10(abs(value))) > 4:
        return f"{value:.5g} ± {error:.2g}"
    return f"{value:.{places}f} ± {error:.{places}f}"


def _metric_words(metric: str) -> str:
    return {"log_score": "log score", "rmse": "RMSE"}.get(metric, metric)


def _list(names: Iterable[str]) -> str:
    *init, last = names
    return f"{', '.join(init)} and {last}" if init else last
