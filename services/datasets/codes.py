"""Digits that are text: codes with leading zeros, and whole numbers too large for a float."""

import polars as pl

LARGEST_EXACT = 2**53
# Of longer text Python makes no integer; it is no float either.
_MOST_DIGITS = 300


def why_code(text: pl.Series, typeless: bool) -> str | None:
    """Why a column of stripped digits is text rather than numbers, or None.

    `typeless`: the table comes from a file that states no types, so that equal lengths mean nothing there: the years
    1999 to 2020 have one, too. Digits that were stored as text for no other reason are a code, such as a ZIP code.
    """
    cells = text.drop_nulls()
    if cells.is_empty() or not cells.str.contains(r"^[-+]?\d+$").all():
        return None
    if cells.str.contains(r"^0\d").any():
        return "digits with leading zeros"
    if not all(map(_is_exact, cells.filter(cells.str.len_chars() > 15).unique())):
        return "whole numbers beyond 2^53, which would be rounded"
    if not typeless and cells.str.contains(r"^\d{2,}$").all() and cells.str.len_chars().n_unique() == 1:
        return "stored text of digits of equal length"
    return None


def too_large(values: pl.Series) -> bool:
    """Whether a column of integers holds one that no float is equal to."""
    if not values.dtype.is_integer():
        return False
    present = values.drop_nulls().cast(pl.Int128)
    return not all(int(float(v)) == v for v in present.filter(present.abs() > LARGEST_EXACT).unique())


def _is_exact(digits: str) -> bool:
    return len(digits) <= _MOST_DIGITS and int(float(digits)) == int(digits)
