"""Numbers as people read them, in tables and in sentences alike: at most five digits, and no more than are known."""

import math

MISSING = "–"
MOST = 5
"""Digits that a value is given at most."""
PLAIN_FROM, PLAIN_BELOW = 1e-4, 1e6
"""Between which sizes numbers are without powers of ten."""
_ROUNDING = 1e-12  # a relative error that is float64's alone, as of the mean of equal values


def format_number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, thousands separated; powers of ten only from a million and below 1e-4."""
    if value is None or math.isnan(value):
        return MISSING
    if value == 0:
        return "0"
    if math.isinf(value):
        return f"{value}"
    exponent = _exponent(value, digits)
    return _fixed(value, digits - 1 - exponent) if _plain(exponent) else _scientific(value, digits)


def format_short(value: float | None, digits: int = MOST) -> str:
    """As `format_number`, without trailing zeros: for values that may be exact, such as a person's own."""
    mantissa, e, power = format_number(value, digits).partition("e")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + e + power


def format_estimate(value: float | None, standard_error: float | None) -> tuple[str, str]:
    """Value and standard error with matching digits; the error is empty where there is none to show.

    The error keeps two significant digits and the value at most five. Exact values (whose error is 0, or what rounding
    leaves of it) and values without an error keep four. Both have powers of ten where the larger of them has, and the
    error alone where it is too small beside its value.
    """
    if value is None or not math.isfinite(value):
        return format_number(value), ""
    if not standard_error or not math.isfinite(standard_error) or abs(standard_error) <= _ROUNDING * abs(value):
        return format_number(value, 4), ""
    of_error = _exponent(standard_error, 2)
    of_value = _exponent(value, MOST) if value else of_error
    digits = of_value - of_error + 2  # of the value, down to the error's last
    if not _plain(max(of_value, of_error)):
        shown = "0" if digits < 1 else _scientific(value, min(digits, MOST))
        return shown, _scientific(standard_error, 2)
    if digits > MOST:
        small = of_error < 0
        return format_number(value, MOST), (_scientific if small else format_number)(standard_error, 2)
    return _fixed(value, 1 - of_error), _fixed(standard_error, 1 - of_error)


def plus_minus(value: float, standard_error: float) -> str:
    """Value ± standard error in one text; ± is a standard error wherever it is said."""
    number, error = format_estimate(value, standard_error)
    return f"{number} ± {error}" if error else number


def above(value: float, limit: float, decimals: int = 3) -> str:
    """A value that is above a limit by so many decimals, or as many more as it takes to see that it is."""
    while decimals < 15 and math.isfinite(value) and value > limit >= round(value, decimals):
        decimals += 1
    return f"{value:.{decimals}f}"


def format_signed(value: float | None) -> str:
    """A correlation with its sign: two decimals, or as many more as it takes to see on which side of 0 it is."""
    if value is None or math.isnan(value):
        return MISSING
    decimals = 2
    while decimals < MOST and value != 0 == round(value, decimals):
        decimals += 1
    if value != 0 == round(value, decimals):
        return ("+" if value > 0 else "") + _scientific(value, 1)
    return f"{value:+.{decimals}f}"


def format_beside(value: float | None, limit: float, digits: int = 3) -> str:
    """As `format_number`, with as many digits more as it takes to see on which side of a limit it is."""
    if value is None or not math.isfinite(value) or value == limit:
        return format_number(value, digits)
    while digits < 15 and format_number(value, digits) == format_number(limit, digits):
        digits += 1
    return format_number(value, digits)


def format_r_hat(value: float | None) -> str:
    """Three decimals, or as many as it takes to see that it is above the limit of 1.01."""
    return MISSING if value is None else above(value, 1.01)


def format_ess(value: float | None) -> str:
    """Whole effective draws, rounded down: 399.7 is below 400."""
    return MISSING if value is None or not math.isfinite(value) else f"{math.floor(value):,}"


def _plain(exponent: int) -> bool:
    return PLAIN_FROM <= 10.0**exponent < PLAIN_BELOW


def _exponent(value: float, digits: int) -> int:
    # After rounding to `digits`: 0.0996 to two digits is 0.10.
    return int(f"{value:.{digits - 1}e}".split("e")[1])


def _scientific(value: float, digits: int) -> str:
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(power)}"


def _fixed(value: float, decimals: int) -> str:
    rounded = round(value, decimals)
    return f"{0.0 if rounded == 0 else rounded:,.{max(decimals, 0)}f}"  # no "-0.00"
