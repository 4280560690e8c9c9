"""Times, sizes and probabilities as people read them; numbers and estimates are in `models.digits`."""

from models.digits import MISSING, MOST, format_number

METRIC_WORDS = {"log_score": "log score", "accuracy": "accuracy", "rmse": "RMSE"}


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


def format_hours(hours: float) -> str:
    """Two decimals below a hundred, as much computing is counted in."""
    return f"{hours:.2f}" if hours < 99.995 else format_number(round(hours), MOST)


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
