"""Dates and times as people write them, with or without a zone."""

from typing import NamedTuple

import polars as pl

_ISO = "year-month-day"
_DAY_FIRST = "day/month/year"
_MONTH_FIRST = "month/day/year"
_NAMED = "with the month's name"
_COMPACT = "%Y%m%d"
_TIMES = ("", "%H:%M", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")
# A year of two digits is tried before one of four, which would take 19 for the year 19.
_DATES = (
    (_ISO, "%Y-%m-%d"),
    (_ISO, "%Y/%m/%d"),
    (_ISO, "%Y.%m.%d"),
    *((_DAY_FIRST, f"%d{mark}%m{mark}%{year}") for mark in ".-/" for year in "yY"),
    *((_MONTH_FIRST, f"%m{mark}%d{mark}%{year}") for mark in "-/" for year in "yY"),
    *(
        (_NAMED, layout)
        for layout in ("%d %b %Y", "%d-%b-%Y", "%d%b%Y", "%b %d, %Y", "%d-%b-%y", "%d %B %Y", "%B %d, %Y")
    ),
)
_ZONE = r"^(.*\d(?: ?[AaPp][Mm])?) ?(Z|UTC|GMT|[-+]\d\d:?\d\d|[-+]\d\d)$"
_LOOKS = (
    r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?$|^\d{1,2}[-/.]\d{1,2}[-/.](\d{2}|\d{4})([T ].*)?$"
    r"|^\d{1,2}[- ]?(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[- ]?\d{2,4}|"
    r"^(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d{1,2}, \d{4}"
    r"|^\d{4}[-/]\d{1,2}$|^\d{1,2}/\d{4}$|^\d{4}[- ]?[QqWw]\d{1,2}$|^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?$"
)


class Dates(NamedTuple):
    """A column's times (of UTC where zones are written), null where missing or `unread`; how they are written."""

    times: pl.Series
    unread: pl.Series
    written: str
    doubt: str = ""


def look_like_dates(text: pl.Series) -> pl.Series:
    """Which cells are set out as dates or times of the day are, whether or not they can be read."""
    return text.str.contains(_LOOKS).fill_null(False)


def are_compact(text: pl.Series) -> bool:
    """Whether all cells are days such as 20190531, of 1900 to 2099, and there are three or more of them."""
    cells = text.drop_nulls().unique()
    if len(cells) < 3 or not cells.str.contains(r"^(19|20)\d{6}$").all():
        return False
    return not cells.str.to_date(_COMPACT, strict=False).has_nulls()


def read_dates(text: pl.Series, compact: bool = False) -> Dates | None:
    """Read stripped text as dates by the one layout that most cells have; None where hardly any looks like one.

    Dots and slashes may part day, month and year, in either order. Where 13 and more never come, so that either order
    fits, dots say day first and slashes are taken for month first, and `doubt` says so. `compact` tries 20190531, too.
    """
    cells = text.drop_nulls()
    if not compact and look_like_dates(cells).sum() * 2 <= len(cells):
        return None
    body, offsets = _zones(text)
    date, time = _split(body)
    layouts = [*_DATES, *([(_ISO, _COMPACT)] if compact else [])]
    # The layouts are tried on a few cells first, as each costs a pass.
    read = [(name, layout, _times(date, time, layout)) for name, layout in layouts if _fits(date, layout)]
    if not read:
        return None
    counts = [times.count() for _, _, times in read]
    best = [each for each, count in zip(read, counts, strict=True) if count == max(counts)]
    if not max(counts):
        return None
    names = {name for name, _, _ in best}
    name, _, times = next((b for b in best if b[0] == _MONTH_FIRST), best[0])
    doubt = ""
    if {_DAY_FIRST, _MONTH_FIRST} <= names and max(counts) == len(cells):
        example = str(cells[0])
        doubt = f"no day is above 12, so {example} could be {_DAY_FIRST} as well: write year-month-day to be sure"
    zoned = offsets.is_not_null() & text.is_not_null()
    if zoned.any():
        if not zoned.equals(text.is_not_null()):
            times = times.set(~zoned, None)
        times = times - (offsets.fill_null(0) * 60_000_000).cast(pl.Duration("us"))
        name += ", with zones, which were turned into UTC"
    times = times.alias(text.name)
    return Dates(times, (times.is_null() & text.is_not_null()).alias(text.name), name, doubt)


def _zones(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The cells without their zone, and its minutes east of UTC; null where there is none."""
    found = text.str.extract_groups(_ZONE).struct.unnest()
    clock = text.str.contains(r"\d:\d")
    zone = found["2"].set(~clock.fill_null(False), None)
    body = pl.select(pl.when(zone.is_null()).then(text).otherwise(found["1"])).to_series()
    parts = zone.str.extract_groups(r"^([-+])(\d\d):?(\d\d)?$").struct.unnest()
    minutes = parts["2"].cast(pl.Int64, strict=False) * 60 + parts["3"].cast(pl.Int64, strict=False).fill_null(0)
    signed = pl.select(pl.when(parts["1"] == "-").then(-minutes).otherwise(minutes)).to_series()
    named = zone.is_in(["Z", "UTC", "GMT"]).fill_null(False)
    return body, signed.set(named, 0)


def _split(body: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The date, and the time of the day ("" for none)."""
    parts = body.str.extract_groups(r"^(.*?)(?:[T ]+(\d{1,2}:\d\d.*))?$").struct.unnest()
    return parts["1"].str.strip_chars(), parts["2"].fill_null("").str.to_uppercase()


def _fits(date: pl.Series, layout: str) -> bool:
    some = date.drop_nulls().head(50)
    return bool(_parsed(some, layout).is_not_null().any())


def _parsed(date: pl.Series, layout: str) -> pl.Series:
    marks = r"^\d{1,2}\D.*\D\d{2}$" if layout.endswith("%y") else r"\d{4}" if "%Y" in layout else ""
    return date.set(~date.str.contains(marks).fill_null(False), None).str.to_date(layout, strict=False)


def _times(date: pl.Series, time: pl.Series, layout: str) -> pl.Series:
    days = _parsed(date, layout).cast(pl.Datetime("us"))
    whole = pl.Series([None] * len(time), dtype=pl.Time)
    for form in _TIMES[1:]:
        whole = pl.select(pl.coalesce(whole, time.str.to_time(form, strict=False))).to_series()
    micros = (whole.cast(pl.Int64) // 1000).set(time == "", 0)
    return days + micros.cast(pl.Duration("us"))
