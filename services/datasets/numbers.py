"""Numbers as people write them, a whole column alike: decimal commas, thousands, currencies, per cent, units."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import polars as pl

Decimal = Literal[".", ","]

_CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|BRL|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RUB|TRY|ZAR|MXN|KRW|SGD|HKD|ILS"
_CURRENCY = rf"(?:[A-Z]{{0,2}}\p{{Sc}}|Rs\.?|{_CODES})"
# Other words that touch the number, as in 4WD or 12b, are names more often than units.
_UNITS = (
    r"^(?:[%‰]|°[CF]?|[CFK]|[kmµu]?g|lbs?|oz|t|[kcmµn]?m[23²³]?|mi|ft|in|yd|km2|ha|[mdc]?[lL]|s|secs?|ms|mins?|h|hrs?|d|"
    r"[kMG]?Hz|[kKMGT]?B|[km]?V|m?Ah?|[kM]?Wh?|k?J|k?cal|[hk]?Pa|m?bar|mmHg|psi|N|px|pt|dB|rpm|mph|kmh|km/h|m/s|kmpl|"
    rf"ppm|cc|b?hp|{_CURRENCY})$"
)
_NUMBER = (
    rf"^(?P<before>{_CURRENCY})?\s*(?P<sign>[-+]?)\s*(?P<after>{_CURRENCY})?\s*"
    r"(?P<digits>[0-9.,](?:[0-9.,' ]*[0-9.,])?(?:[eE][-+]?[0-9]{1,3})?)"
    r"(?P<gap>\s*)(?P<unit>[\p{L}%‰°\p{Sc}][^\s,;]{0,11})?$"
)
# The first group of a number with thousands has no leading zero: 0,126 is no 126.
_GROUPED = {
    "": r"\d+",
    ",": r"[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3}|\d+",
    ".": r"[1-9]\d{0,2}(?:\.\d{3})+|\d+",
    " ": r"[1-9]\d{0,2}(?: \d{3})+|\d+",
    "'": r"[1-9]\d{0,2}(?:'\d{3})+|\d+",
}


class Convention(NamedTuple):
    """How the digits of a number are set: what parts its thousands ("" for nothing), and what begins its decimals."""

    thousands: str
    decimal: Decimal

    @property
    def pattern(self) -> str:
        """Matches the digits of an unsigned number."""
        mark = rf"\{self.decimal}"
        return rf"^(?:(?:{_GROUPED[self.thousands]})(?:{mark}\d*)?|{mark}\d+)(?:[eE][-+]?\d+)?$"


_DOT: tuple[Convention, ...] = tuple(Convention(thousands, ".") for thousands in ("", ",", " ", "'"))
_COMMA: tuple[Convention, ...] = tuple(Convention(thousands, ",") for thousands in ("", ".", " ", "'"))


class Numbers(NamedTuple):
    """A column's numbers: Float64, null where the cell is missing or `unread`; how they are written, in words.

    `units`: the currencies and units, where all cells are numbers, but with more than one of these ("" for none).
    """

    values: pl.Series
    unread: pl.Series
    written: str
    doubt: str = ""
    units: tuple[str, ...] = ()


def read_numbers(text: pl.Series, decimal: Decimal | None) -> Numbers:
    """Read stripped text as numbers, by the one convention, currency and unit that most of its cells have.

    `decimal` is the decimal mark of the rest of the table, where it is known: 1,234 is one and a bit, or more than
    a thousand. Where nothing tells, a dot begins decimals and a comma parts thousands, and `doubt` says so.
    Percentages and numbers with a unit are read as they stand: 12 % is 12. Amounts in brackets are negative.
    """
    plain = text.cast(pl.Float64, strict=False)
    if plain.null_count() == text.null_count() and not (decimal == "," and text.str.contains(r"\.").any()):
        return Numbers(plain, plain.is_null() & text.is_not_null(), "", _doubt_of_plain(text, decimal))
    parts = _parts(text)
    affixes = parts["affix"].drop_nulls()
    if affixes.is_empty():
        return Numbers(plain, plain.is_null() & text.is_not_null(), "")
    affix = str(affixes.mode(maintain_order=True)[0])
    digits = parts["digits"].set(parts["affix"].ne_missing(pl.Series([affix])), None)
    known = [c for c in _in_order(decimal) if digits.str.contains(c.pattern).sum() == digits.count()]
    convention = known[0] if known else max(_in_order(decimal), key=lambda c: digits.str.contains(c.pattern).sum())
    values = _values(digits, convention, parts["negative"])
    doubt = ""
    if decimal is None:
        other = next((c for c in known if c.decimal != convention.decimal), None)
        if other is not None and not _values(digits, other, parts["negative"]).equals(values, null_equal=True):
            doubt = _doubt(digits, convention)
    # Infinity has no digits, and is refused where it counts.
    endless = plain.set(plain.is_finite(), None)
    values = pl.select(pl.coalesce(values, endless)).to_series()
    found = affixes.unique(maintain_order=True).to_list()
    return Numbers(
        values.alias(text.name),
        (values.is_null() & text.is_not_null()).alias(text.name),
        _words(digits, convention, affix, parts["bracketed"].any()),
        doubt,
        tuple(found) if len(found) > 1 and len(affixes) == text.count() else (),
    )


def decimal_of(columns: Iterable[pl.Series]) -> Decimal | None:
    """The decimal mark that columns of stripped text agree on; None where none tells, or they differ.

    A column tells where its numbers can be read with one mark alone: 0,5 and 2.560,86 tell, 1,234 does not.
    """
    marks: list[Decimal] = []
    for text in columns:
        if not text.str.contains(r"\d[.,]\d|[.,]\d").any():
            continue
        parts = _parts(text.unique())
        digits = parts["digits"]
        if digits.null_count() > text.unique().null_count():
            continue
        possible: list[Decimal] = [
            c.decimal for c in _DOT + _COMMA if digits.str.contains(c.pattern).sum() == digits.count()
        ]
        if len(set(possible)) == 1:
            marks.append(possible[0])
    return marks[0] if len(set(marks)) == 1 else None


def _in_order(decimal: Decimal | None) -> tuple[Convention, ...]:
    return _COMMA + _DOT if decimal == "," else _DOT + _COMMA


def _parts(text: pl.Series) -> pl.DataFrame:
    """Of each cell that could be a number: its digits, currency or unit ("" for none), and its sign."""
    even = (
        text.str.replace_all(r"[\x{00a0}\x{2007}\x{2009}\x{202f}]", " ")
        .str.replace_all("[\u2019\u02bc`]", "'")
        .str.replace_all("[\u2212\u2013]", "-")
    )
    bracketed = even.str.contains(r"^\(.*\d.*\)$|^[^-+]*\d-$")
    bare = even.str.strip_chars("()").str.replace(r"(\d)-$", "$1")
    found = pl.select(pl.when(bracketed).then(bare).otherwise(even)).to_series().str.extract_groups(_NUMBER)
    frame = found.struct.unnest().with_columns(pl.col("before", "after", "unit", "gap").fill_null(""))
    near = frame["unit"].str.contains(_UNITS)
    usable = frame["digits"].is_not_null() & ((frame["unit"] == "") | (frame["gap"] != "") | near)
    affix = (
        frame["before"]
        + frame["after"]
        + pl.select(
            pl.when((frame["before"] + frame["after"] != "") & (frame["unit"] != ""))
            .then(pl.lit(" ") + frame["unit"])
            .otherwise(frame["unit"])
        ).to_series()
    )
    return pl.DataFrame(
        {
            "digits": frame["digits"].set(~usable, None),
            "affix": affix.set(~usable, None),
            "negative": (bracketed.fill_null(False) | (frame["sign"] == "-")).fill_null(False),
            "bracketed": bracketed.fill_null(False) & usable,
        }
    )


def _values(digits: pl.Series, convention: Convention, negative: pl.Series) -> pl.Series:
    kept = digits.set(~digits.str.contains(convention.pattern), None)
    if convention.thousands:
        kept = kept.str.replace_all(convention.thousands, "", literal=True)
    values = kept.str.replace(convention.decimal, ".", literal=True).cast(pl.Float64, strict=False)
    return pl.select(pl.when(negative).then(-values).otherwise(values)).to_series()


def _words(digits: pl.Series, convention: Convention, affix: str, bracketed: bool) -> str:
    """How numbers are written that are not written plainly."""
    body = digits.str.replace(r"[eE].*$", "")
    words = []
    thousands, decimal = convention
    if thousands and body.str.contains(thousands, literal=True).any():
        name = {",": "commas", ".": "dots", " ": "spaces", "'": "apostrophes"}[thousands]
        words.append(f"{name} between thousands")
    if decimal == "," and body.str.contains(",", literal=True).any():
        words.append("a decimal comma")
    if affix == "%":
        words.append("a per cent sign, so that 12% is 12")
    elif affix:
        words.append(f"{affix!r}")
    if bracketed:
        words.append("brackets or a last minus for negative ones")
    return " and ".join(words)


def _doubt_of_plain(text: pl.Series, decimal: Decimal | None) -> str:
    """1.234 throughout may be thousands."""
    if decimal is not None or not text.str.contains(r"\.").any():
        return ""
    digits = text.str.strip_prefix("-")
    thousands = digits.str.contains(_COMMA[1].pattern).sum() == digits.count()
    return _doubt(digits, _DOT[0]) if thousands else ""


def _doubt(digits: pl.Series, convention: Convention) -> str:
    mark = r"\." if convention == _DOT[0] or convention.thousands == "." else ","
    example = digits.filter(digits.str.contains(mark).fill_null(False))[0]
    value = _values(pl.Series([example]), convention, pl.Series([False]))[0]
    other = "," if convention.decimal == "." else "."
    doubt = f"{example} was taken for {value:.15g}, which nothing else in the table tells"
    return f"{doubt} (--decimal '{other}' says otherwise)"
