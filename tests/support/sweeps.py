"""Sweeps of made-up runs, as `basin sweep run` would have left them in a store."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from models.runs.result import RunRequest, RunResult
from services.store.bundles import Record
from services.store.store import Store
from services.store.writer import writing
from services.sweeps.plan import MEMBERS
from tests.support.factories import PROVENANCE, STORED_AT


class Member(NamedTuple):
    """A run of a sweep; without a result it is not stored."""

    request: RunRequest
    result: RunResult | None
    dataset: str = "made-up"
    varied: dict | None = None


def put_sweep(path: Path, name: str, members: Iterable[Member]) -> Store:
    """Store a sweep with these runs; returns the store."""
    rows = []
    with writing(path) as writer:
        for asked, result, dataset, varied in members:
            if result is not None:
                writer.put(Record(asked, result, dataset, name, PROVENANCE, STORED_AT))
            text = json.dumps(varied or {})
            place = (asked.partition.index, asked.seed, text)
            rows.append((asked.run_key, dataset, asked.fingerprint, asked.learner.name, *place))
        definition = json.dumps({"name": name, "datasets": ["made-up"]})
        writer.put_sweep(name, definition, pl.DataFrame(rows, schema=MEMBERS, orient="row"))
    return Store(path)
