"""Runs as executors take them."""

from collections.abc import Iterable, Iterator

from cluster.packing import Item
from cluster.resources import Resources
from models.runs.result import RunRequest


def items_of(requests: Iterable[RunRequest]) -> Iterator[Item]:
    """Each by itself."""
    return (Item(r.run_key, r, f"program of {r.run_key}", r.fingerprint, 1.0, Resources()) for r in requests)
