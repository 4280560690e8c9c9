"""A server's answers."""

import io
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl
from pydantic import ValidationError

from models.spec.settings import Settings
from services.client.backend import LEARNERS, SWEEPS, Asked, RunFacts, Stands, Submitted, SweepFacts
from services.client.connection import ATTEMPTS, Connection, delay
from services.client.errors import BasinError
from services.client.remote_schedules import RemoteSchedules, sweep_json
from services.client.remote_store import RemoteParts, RemoteStore
from services.comparison.document import Document
from services.execution.status import Standing
from services.geometry.document import GeometryDocument
from services.store.bundles import Bundle, Manifest
from services.store.schemas import SCHEMAS

if TYPE_CHECKING:
    import altair as alt

    from services.sweeps.definition import Sweep

ARROW = "application/vnd.apache.arrow.stream"
PAGE = 10_000
SWEEPS_PAGE = 200


class Remote:
    """See `services.client.backend.Backend`."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        """Speak to the server at `url`.

        Raises:
            BasinError: that is no URL of a server, or no token.
        """
        self._connection = Connection(url, token, timeout)
        self.where = self._connection.url
        self.schedules = RemoteSchedules(self._connection)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    # --- tables ------------------------------------------------------------------------------------------------------

    def rows(self, asked: Asked) -> pl.DataFrame:
        """The rows that are asked for."""
        return pl.concat(self._pages(asked))

    def scan(self, asked: Asked) -> pl.LazyFrame:
        """The same, fetched when it is collected: the columns and the number of rows that the query needs."""
        from polars.io.plugins import register_io_source

        def fetch(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            for page in self._pages(replace(asked, select=tuple(columns or ()), limit=n_rows)):
                yield page if predicate is None else page.filter(predicate)

        return register_io_source(fetch, schema=dict(SCHEMAS[asked.table]))

    def _pages(self, asked: Asked) -> Iterator[pl.DataFrame]:
        """One page after the other, the first one even where it is empty."""
        params = [("where", condition) for condition in asked.where]
        params += [(name, ",".join(of)) for name, of in (("select", asked.select), ("sort", asked.sort)) if of]
        params += [] if asked.sweep is None else [("sweep", asked.sweep)]
        left, cursor = asked.limit, None
        while True:
            size = PAGE if left is None else min(PAGE, max(1, left))
            place = [] if cursor is None else [("cursor", cursor)]
            answer = self._connection.get(
                f"/tables/{asked.table}", [*params, ("limit", str(size)), *place], accept=ARROW
            )
            page = pl.read_ipc_stream(io.BytesIO(answer.content))
            yield page if left is None else page.head(left)
            left = None if left is None else left - len(page)
            cursor = answer.headers.get("Basin-Next-Cursor")
            if not cursor or (left is not None and left <= 0):
                return

    # --- sweeps ------------------------------------------------------------------------------------------------------

    def sweeps(self) -> pl.DataFrame:
        """A row for each sweep."""
        rows, cursor = [], None
        while True:
            params = [("limit", str(SWEEPS_PAGE)), *([] if cursor is None else [("cursor", cursor)])]
            page = self._connection.get("/sweeps", params).json()
            rows += [{name: each[name] for name in SWEEPS} for each in page["sweeps"]]
            if (cursor := page["next_cursor"]) is None:
                times = pl.col("updated").str.to_datetime(time_unit="us", time_zone="UTC")
                return pl.DataFrame(rows, schema={**SWEEPS, "updated": pl.String}, orient="row").with_columns(times)

    def sweep(self, name: str) -> SweepFacts:
        """What is known about a sweep."""
        said = self._connection.get(f"/sweeps/{_quoted(name)}").json()
        learners = pl.DataFrame(said["learners"], schema=LEARNERS, orient="row")
        return SweepFacts(name, said["definition"], _stands(said, _standing(said["standing"])), learners)

    def submit(self, sweep: "Sweep | Mapping[str, Any]", idempotency_key: str | None) -> Submitted:
        """Have the server run a sweep."""
        headers = {"Idempotency-Key": uuid.uuid4().hex if idempotency_key is None else idempotency_key}
        return _submitted(self._connection.post("/sweeps", sweep_json(sweep), repeatable=True, headers=headers).json())

    def stop(self, name: str) -> None:
        """Ask a sweep to stop."""
        self._connection.post(f"/sweeps/{_quoted(name)}/stop", repeatable=True)

    def resume(self, name: str) -> Submitted:
        """Have a sweep go on."""
        return _submitted(self._connection.post(f"/sweeps/{_quoted(name)}/resume", repeatable=True).json())

    def standings(self, name: str) -> Iterator[Stands]:
        """How a sweep stands, from events; a connection that breaks is made anew."""
        failures, seen = 0, Stands("unknown", "", True, None)
        while True:
            try:
                for event, data in self._connection.events(f"/sweeps/{_quoted(name)}/events"):
                    failures, seen = 0, _after(seen, event, json.loads(data))
                    if not seen.active:
                        yield seen
                        return
                    if seen.state != "unknown":
                        yield seen
            except BasinError as error:
                if error.code not in ("unavailable", "too_many_requests") or failures == ATTEMPTS - 1:
                    raise
            failures += 1
            time.sleep(delay(failures))

    # --- what it says ------------------------------------------------------------------------------------------------

    def comparisons(self, sweep: str, dataset: str | None) -> list[Document]:
        """The comparison of a sweep on each of its datasets, or on one."""
        params = [] if dataset is None else [("dataset", dataset)]
        found = self._connection.get(f"/sweeps/{_quoted(sweep)}/comparison", params).json()
        return [_read(Document, each) for each in found]

    def comparison_figures(self, sweep: str, document: Document) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a comparison by name."""
        from services.client.drawing import comparison_figures

        return comparison_figures(RemoteStore(self, sweep), sweep, document)

    def geometry(self, sweep: str) -> GeometryDocument:
        """What a sweep's geometry says."""
        return _read(GeometryDocument, self._connection.get(f"/sweeps/{_quoted(sweep)}/ranking").json())

    def geometry_figures(self, document: GeometryDocument, dataset: str) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a sweep's geometry on one dataset by name."""
        from services.client.drawing import geometry_figures_of

        return geometry_figures_of(RemoteStore(self, document.sweep), document, dataset)

    def run(self, run_key: str) -> RunFacts:
        """What is known about a stored run."""
        said = self._connection.get(f"/runs/{_quoted(run_key)}").json()

        def fetch(part: str) -> bytes:
            path = f"/runs/{_quoted(run_key)}/parts/{_quoted(part)}"
            return self._connection.get(path, accept="*/*").content

        names = tuple(part["name"] for part in said["parts"])
        parts = RemoteParts(names, fetch, f"run {run_key} at {self.where}")
        return RunFacts(Bundle(parts, _read(Manifest, said["manifest"])), said["reproduce"])


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _read[Read: Settings](kind: type[Read], said: Any) -> Read:
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        fault = error.errors()[0]
        raise BasinError(
            "internal",
            f"the server's answer is not understood ({'.'.join(map(str, fault['loc']))}: {fault['msg']}): it is of "
            "another version, so install the same here and there",
        ) from None


def _after(seen: Stands, event: str, said: Mapping[str, Any]) -> Stands:
    """How a sweep stands after an event."""
    match event:
        case "submission":
            return seen._replace(state=said["state"], reason=said["reason"])
        case "standing":
            standing = _standing(said)
            return (
                seen._replace(state="running", reason="", standing=standing)
                if said["alive"]
                else seen._replace(standing=standing)
            )
        case "end":
            return _stands(said, seen.standing)
    return seen


def _stands(said: Mapping[str, Any], standing: Standing | None) -> Stands:
    # What failed before it said anything left the word of an earlier process.
    is_older = said["state"] == "failed" and standing is not None and standing.state != "failed"
    return Stands(said["state"], said["reason"], said["active"], None if is_older else standing)


def _standing(said: Mapping[str, Any] | None) -> Standing | None:
    known = {name: value for name, value in (said or {}).items() if name in Standing.model_fields}
    return _read(Standing, known) if known else None


def _submitted(said: Mapping[str, Any]) -> Submitted:
    return Submitted(said["name"], said["submission"], said["runs"], said["state"])
