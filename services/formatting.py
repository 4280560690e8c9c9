"""Numbers as people read them: two significant digits of the standard error, and as many decimals in the value."""

MISSING = "–"
_ROUNDING = 1e-12  # a relative error that is float64's alone, as of the mean of equal values
METRIC_WORDS = {"log_score": "log score", "accuracy": "accuracy", "rmse": "RMSE"}


def format_estimate(value: float | None, standard_error: float | None) -> tuple[str, str]:
    """Value and standard error with matching digits; the error is empty where there is none to show.

    The error keeps two significant digits and the value at most five. Exact values (whose error is 0, or what rounding
    leaves of it) and values without an error keep four.
    """
    if value is None:
        return MISSING, ""
    if not standard_error or abs(standard_error) <= _ROUNDING * abs(value):
        return format_number(value, 4), ""
    decimals = 1 - _exponent(standard_error, 2)
    if decimals > 4 - _exponent(value, 5):
        small = abs(standard_error) < 1
        return format_number(value, 5), (_scientific if small else format_number)(standard_error, 2)
    return _fixed(value, decimals), _fixed(standard_error, decimals)


def format_number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, thousands separated; powers of ten only above a million and below 1e-4."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    exponent = _exponent(value, digits)
    if not -4 <= exponent < 6:
        return _scientific(value, digits)
    return _fixed(value, digits - 1 - exponent)


def format_seconds(seconds: float | None) -> str:
    """Seconds below a minute and a half, else minutes or hours."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"


def format_bytes(count: float) -> str:
    """Powers of 1024, with one decimal below ten."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.1f} {unit}" if count < 9.95 and unit != "B" else f"{count:,.0f} {unit}"


def format_probability(p: float | None) -> str:
    """Two decimals."""
    return MISSING if p is None else f"{p:.2f}"


def format_p_value(p: float | None) -> str:
    """Three decimals, or that it is below a thousandth."""
    return MISSING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def printable(text: str) -> str:
    """Text without control characters, which could move the cursor or recolour the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _exponent(value: float, digits: int) -> int:
    # After rounding to `digits`: 0.0996 to two digits is 0.10.
    return int(f"{value:.{digits - 1}e}".split("e")[1])


def _scientific(value: float, digits: int) -> str:
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(power)}"


def _fixed(value: float, decimals: int) -> str:
    rounded = round(value, decimals)
    return f"{0.0 if rounded == 0 else rounded:,.{max(decimals, 0)}f}"  # no "-0.00"
