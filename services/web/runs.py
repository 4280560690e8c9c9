"""What the pages say of single runs, and of two side by side, before their bundles are read."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from models.digits import MISSING
from services.errors import NotStoredError
from services.provenance import reproducing
from services.store.store import Store

_TOLD = ("method", "optimiser", "learning_rate", "momentum", "batch_size", "weight_decay", "dropout", "chains", "draws")


def facts(store: Store, run_key: str, location: str | None) -> dict[str, Any]:
    """One run, as its page shows it at first; `location` is the store's, where it may be told.

    Raises:
        NotStoredError: there is none of this key.
    """
    run = row_of(store, run_key)
    return {
        "run": run,
        "settings": [(name.replace("_", " "), run[name]) for name in _TOLD if run[name] is not None],
        "spec": json.dumps(json.loads(run["spec"]), indent=2, ensure_ascii=False),
        "versions": json.loads(run["versions"]),
        "located": location is not None,
        "command": reproducing(run_key, location),
    }


def pair_facts(store: Store, a: str, b: str) -> dict[str, Any]:
    """Two runs, and in which of their settings they differ.

    Raises:
        NotStoredError: one of them is not stored.
    """
    runs = [row_of(store, key) for key in (a, b)]
    settings = [dict(_settings(run)) for run in runs]
    names = list(dict.fromkeys(name for each in settings for name in each))
    rows = [(name, *(each.get(name, MISSING) for each in settings)) for name in names]
    return {
        "runs": [{**run, "label": label} for run, label in zip(runs, labels_of(runs), strict=True)],
        "differing": [row for row in rows if row[1] != row[2]],
        "alike": [row[:2] for row in rows if row[1] == row[2]],
    }


def row_of(store: Store, run_key: str) -> dict[str, Any]:
    """A run's row in `runs`.

    Raises:
        NotStoredError: there is none of this key.
    """
    found = store.collect(store.runs().filter(pl.col("run_key") == run_key))
    if found.is_empty():
        raise NotStoredError(f"no run {run_key!r}", store.location, "the table of runs has those that are stored")
    return found.row(0, named=True)


def labels_of(runs: list[dict[str, Any]]) -> list[str]:
    """Each run's learner, split and seed; numbered where that is the same."""
    labels = [f"{run['learner']}, split {run['split']}, seed {run['seed']}" for run in runs]
    return labels if len(set(labels)) == len(labels) else [f"{i + 1}: {label}" for i, label in enumerate(labels)]


def _settings(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("dataset", "fingerprint", "split", "seed", "sweep"):
        yield name, str(run[name])
    yield from _leaves(json.loads(run["spec"]), "")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path, json.dumps(value, ensure_ascii=False)
