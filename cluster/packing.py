"""Runs into packs: those that share a compiled program, their data and their resources travel to a worker together."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.resources import Resources


@dataclass(frozen=True)
class Item:
    """One run to execute.

    Attributes:
        payload: what the work function gets; executors do not look inside.
        program: what must be equal for two runs to share one compiled program.
        data: key of the data object that the run needs.
        cost: expected work in any one unit, at least 0; only its proportions count.
        resources: what the run asks of a worker.
    """

    run_key: str
    payload: Any
    program: str
    data: str
    cost: float
    resources: Resources


@dataclass(frozen=True)
class Pack:
    """One or more items that share program, data and resources."""

    items: tuple[Item, ...]

    @property
    def cost(self) -> float:
        """Sum of the items' costs."""
        return math.fsum(item.cost for item in self.items)

    @property
    def data(self) -> str:
        """Key of the data object that all items need."""
        return self.items[0].data

    @property
    def resources(self) -> Resources:
        """What all items ask of a worker."""
        return self.items[0].resources


def pack(items: Iterable[Item], width: int, n_workers: int = 1) -> list[Pack]:
    """Group items into packs of at most `width`, the most expensive pack first, so that the tail is short.

    A group of items that may travel together is cut into packs as equal in size as can be, since each size is a
    program of its own, and into enough of them that none holds much more than a worker's fair share of all the cost.
    Items of similar cost share a pack. The result depends on the set of items alone, not on their order.

    Raises:
        ValueError: `width` or `n_workers` is less than 1.
    """
    if width < 1 or n_workers < 1:
        raise ValueError(f"a pack needs room and a worker: width is {width} and n_workers {n_workers}, at least 1 each")
    groups: defaultdict[tuple[str, str, Resources], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (-item.cost, item.run_key)):
        groups[item.program, item.data, item.resources].append(item)
    share = math.fsum(item.cost for group in groups.values() for item in group) / n_workers
    packs = [piece for group in groups.values() for piece in _cut(group, width, share)]
    return sorted(packs, key=lambda piece: (-piece.cost, piece.items[0].run_key))


def _cut(group: list[Item], width: int, share: float) -> list[Pack]:
    by_cost = math.ceil(math.fsum(item.cost for item in group) / share) if share else 1
    n = min(len(group), max(math.ceil(len(group) / width), by_cost))
    bounds = [i * len(group) // n for i in range(n + 1)]
    return [Pack(tuple(group[start:end])) for start, end in itertools.pairwise(bounds)]
