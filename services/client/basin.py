"""`Basin`: one object for everything, over a server or over a store."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from models.spelling import did_you_mean
from services.client.backend import Asked, Backend, Where
from services.client.comparison import Comparison
from services.client.errors import BasinError
from services.client.filters import conditions
from services.client.ranking import Ranking
from services.client.run import Run
from services.client.schedules import Schedules
from services.client.specs import Spec, checked, read
from services.client.sweep import Submission, SweepView
from services.settings import settings

if TYPE_CHECKING:
    import polars as pl
    import xarray as xr

    from services.client.landscape import Landscape
    from services.execution.status import Standing

type Columns = str | Sequence[str]


class Narrowed(TypedDict, total=False):
    """What `Basin.table` takes besides the table's name."""

    sweep: str | None
    run_key: str | Sequence[str] | None
    where: Where
    select: Columns
    sort: Columns
    limit: int | None


class Basin:
    """What a server or a store has, and what can be asked of it; the calls are the same either way.

    For example:

        b = Basin("http://127.0.0.1:8000", token="basin_...")
        b = Basin("basin-store")

        b.submit(Path("flat-or-sharp.yaml")).watch()
        b.compare("flat-or-sharp").plot()
        b.runs(learner="mlp-adam", where="wall_seconds:lt:10")

    All calls raise `BasinError`, with a code and a message that says what to do. Nothing is read before the first call.
    """

    def __init__(self, location: str | Path | None = None, *, token: str | None = None, timeout: float = 60.0) -> None:
        """Speak to a server, or read a store.

        Args:
            location: `http://HOST:PORT` of a server, or the folder or `s3://BUCKET/PREFIX` of a store; BASIN_STORE
                unless given.
            token: of a server; BASIN_TOKEN unless given. A store needs none.
            timeout: seconds for a server's answer to begin.

        Raises:
            BasinError: that is no location, or no token.
        """
        place = str(location or settings().store)
        self._backend: Backend = _backend(place, token, timeout)
        self.schedules = Schedules(self._backend.schedules)

    # --- sweeps ------------------------------------------------------------------------------------------------------

    def sweeps(self) -> "pl.DataFrame":
        """A row for each sweep and comparison: name, state, runs, how many of them have ended, and when it said so."""
        return self._backend.sweeps()

    def sweep(self, name: str) -> SweepView:
        """What a sweep asks for, how it stands, and what became of each learner's runs.

        Raises:
            BasinError: there is none of this name.
        """
        return SweepView(self._backend.sweep(checked(name, "sweep")))

    def submit(self, spec: Spec, idempotency_key: str | None = None) -> Submission:
        """Have a sweep run, and return at once.

        A server hands it to its cluster. Over a store it is run by a process of this machine, which outlives this one;
        its log lies in the cache's folder.

        Args:
            spec: a mapping as a sweep file has it, the path of a sweep file, or a
            `services.sweeps.definition.Sweep`. Files of
                data are looked for where the sweep is run: on a server, on its machine.
            idempotency_key: submitted again under the same key, the same sweep is run once.

        Raises:
            BasinError: the sweep is wrong (`invalid_sweep`), or the key was used for another one (`conflict`).
        """
        if idempotency_key is not None and not re.fullmatch(r"[\x21-\x7e]{1,200}", idempotency_key):
            raise BasinError(
                "invalid_request", "idempotency_key: expected at most 200 letters, digits and signs of ASCII"
            )
        return Submission(self._backend, self._backend.submit(read(spec), idempotency_key))

    def stop(self, name: str) -> None:
        """Ask a sweep to stop; it keeps what is finished.

        Raises:
            BasinError: there is none of this name.
        """
        self._backend.stop(checked(name, "sweep"))

    def resume(self, name: str) -> Submission:
        """Have a sweep go on where it stopped; it fits what is not stored yet.

        Raises:
            BasinError: there is none of this name, or it is being worked on.
        """
        return Submission(self._backend, self._backend.resume(checked(name, "sweep")))

    def watch(self, name: str) -> "Standing":
        """Show a sweep's progress, on a terminal or in a notebook, until it ends. Returns how it stands then.

        Ctrl-C, or interrupting the cell, ends the showing alone.

        Raises:
            BasinError: there is none of this name, it was never run, or could not be started.
        """
        from services.client.watching import watch

        return watch(self._backend, checked(name, "sweep"))

    # --- tables ------------------------------------------------------------------------------------------------------

    def runs(
        self,
        *,
        sweep: str | None = None,
        dataset: str | None = None,
        learner: str | Sequence[str] | None = None,
        status: str | Sequence[str] | None = None,
        where: Where = (),
        select: Columns = (),
        sort: Columns = (),
        limit: int | None = None,
    ) -> "pl.DataFrame":
        """A row for each run, its last attempt.

        Args:
            sweep: of this sweep alone; so for the next ones.
            dataset: by name.
            learner: by name, or several.
            status: finished, diverged, stopped or failed, or several.
            where: conditions, all of which must hold: texts such as `"wall_seconds:lt:10"` with one of eq, ne, lt, le,
                gt, ge, in, contains and is_null, or a mapping of columns to values.
            select: columns; all of them unless given.
            sort: columns, those that begin with `-` from the largest down.
            limit: of rows; all of them unless given.

        Raises:
            BasinError: a column, condition or value that the table does not have (`invalid_query`).
        """
        fixed = {"dataset": dataset, "learner": learner, "status": status}
        return self._rows("runs", sweep, fixed, where, select, sort, limit)

    def table(
        self,
        name: str,
        *,
        sweep: str | None = None,
        run_key: str | Sequence[str] | None = None,
        where: Where = (),
        select: Columns = (),
        sort: Columns = (),
        limit: int | None = None,
    ) -> "pl.DataFrame":
        """Rows of a table: runs, metrics, curves, diagnostics, geometry, profiles, connections, pointwise, comparisons.

        Args:
            name: of the table.
            sweep: of this sweep's runs alone.
            run_key: of this run alone, or of several.
            where: as for `runs`; so for the next ones.
            select: columns.
            sort: columns.
            limit: of rows.

        Raises:
            BasinError: as for `runs`, or there is no such table.
        """
        return self._rows(name, sweep, {"run_key": run_key}, where, select, sort, limit)

    def metrics(self, **asked: Unpack[Narrowed]) -> "pl.DataFrame":
        """Scores of runs by part: `table("metrics", ...)`."""
        return self.table("metrics", **asked)

    def curves(self, **asked: Unpack[Narrowed]) -> "pl.DataFrame":
        """Losses of runs by step: `table("curves", ...)`."""
        return self.table("curves", **asked)

    def diagnostics(self, **asked: Unpack[Narrowed]) -> "pl.DataFrame":
        """Convergence of posteriors by quantity: `table("diagnostics", ...)`."""
        return self.table("diagnostics", **asked)

    def geometry(self, **asked: Unpack[Narrowed]) -> "pl.DataFrame":
        """Measures of the loss landscape: `table("geometry", ...)`."""
        return self.table("geometry", **asked)

    def pointwise(self, **asked: Unpack[Narrowed]) -> "pl.DataFrame":
        """Scores of runs by row of the test part: `table("pointwise", ...)`."""
        return self.table("pointwise", **asked)

    def comparisons(self, **asked: Unpack[Narrowed]) -> "pl.DataFrame":
        """Pairs of learners as `basin compare` found them: `table("comparisons", ...)`."""
        return self.table("comparisons", **asked)

    def scan(self, table: str, *, sweep: str | None = None, where: Where = ()) -> "pl.LazyFrame":
        """A table as a lazy frame, for queries of one's own.

        Over a store it is read from its files when it is collected. From a server come the columns and the number of
        rows that the query needs, in pages; filters are applied here, so narrow what is large by `sweep` and `where`.

        Raises:
            BasinError: there is no such table, or a condition is wrong; from a server that is found when it is
                collected, and polars raises it as a ComputeError.
        """
        named = None if sweep is None else checked(sweep, "sweep")
        return self._backend.scan(Asked(_known(table), conditions({}, where), sweep=named))

    def _rows(
        self,
        table: str,
        sweep: str | None,
        fixed: Mapping[str, str | Sequence[str] | None],
        where: Where,
        select: Columns,
        sort: Columns,
        limit: int | None,
    ) -> "pl.DataFrame":
        if limit is not None and limit < 0:
            raise BasinError("invalid_query", f"limit {limit}: expected a number of rows, or None for all of them")
        conditioned = conditions(fixed, where)
        named = None if sweep is None else checked(sweep, "sweep")
        return self._backend.rows(Asked(_known(table), conditioned, _names(select), _names(sort), limit, named))

    # --- what it says ------------------------------------------------------------------------------------------------

    def compare(self, sweep: str, dataset: str | None = None) -> Comparison:
        """Compare the learners of a sweep on one of its datasets.

        Args:
            sweep: its name.
            dataset: its name; needed where the sweep has several.

        Raises:
            BasinError: there is no such sweep or dataset, or none of its runs is finished.
        """
        found = self._backend.comparisons(checked(sweep, "sweep"), dataset)
        if not found:
            raise BasinError("not_found", f"sweep {sweep!r} has no run that could be compared: watch({sweep!r})")
        if len(found) > 1:
            names = ", ".join(document.dataset.name for document in found)
            raise BasinError("invalid_request", f"sweep {sweep!r} has several datasets: name one of {names}")
        return Comparison(found[0], lambda: self._backend.comparison_figures(sweep, found[0]))

    def ranking(self, sweep: str) -> Ranking:
        """Which measure of the geometry tells which runs of a sweep generalise.

        Raises:
            BasinError: there is no such sweep.
        """
        document = self._backend.geometry(checked(sweep, "sweep"))
        return Ranking(document, lambda dataset: self._backend.geometry_figures(document, dataset))

    def run(self, run_key: str) -> Run:
        """One stored run.

        Raises:
            BasinError: there is none of this key.
        """
        if not re.fullmatch("[0-9a-f]{32}", run_key):
            raise BasinError(
                "not_found", f"no run {run_key!r}: a key has 32 hexadecimal digits, as in runs()['run_key']"
            )
        return Run(self._backend, self._backend.run(run_key))

    def posterior(self, run_key: str) -> "xr.DataTree":
        """A run's posterior in ArviZ's layout, for any function of ArviZ.

        Raises:
            BasinError: there is no such run, or it has no posterior.
        """
        return self.run(run_key).posterior()

    def landscape(self, run_key: str) -> "Landscape":
        """What was measured of the loss around a run's solution.

        Raises:
            BasinError: there is no such run.
        """
        return self.run(run_key).landscape()

    # --- itself ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is open; a later call opens it anew."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Basin({self._backend.where!r})"


def _backend(place: str, token: str | None, timeout: float) -> Backend:
    if place.startswith(("http://", "https://")):
        from services.client.remote import Remote

        return Remote(place, token or settings().token, timeout)
    from services.client.local import Local

    return Local(place)


def _names(columns: Columns) -> tuple[str, ...]:
    return tuple(part.strip() for part in columns.split(",")) if isinstance(columns, str) else tuple(columns)


def _known(table: str) -> str:
    from services.store.schemas import SCHEMAS

    if table not in SCHEMAS:
        hint = did_you_mean(table, SCHEMAS, f"there are {', '.join(SCHEMAS)}")
        raise BasinError("invalid_query", f"no table {table!r}: {hint}")
    return table
