"""Names that were meant, most likely, by one that is not known."""

import difflib
from collections.abc import Iterable

_CUTOFF = 0.6  # of difflib's ratio
_MOST = 3
_LONGEST = 80  # characters that are looked at: the time goes with their square


def did_you_mean(written: str, known: Iterable[str], otherwise: str) -> str:
    """`did you mean 'a' or 'b'?` with the nearest of the known names, the nearest first; `otherwise` where none is."""
    near = difflib.get_close_matches(written[:_LONGEST], list(known), n=_MOST, cutoff=_CUTOFF)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else otherwise
