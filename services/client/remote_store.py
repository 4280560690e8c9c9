"""A sweep on a server as if its store were here, so that charts are drawn from it by the same code."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import polars as pl

from models.spec.settings import canonical_json
from services.client.backend import Asked, Backend
from services.store.archive import Archive
from services.store.bundles import Bundle
from services.store.schemas import SCHEMAS
from services.store.store import Store

_ABSENT = object()


class RemoteStore(Store):
    """The runs of one sweep, each table fetched when it is first read. It has their rows, bundles and members alone."""

    def __init__(self, backend: Backend, sweep: str) -> None:
        self.location = backend.where
        self._backend, self._name = backend, sweep
        self._table = cache(self._fetched)

    def scan(self, table: str) -> pl.LazyFrame:
        """One of the tables."""
        return self._table(table).lazy()

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The answer of a query to the tables, which are in memory."""
        return query.collect()

    def runs(self) -> pl.LazyFrame:
        """The table `runs` with one row for each run: its last attempt."""
        return self._table("runs").lazy()

    def sweep(self, name: str) -> tuple[str, pl.DataFrame]:
        """What the sweep asks for, and its runs."""
        definition = self._backend.sweep(name).definition
        runs = self._table("runs").select("run_key", "dataset", "fingerprint", "learner", "split", "seed", "spec")
        paths = sorted(definition.get("vary") or {})
        varied = [canonical_json(_settings(json.loads(spec), paths)) for spec in runs["spec"]]
        return json.dumps(definition), runs.drop("spec").with_columns(varied=pl.Series(varied, dtype=pl.String))

    def bundle(self, run_key: str) -> Bundle:
        """The bundle of a stored run, whose parts are fetched when they are read."""
        return self._backend.run(run_key).bundle

    def _fetched(self, table: str) -> pl.DataFrame:
        if table == "pointwise":  # no chart draws it, and it has a row for each test row of each run
            return pl.DataFrame(schema=SCHEMAS[table])
        return self._backend.rows(Asked(table, sweep=self._name))


class RemoteParts(Archive):
    """Parts of a bundle on a server, each fetched when it is read."""

    def __init__(self, names: tuple[str, ...], fetch: Callable[[str], bytes], where: str) -> None:
        self.where = where
        self._names, self._fetch = names, fetch

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def names(self) -> list[str]:
        """Names of the parts."""
        return list(self._names)

    def read(self, name: str) -> bytes:
        """The bytes of a part."""
        return self._fetch(name)


def _settings(spec: Mapping[str, Any], paths: list[str]) -> dict[str, Any]:
    """The settings of a learner at some dotted paths, without those that it does not have."""
    found = {path: _at(spec, path.split(".")) for path in paths}
    return {path: value for path, value in found.items() if value is not _ABSENT}


def _at(value: Any, path: list[str]) -> Any:
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT
        value = value[key]
    return value
