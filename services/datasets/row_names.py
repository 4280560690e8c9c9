"""Columns that name or number the rows, and what their order gives away."""

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

_INDEX = re.compile(
    r"(?i)unnamed:? ?[\d.]*(_level_\d+)?|#|__index_level_\d+__|index|level_\d+|row[._ ]?(names?|index)|"
)
# Names that are given where there is none.
_PLACE = re.compile(r"(?i)(x|v|f|c|col|column|var|field)[._ ]?\d+")
_ID = re.compile(
    r"(?i:(.*[._\- ])?(ids?|uid|rows?|row_?(id|nr|no|num|number)|idx|index)(\.?\d+)?|id[._\- ].*)|.*[a-z]I[Dd]"
)
_NUMBER = re.compile(
    r"(?i)(.*[._\- ])?(key|nr|no|num|number|obs|observation|case|record|rec|seq|sequence|serial|counter)"
)
_TIME = re.compile(
    r"(?i:(years?|yr|month|week|day|date|period|epoch|decade|visit|wave|times?|timestamp|datetime)"
    r"([._\- ]?(id|nr|no|number|index|of.*))?|.*[._\- ](date|year|timestamp|datetime)|(date|year|month|week)[._\- ].*)"
    r"|.*[a-z](Date|Year)"
)
_GROUP = re.compile(
    r"(?i:(.*[._\- ])?(subject|patient|person|participant|individual|user|customer|client|member|student|pupil|animal|"
    r"mouse|rat|dog|cow|plant|tree|site|cent(er|re)|hospital|clinic|school|classroom|teacher|family|household|batch|lot|"
    r"plate|plot|block|group|cluster|session|device|machine|station|sensor|store|shop|account)s?"
    r"([._\- ]?(id|nr|no|number|code|name))?|(.*[._\- ])?id)|.*[a-z]I[Dd]"
)


_NUMBERS = "numbers the rows, which may leak their order"


class RowNames(NamedTuple):
    """What a column says of the rows: why it is dropped, as a leak or not, or a warning; None where it says nothing."""

    dropped: str | None = None
    leak: str | None = None
    warned: str | None = None


def is_index_name(name: str) -> bool:
    """Whether a column has no name of its own, or that of a table's index."""
    return _INDEX.fullmatch(name.strip()) is not None


def is_time_name(name: str) -> bool:
    """Whether a column's name speaks of time."""
    return _TIME.fullmatch(name.strip()) is not None


def is_group_name(name: str) -> bool:
    """Whether a column's name is that of what rows may share: a person, a site, a batch."""
    return _GROUP.fullmatch(name.strip()) is not None


def judge_row_names(name: str, values: pl.Series, keep: np.ndarray, target: np.ndarray, classes: bool) -> RowNames:
    """Whether a column of integers names the rows.

    Looked for in all rows, as removed rows would hide a numbering; `keep` marks those that have a `target`. Only
    integers that all differ and are never missing can name rows. Without a name, or with an index's, they are dropped
    in any order. With a name of their own they may be a measure or a trend, such as a year: they are dropped where
    they go in steps of 1 under a name such as id or x1, or where the target follows their order; else warned of.
    """
    numbers = whole_numbers(values)
    if numbers is None or len(numbers) < 3:
        return RowNames()
    if len(set(numbers)) < len(numbers):
        doubtful = is_index_name(name) and len(set(numbers)) > len(numbers) / 10
        return RowNames(warned="looks like row names that repeat: leave it out if it is that" if doubtful else None)
    steady = {b - a for a, b in pairwise(numbers)} in ({1}, {-1})
    if is_index_name(name):
        names = "names the rows (integers that all differ, without a name or with an index's), and may leak their order"
        return RowNames(_NUMBERS if steady else names)
    plain = name.strip()
    is_id, timed = _ID.fullmatch(plain) is not None, is_time_name(name)
    named = is_id or _NUMBER.fullmatch(plain) is not None
    dense = max(numbers) - min(numbers) < 2 * len(numbers)
    if not timed and (is_id or dense):
        order = np.argsort(np.array(numbers, dtype=object)[keep], kind="stable")
        if _follows(target[order], classes, loosely=named):
            return RowNames(
                leak=f"it numbers the rows, and the {'classes come' if classes else 'target comes'} in its order, so "
                f"it tells the target of rows whose neighbours were seen: check how it came about"
            )
    if steady and not timed and (named or _PLACE.fullmatch(plain)):
        return RowNames(_NUMBERS)
    if steady:
        return RowNames(warned="numbers the rows in steps of 1: a trend, if that is meant; leave it out if it is not")
    if named and not timed:
        return RowNames(warned="holds integers that all differ, as a name of the rows does: leave it out if it is one")
    return RowNames()


def whole_numbers(values: pl.Series) -> list[int] | None:
    """The integers of a column of numbers or digits without gaps, exactly; None where it holds anything else."""
    if values.has_nulls() or not (values.dtype.is_numeric() or values.dtype == pl.String):
        return None
    if values.dtype == pl.String:
        exact = values.str.contains(r"^[-+]?\d{1,300}$").all()
        return list(map(int, values)) if exact else None
    floats = values.to_numpy()
    if not np.all(np.isfinite(floats)) or not np.array_equal(floats, np.floor(floats)):
        return None
    return list(map(int, floats))


def _follows(target: np.ndarray, classes: bool, loosely: bool) -> bool:
    """Whether a target in the order of a column comes in runs or rises.

    Of n labels in random order, 1 + n (1 - sum of squared shares) runs are expected; as many runs as classes are a
    sorted file, and half of what is expected is enough where the column's name says that it is a number of rows. For
    numbers, the rank correlation with the order is above .9.
    """
    if len(target) < 3:
        return False
    if classes:
        runs = 1 + int((target[1:] != target[:-1]).sum())
        _, counts = np.unique(target, return_counts=True)
        expected = 1 + len(target) * (1 - float(((counts / len(target)) ** 2).sum()))
        in_blocks = runs == len(counts) and expected > 2 * runs
        return in_blocks or (loosely and expected > 10 and runs < expected / 2)
    if not loosely:
        return False
    ranks = np.unique(target, return_inverse=True)[1].astype(float)
    return bool(abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) > 0.9) if ranks.any() else False
