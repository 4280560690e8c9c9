"""A sweep's geometry in words: which measures tell who generalises, flat or sharp, and draws against optima."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from models.digits import format_beside, format_number
from services.geometry.document import Ranking


def words(measure: str, component: str = "") -> str:
    """A measure's name in words."""
    return measure.replace("_", " ") + (f" ({component})" if component else "")


def verdict(rankings: Sequence[Ranking]) -> str:
    """Does flatness tell which solution generalises? The measures whose interval excludes zero, or that none does.

    Args:
        rankings: of all datasets, those of one with the largest |tau| first.
    """
    if not rankings:
        return (
            "No measure was taken at two or more deterministic nets on one split, so whether flatness tells which "
            "solution generalises cannot be said: vary a setting or add seeds, then `basin measure`."
        )
    said = []
    for dataset in dict.fromkeys(r.dataset for r in rankings):
        mine = [r for r in rankings if r.dataset == dataset]
        bounded = [r for r in mine if r.tau.lower is not None and r.tau.upper is not None]
        shown = [r for r in bounded if _side(r) != 0]
        if shown:
            said.append(f"On {dataset}: {shown[0].sentence}")
            if len(shown) > 1:
                said.append(_others(len(shown) - 1, len(mine) - 1))
        elif bounded and len(mine) > 1:
            said.append(f"On {dataset}, none of {len(mine)} measures is shown to tell which solution generalises.")
        else:
            said.append(f"On {dataset}: {mine[0].sentence}")
        if flat := flat_or_sharp(bounded):
            said.append(flat)
    return " ".join(said)


def _side(ranking: Ranking) -> Literal[-1, 0, 1]:
    """On which side of zero tau is shown to be: 1 where a larger measure goes with a larger gap."""
    lower, upper = ranking.tau.lower, ranking.tau.upper
    return 1 if lower is not None and lower > 0 else -1 if upper is not None and upper < 0 else 0


def _others(shown: int, n: int) -> str:
    if n == 1:
        return "The other measure has an interval without zero, too."
    return f"Of the other {n} measures {shown} {'has' if shown == 1 else 'have'} an interval without zero, too."


def flat_or_sharp(bounded: Sequence[Ranking]) -> str:
    """Whether flatter or sharper solutions generalise better, by the measures of flatness among those; empty of none.

    A measure that is larger of sharper solutions shows that flatter ones generalise better where it rises with the gap,
    and one that is larger of flatter solutions where it falls.
    """
    sides = [_side(r) * (1 if r.larger == "sharper" else -1) for r in bounded if r.larger in ("sharper", "flatter")]
    if not sides:
        return ""
    flat, sharp, nothing = (sides.count(side) for side in (1, -1, 0))
    of = f"of {len(sides)} measures of flatness" if len(sides) > 1 else "the one measure of flatness"
    if not flat and not sharp:
        no = f"none {of} shows" if len(sides) > 1 else f"{of} does not show"
        return f"Flat or sharp: {no} which generalise better."
    if len(sides) == 1:
        return f"Flat or sharp: {'flatter' if flat else 'sharper'} solutions generalise better, by {of}."
    rest = f", and {nothing} {'shows' if nothing == 1 else 'show'} nothing" if nothing else ""
    if flat and sharp:
        return (
            f"Flat or sharp: the measures contradict each other, for {of} {flat} "
            f"{'shows' if flat == 1 else 'show'} that flatter solutions generalise better, {sharp} that sharper ones "
            f"do{rest}."
        )
    return (
        f"Flat or sharp: {'flatter' if flat else 'sharper'} solutions generalise better, as {flat or sharp} {of} "
        f"{'shows' if flat + sharp == 1 else 'show'}{rest}."
    )


def typical_sentence(name: str, posterior: str, optimum: str, ratio: float, lower: float, upper: float) -> str:
    """A measure at draws of a posterior over the same at point estimates, with the ratio's interval."""
    if not np.isfinite(ratio):
        return f"The {name} of draws of {posterior} and of {optimum}'s estimates cannot be set in proportion."
    said = f"The {name} at draws of {posterior} is {format_number(ratio)} times that at {optimum}'s estimates"
    if not np.isfinite(lower):
        return f"{said}; there is no interval, which takes several chains and positive values."
    shown = "" if lower > 1 or upper < 1 else ", so no difference is shown"
    interval = f"{format_beside(lower, 1)} to {format_beside(upper, 1)}"
    return f"{said} (95 % interval over chains and estimates {interval}){shown}."
