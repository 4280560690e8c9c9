"""Names that were meant, most likely, by one that is not known."""

import difflib
from collections.abc import Iterable

_CUTOFF = 0.5  # of difflib's ratio
_ABOUT_AS_NEAR = 0.1  # as the nearest; the others would only distract
_MOST = 3
_LONGEST = 80  # characters that are looked at: the time goes with their square


def did_you_mean(written: str, known: Iterable[str], otherwise: str) -> str:
    """`did you mean 'a' or 'b'?` with the nearest of the known names, the nearest first; `otherwise` where none is."""
    written = written[:_LONGEST]
    near = difflib.get_close_matches(written, list(known), n=_MOST, cutoff=_CUTOFF)
    ratios = [difflib.SequenceMatcher(None, name, written).ratio() for name in near]
    meant = [name for name, ratio in zip(near, ratios, strict=True) if ratio >= ratios[0] - _ABOUT_AS_NEAR]
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else otherwise
