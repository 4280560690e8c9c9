"""What a posterior's diagnostics hold against believing it, in plain words.

The limits on R-hat (1.01) and on effective draws (100 per chain) are those of Vehtari et al. (2021, section 4), that on
BFMI is Stan's.
"""

from collections.abc import Iterator, Mapping
from math import inf

from models.diagnostics.chains import DISAGREE, MIN_DRAWS
from models.digits import format_ess, format_r_hat

UNTRUSTED = "do not read its uncertainty as posterior uncertainty"


def warnings(s: Mapping[str, float]) -> Iterator[str]:
    """Say what a summary by `diagnose` holds against believing the posterior; nothing where all is well."""
    n, n_draws = int(s["n_chains"]), int(s["n_draws"])
    of = "parameters" if "r_hat_weights_max" not in s else "predictions"
    broken = n_draws < MIN_DRAWS or any(
        s[f"chains_{fault}"] for fault in ("not_finite", "stuck", "repeating", "duplicated")
    )
    if k := int(s["chains_not_finite"]):
        yield f"{k} of {n} chains hold values that are not finite: {UNTRUSTED}"
    if k := int(s["chains_stuck"]):
        yield f"{k} of {n} chains are stuck, their draws hardly ever change: {UNTRUSTED}"
    if k := int(s["chains_repeating"]):
        yield f"{k} of {n} chains go through the same draws again and again: {UNTRUSTED}"
    if k := int(s["chains_duplicated"]):
        yield f"{k} of {n} chains repeat the draws of another: give each chain its own key; {UNTRUSTED}"
    if n_draws < MIN_DRAWS:
        yield f"{n_draws} draws per chain are too few to judge (at least {MIN_DRAWS}): {UNTRUSTED}"
    if n == 1:
        yield f"a single chain cannot show that chains disagree, so it has no R-hat: run 4 or more; {UNTRUSTED}"
    worst, apart = s["r_hat_max"], int(s.get("chains_disagreeing", 0))
    if n > 1 and worst > DISAGREE and (apart or worst < inf or not broken):
        number = f"R-hat {format_r_hat(worst)}" if worst < inf else "R-hat cannot be had"
        who = f"{apart} of {n} chains disagree on {of}" if apart else f"chains have not settled on {of}"
        yield f"{who} ({number}): {UNTRUSTED}"
    elif 1.01 < worst <= DISAGREE:
        yield f"chains are not fully mixed on {of} (R-hat {format_r_hat(worst)}, want 1.01 or less): run longer"
    wanted = 100 * n
    if not broken and s["ess_min"] < wanted:
        few = format_ess(s["ess_min"])
        yield f"few effective draws of {of} ({few}, want {wanted}): its intervals are rough; run longer"
    if k := int(s["divergences"]):
        share = k / (n * n_draws)
        if share == 1.0:
            yield f"every draw diverged: {UNTRUSTED}"
        else:
            yield f"{k} of {n * n_draws} draws diverged: parts of the posterior are missed; raise target_accept"
    if s["bfmi_min"] < 0.3:
        yield f"energy is explored slowly (BFMI {s['bfmi_min']:.2f}, want 0.3): the tails may be missed"
    if s.get("treedepth_share", 0.0) > 0.05:
        yield (
            f"{s['treedepth_share']:.0%} of trajectories reached the largest tree depth: "
            "sampling is slower than it need be; raise max_tree_depth"
        )
    if "p_loo" not in s:
        yield "PSIS-LOO could not be had: log-likelihoods are too few or not finite"
    elif s["pareto_k_bad_share"] > 0:
        yield (
            f"PSIS-LOO is unreliable for {s['pareto_k_bad_share']:.1%} of the training rows "
            f"(Pareto k up to {s['pareto_k_max']:.2f}): p_loo and elpd_loo are rough"
        )
