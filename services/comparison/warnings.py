"""What the runs of a learner warn of, each kind once."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

# A number that counts or measures; not that of a row, nor part of a name.
_NUMBER = re.compile(r"(?<!row )(?<![\w.,'])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w'])")
_DIGITS = re.compile(r"(?<!row )(?<!\d)\d[\d.,]*")


def cautions_of(runs: pl.DataFrame) -> tuple[str, ...]:
    """Each warning once: alike ones of several runs as one, with how many runs say so and from what to what."""
    by_run = [_texts(row) for row in runs.iter_rows(named=True)]
    if len(by_run) == 1:
        return tuple(dict.fromkeys(by_run[0]))
    alike: dict[str, dict[int, list[str]]] = {}
    for i, texts in enumerate(by_run):
        for text in texts:
            alike.setdefault(_DIGITS.sub("#", text), {}).setdefault(i, []).append(text)
    told = []
    for saying in alike.values():
        texts = list(dict.fromkeys(text for each in saying.values() for text in each))
        told.append(f"{len(saying)} of {len(by_run)} runs{_together(texts)}")
    return tuple(told)


def _texts(run: Mapping[str, Any]) -> list[str]:
    """What a run's row warns of, its failure among it."""
    ended = [] if run["status"] == "finished" else [f"{run['status']}: {run['error']}"]
    return [*(run["warnings"] or []), *ended]


def _together(texts: Sequence[str]) -> str:
    """One text with each number that differs as a range, so that the worst is in it; where words differ, an example."""
    first = texts[0]
    if len({_NUMBER.sub("#", text) for text in texts}) > 1:
        return f", such as: {first}"
    columns = list(zip(*(_NUMBER.findall(text) for text in texts), strict=True))
    ranges = iter([_range(column) for column in columns])
    return f": {_NUMBER.sub(lambda _: next(ranges), first)}"


def _range(numbers: Sequence[str]) -> str:
    ordered = sorted(numbers, key=lambda text: float(text.replace(",", "")))
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"
