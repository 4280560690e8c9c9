"""What comparisons and rankings are computed from, by name: light, where computing them takes seconds to import."""

import hashlib

import polars as pl

from services.store.store import Store


def content_of(store: Store, sweep: str, *tables: str) -> str:
    """Tells what the store has of a sweep's runs now from what it had before: bundles never change.

    Args:
        store: where the sweep is.
        sweep: its name.
        tables: those that matter beside `runs`, of `measurements`.

    Raises:
        NotStoredError: there is no such sweep.
        StoreError: the store cannot be read.
    """
    _, members = store.sweep(sweep)
    asked = members.lazy().select("run_key").unique()
    found = [store.runs().join(asked, on="run_key", how="semi").select("bundle").sort("bundle")]
    found += [
        store.scan(t).join(asked, on="run_key", how="semi").select("measurement").sort("measurement") for t in tables
    ]
    told = hashlib.sha256(store.sweep_digest(sweep).encode())
    for names in pl.collect_all(found):
        told.update("\n".join(["", *names.to_series()]).encode())
    return told.hexdigest()
