"""Test rows that are so far from the training rows that no prediction there can be trusted: glitches, most often."""

import re

import numpy as np

from models.data.dataset import Dataset
from models.digits import format_number

FAR = 50.0
"""Standard deviations from the training mean."""
BEYOND = 10.0
"""And times as far from it as any training row, so that columns with long tails are not accused."""
MOST = 3

_FAR = "row {row} ({cell}) is {distance} standard deviations from the training rows: is it a glitch?"
_TOLD = re.compile(
    "(?P<said>"
    + re.escape(_FAR)
    .replace(r"\{row\}", r"(?P<row>[0-9]{1,18})")
    .replace(r"\{cell\}", ".*? = [0-9,.e+-]+")
    .replace(r"\{distance\}", "[0-9,.e+-]+")
    .replace(":", ")(?::", 1)
    + ")",
    re.DOTALL,
)


def far_rows(dataset: Dataset, train: np.ndarray, test: np.ndarray) -> tuple[str, ...]:
    """One sentence for each test row with a number further from training than `FAR` and `BEYOND`, the furthest first.

    A row is told by the column where it is furthest; of more than `MOST` rows it is said how many there are. Images and
    sequences, whose values have one scale, have none.

    Args:
        dataset: a table.
        train: row numbers of the training part.
        test: row numbers of the test part.
    """
    if dataset.shape is not None or not dataset.numeric.shape[1]:
        return ()
    known, asked = dataset.numeric[train], dataset.numeric[test]
    n = np.maximum(np.sum(~np.isnan(known), axis=0), 1)
    mean = np.nansum(known, axis=0) / n
    apart = np.abs(known - mean)
    sd = np.sqrt(np.nansum(np.square(apart), axis=0) / n)
    most = np.max(np.nan_to_num(apart), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where((sd > 0) & (np.abs(asked - mean) > BEYOND * most), np.abs(asked - mean) / sd, 0.0)
    furthest = np.argmax(distance, axis=1)
    by_row = distance[np.arange(len(test)), furthest]
    found = [i for i in np.argsort(-by_row, kind="stable") if by_row[i] > FAR]
    told = [
        _FAR.format(
            row=test[i] + 1,
            cell=f"{dataset.names[furthest[i]]} = {_value(float(asked[i, furthest[i]]))}",
            distance=format_number(float(by_row[i]), 2),
        )
        for i in found[:MOST]
    ]
    if len(found) > MOST:
        told.append(f"{len(found) - MOST} further test rows are more than {FAR:.0f} standard deviations from training")
    return tuple(told)


def told_of(text: str) -> tuple[int, str] | None:
    """The number of the row, from 0, that a sentence of `far_rows` is about, and what it says; None of other texts.

    Stored runs have no column for it, and a new one would be no store of this version: their warnings are all there is.
    So whole sentences alone are taken, of the words that write them, whatever a column is called.
    """
    found = _TOLD.fullmatch(text)
    return None if found is None else (int(found["row"]) - 1, found["said"])


def _value(value: float) -> str:
    """As it stands in the table, where that is short."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else format_number(value, 5)
