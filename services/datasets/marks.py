"""Marks of a missing value, in text as in numbers, and numbers that look like one."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from models.data.dataset import listed
from models.digits import format_short

MISSING_MARKS = (
    "", "NA", "N/A", "n/a", "na", "N.A.", "n.a.", "nan", "NaN", "NAN", "-nan", "-NaN", "null", "Null", "NULL", "None",
    "#N/A", "#NA", "#N/A N/A", "#NULL!", "<NA>", "NaT", "?", ".", "-", "--", "\u2013", "\u2014",
)  # fmt: skip
_MOST_SENTINELS = 3


def unmarked(text: pl.Series, more: Iterable[str] = ()) -> tuple[pl.Series, tuple[str, ...]]:
    """Stripped text with null for the marks of a missing value, and which marks there were besides empty cells.

    The marks are one list for every column, `more` among them. A minus is none where there is a plus, too: then both
    are signs.
    """
    text = text.str.strip_chars()
    marks = {*MISSING_MARKS, *(mark.strip() for mark in more)}
    if (text == "+").any():
        marks -= {"-", *({"--"} if (text == "++").any() else ())}
    missing = text.is_in(list(marks))
    found = text.filter(missing.fill_null(False)).unique(maintain_order=True).to_list()
    return text.set(missing, None), tuple(mark for mark in found if mark)


def unmarked_numbers(values: pl.Series, more: Iterable[str]) -> pl.Series:
    """Numbers with null for those that a person says mark a missing value."""
    marks = pl.Series(list(more), dtype=pl.String).cast(pl.Float64, strict=False).drop_nulls()
    return values.set(values.is_in(marks.to_list()), None) if len(marks) else values


def sentinels(values: np.ndarray) -> tuple[float, ...]:
    """Numbers far from all others of a column that look like a mark, such as -999, 9999 or 98 and 99.

    Written with one repeated digit, or ending in 8 or 7 after nines, and farther from the others than these are from
    one another; or any value of three rows or more that is ten times as far from at least five others. values: (n,),
    NaN where missing.
    """
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    for most in range(min(_MOST_SENTINELS, len(found) - 2), 0, -1):
        for far, near, often in (
            (found[:most], found[most:], counts[:most]),
            (found[-most:], found[:-most], counts[-most:]),
        ):
            gap = max(near[0] - far[-1], far[0] - near[-1])
            spread = near[-1] - near[0]
            if gap > spread and all(map(_looks_like_a_mark, far)):
                return tuple(far.tolist())
            if most == 1 and often[0] >= 3 and len(near) >= 5 and gap > 10 * spread:
                return tuple(far.tolist())
    return ()


def sentinel_note(name: str, values: np.ndarray) -> str | None:
    """A question about a column's sentinels, or None where it has none."""
    marks = sentinels(values)
    if not marks:
        return None
    held = np.isin(values, marks)
    others = values[np.isfinite(values) & ~held]
    which = " and ".join(f"{mark:.15g}" for mark in marks)
    options = " ".join(f"--missing {mark:.15g}" for mark in marks)
    least, most = (format_short(float(end), 4) for end in (others.min(), others.max()))
    return (
        f"{name!r} holds {which} in {held.sum()} of {len(values)} rows, far from all others ({least} to {most}): "
        f"is it a mark of missing values? ({options} says so)"
    )


def mark_note(marks: tuple[str, ...]) -> str | None:
    """Which words of a column were read as missing."""
    return f"{listed(marks, 10)} read as missing: rename what is a value" if marks else None


def _looks_like_a_mark(value: float) -> bool:
    digits = f"{abs(value):.15g}".replace(".", "")
    one_digit = digits.strip(digits[0]) == "" and digits[0] in "789"
    return len(digits) >= 2 and (one_digit or (digits[:-1].strip("9") == "" and digits[-1] in "78"))
