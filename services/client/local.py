"""A store's answers, from its files; what a server would do for others is done by processes of this machine."""

import json
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from services.client.backend import LEARNERS, SWEEPS, Asked, RunFacts, Stands, Submitted, SweepFacts
from services.client.error_codes import telling, told
from services.client.errors import BasinError
from services.client.launches import Launches
from services.client.local_schedules import LocalSchedules
from services.client.specs import settled
from services.comparison.document import Document
from services.errors import NotStoredError
from services.execution.status import counts_by_learner, read_standing, request_stop
from services.geometry import BARRIER_THRESHOLD
from services.geometry.document import GeometryDocument
from services.provenance import reproducing
from services.settings import settings
from services.store import bundles, queries, tables
from services.store.archive import object_name
from services.store.location import exists
from services.store.reader import Reader

if TYPE_CHECKING:
    import altair as alt

    from services.sweeps.definition import Sweep

LOOK_SECONDS = 1.0  # between two looks at how a sweep stands


class Local:
    """See `services.client.backend.Backend`."""

    def __init__(self, location: str) -> None:
        """Read the store at a location, which need not be there before the first question."""
        self.where = location if "://" in location else str(Path(location).expanduser())
        absolute = self.where if "://" in self.where else str(Path(self.where).resolve())
        self._launches = Launches(absolute, settings().cache)
        self.schedules = LocalSchedules(absolute)

    def close(self) -> None:
        """Forget what was read; the next call reads it again."""
        vars(self).pop("_store", None)

    @cached_property
    def _store(self) -> Reader:
        if not exists(self.where):
            raise BasinError(
                "not_found", f"no store in {self.where}: submit() or `basin compare` makes one; or name another one"
            )
        return Reader(self.where)

    # --- tables ------------------------------------------------------------------------------------------------------

    @told
    def rows(self, asked: Asked) -> pl.DataFrame:
        """The rows that are asked for."""
        found = queries.scan(self._store, _query(asked))
        found = found if asked.limit is None else found.head(asked.limit)
        return tables.evaluate(self._store.storage, asked.table, found)

    @told
    def scan(self, asked: Asked) -> pl.LazyFrame:
        """The same, read from the table's files when it is collected."""
        if asked.where or asked.sweep:
            return queries.scan(self._store, _query(asked))
        return self._store.runs() if asked.table == "runs" else self._store.scan(asked.table)

    # --- sweeps ------------------------------------------------------------------------------------------------------

    @told
    def sweeps(self) -> pl.DataFrame:
        """A row for each sweep."""
        stored = self._store.sweeps() if exists(self.where) else []
        rows = [self._summary(name) for name in sorted({*stored, *self._launches.names()})]
        return pl.DataFrame(rows, schema=SWEEPS, orient="row")

    def _summary(self, name: str) -> Mapping[str, Any]:
        stands = self._stands(name)
        standing = stands.standing
        fitted = standing if standing is not None and standing.doing == "fitting" else None
        return {
            "name": name,
            "state": stands.state,
            "runs": fitted and fitted.runs,
            "ended": fitted and fitted.reused + sum(fitted.ended.values()),
            "updated": standing and standing.updated_at,
        }

    @told
    def sweep(self, name: str) -> SweepFacts:
        """What is known about a sweep."""
        stands = self._stands(name)
        try:
            definition, members = self._store.sweep(name)
        except (NotStoredError, BasinError):  # its process has yet to plan it
            launch = self._launches.last(name)
            if launch is None:
                raise
            return SweepFacts(name, launch.definition, stands, pl.DataFrame(schema=LEARNERS))
        return SweepFacts(name, json.loads(definition), stands, counts_by_learner(self._store, members))

    def _stands(self, name: str) -> Stands:
        standing = read_standing(self._store, name) if exists(self.where) else None
        launch = self._launches.last(name)
        if standing is not None and standing.alive:
            return Stands("running", "", True, standing)
        is_told = standing is not None and (launch is None or standing.updated_at.timestamp() >= launch.started)
        if launch is not None and launch.state.status == "running":
            return Stands("submitted", "", True, standing if is_told else None)
        if launch is not None and launch.state.status in ("failed", "lost") and not is_told:
            return Stands("failed", launch.state.reason, False, None)
        if standing is None:
            return Stands("unknown", "", False, None)
        return Stands("broken off" if standing.state == "running" else standing.state, "", False, standing)

    @told
    def submit(self, sweep: "Sweep | Mapping[str, Any]", idempotency_key: str | None) -> Submitted:
        """Start a process of this machine that runs it, and goes on without this one."""
        return self._start(settled(sweep), idempotency_key)

    def _start(self, sweep: "Sweep", key: str | None) -> Submitted:
        from services.submissions.admission import runs_at_most

        launch = self._launches.start(sweep, key)
        return Submitted(sweep.name, launch.id, runs_at_most(sweep), launch.state.status)

    @told
    def stop(self, name: str) -> None:
        """Ask the process that works on it to stop."""
        stands, launch = self.sweep(name).stands, self._launches.last(name)
        if stands.state == "running":
            request_stop(self._store, name)
        elif launch is not None:
            self._launches.stop(name, launch.id)

    @told
    def resume(self, name: str) -> Submitted:
        """Start a process that goes on with it."""
        facts = self.sweep(name)
        if facts.stands.active:
            raise BasinError(
                "conflict", f"sweep {name!r} is being worked on already: watch({name!r}) shows how it stands"
            )
        return self._start(settled(facts.definition), None)

    def standings(self, name: str) -> Iterator[Stands]:
        """How it stands, until neither its process nor another one works on it."""
        with telling():
            self.sweep(name)
            while (stands := self._stands(name)).active:
                yield stands
                time.sleep(LOOK_SECONDS)
            yield stands

    # --- what it says ------------------------------------------------------------------------------------------------

    @told
    def comparisons(self, sweep: str, dataset: str | None) -> list[Document]:
        """The comparison of a sweep on each of its datasets, or on one."""
        from services.comparison.stored import compare_stored

        return [each.document for each in compare_stored(self._store, sweep, dataset)]

    @told
    def comparison_figures(self, sweep: str, document: Document) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a comparison by name."""
        from services.client.drawing import comparison_figures

        return comparison_figures(self._store, sweep, document)

    @told
    def geometry(self, sweep: str) -> GeometryDocument:
        """What a sweep's geometry says."""
        from services.geometry.summary import collect, summarise

        return summarise(collect(self._store, sweep), sweep, BARRIER_THRESHOLD)

    @told
    def geometry_figures(self, document: GeometryDocument, dataset: str) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a sweep's geometry on one dataset by name."""
        from services.client.drawing import geometry_figures_of

        return geometry_figures_of(self._store, document, dataset)

    @told
    def run(self, run_key: str) -> RunFacts:
        """What is known about a stored run."""
        try:
            found = self._bundle(run_key)
        except FileNotFoundError:
            raise BasinError(
                "not_found", f"no run {run_key} in {self.where}: runs() has those that are stored"
            ) from None
        return RunFacts(found, reproducing(run_key, self.where))

    def _bundle(self, run_key: str) -> bundles.Bundle:
        """The bundle of a run: of one that failed, the bundle of its last attempt."""
        storage = self._store.storage
        if storage.exists(bundles.FOLDER, object_name(run_key)):
            return bundles.read(storage, run_key)
        attempts = self._store.runs().filter(run_key=run_key).select("bundle")
        found = tables.evaluate(storage, "runs", attempts)["bundle"].to_list()
        return bundles.read(storage, found[0] if found else run_key)


def _query(asked: Asked) -> queries.Query:
    return queries.Query.model_validate(
        {"table": asked.table, "where": asked.where, "select": asked.select, "sort": asked.sort, "sweep": asked.sweep}
    )
