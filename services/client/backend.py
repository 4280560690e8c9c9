"""What the client asks for, and of whom: a server or a store, which answer alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import polars as pl

from services.store.schemas import TIME

if TYPE_CHECKING:
    import altair as alt

    from services.comparison.document import Document
    from services.execution.status import Standing
    from services.geometry.document import GeometryDocument
    from services.store.bundles import Bundle
    from services.sweeps.definition import Sweep

SWEEPS = {
    "name": pl.String,
    "state": pl.String,
    "runs": pl.Int64,
    "ended": pl.Int64,
    "updated": TIME,
}
LEARNERS = {
    "learner": pl.String,
    **dict.fromkeys(("runs", "finished", "diverged", "failed", "stopped"), pl.Int64),
}

type Change = Literal["pause", "resume", "run-now", "remove"]
type Where = str | Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """Rows of a table that are asked for.

    Attributes:
        table: a name of `services.store.schemas.SCHEMAS`.
        where: conditions as `column:op:value`, all of which must hold.
        select: columns; none are all.
        sort: columns, those that begin with `-` from the largest down.
        limit: of rows; None is all of them.
        sweep: only rows of the runs that this sweep asks for, whichever sweep they were first fitted for.
    """

    table: str
    where: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    limit: int | None = None
    sweep: str | None = None


class Stands(NamedTuple):
    """How a sweep stands.

    Attributes:
        state: accepted, submitted (it will run), running, finished, stopped, interrupted, failed, broken off (its
            process went away) or unknown (it was never run).
        reason: why it failed, was stopped, or waits.
        active: whether it will still change by itself.
        standing: what its process said last; None where none has said anything yet.
    """

    state: str
    reason: str
    active: bool
    standing: "Standing | None"


class Submitted(NamedTuple):
    """What became of a submission.

    Attributes:
        submission: its id.
        runs: how many the sweep asks for, at most: learners that do not suit a dataset are left out later.
        state: such as `accepted`.
    """

    name: str
    submission: str
    runs: int
    state: str


class RunFacts(NamedTuple):
    """What is known about a stored run.

    Attributes:
        bundle: whose parts may be elsewhere until they are read.
        reproduce: the command that fits it again.
    """

    bundle: "Bundle"
    reproduce: str


@dataclass(frozen=True)
class SweepFacts:
    """What is known about a sweep.

    Attributes:
        definition: what it asks for, as a sweep file has it.
        stands: how it stands, or stood last.
        learners: a row for each learner: how many runs it has, and how many of each status.
    """

    name: str
    definition: Mapping[str, Any]
    stands: Stands
    learners: pl.DataFrame


class Timing(NamedTuple):
    """When a schedule fires, and how: see `basin schedule add --help`."""

    cron: str
    name: str | None
    timezone: str
    overlap: Literal["skip", "queue", "replace"]
    misfire_grace_seconds: int
    coalesce: bool
    workers: int | None
    gpus: float | None


class SchedulesBackend(Protocol):
    """The schedules of one store. All methods raise `BasinError`."""

    def schedules(self) -> list[Mapping[str, Any]]:
        """The schedules, each with when it fires next and its last occurrence."""
        ...

    def get(self, name: str) -> Mapping[str, Any]:
        """One of them."""
        ...

    def add(self, sweep: "Sweep | Mapping[str, Any]", timing: Timing) -> Mapping[str, Any]:
        """Add a schedule, or replace the one of its name."""
        ...

    def change(self, name: str, change: Change) -> None:
        """Do what is said to a schedule."""
        ...

    def history(self, name: str, limit: int) -> list[Mapping[str, Any]]:
        """What became of the last occurrences of a schedule, a removed one too."""
        ...


class Backend(Protocol):
    """Answers for one store. All methods raise `BasinError`."""

    @property
    def where(self) -> str:
        """The place, in words that may be shown."""
        ...

    @property
    def schedules(self) -> SchedulesBackend:
        """Its schedules."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...

    def sweeps(self) -> pl.DataFrame:
        """A row for each sweep."""
        ...

    def sweep(self, name: str) -> SweepFacts:
        """What is known about a sweep."""
        ...

    def rows(self, asked: Asked) -> pl.DataFrame:
        """The rows that are asked for."""
        ...

    def scan(self, asked: Asked) -> pl.LazyFrame:
        """The same, read when it is collected, and no more of it than that takes."""
        ...

    def comparisons(self, sweep: str, dataset: str | None) -> "list[Document]":
        """The comparison of a sweep on each of its datasets, or on one."""
        ...

    def comparison_figures(self, sweep: str, document: "Document") -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a comparison by name."""
        ...

    def geometry(self, sweep: str) -> "GeometryDocument":
        """What a sweep's geometry says."""
        ...

    def geometry_figures(self, document: "GeometryDocument", dataset: str) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a sweep's geometry on one dataset by name."""
        ...

    def run(self, run_key: str) -> RunFacts:
        """What is known about a stored run."""
        ...

    def submit(self, sweep: "Sweep | Mapping[str, Any]", idempotency_key: str | None) -> Submitted:
        """Have a sweep run; returns as soon as that is certain to happen."""
        ...

    def stop(self, name: str) -> None:
        """Ask a sweep to stop; it keeps what is finished."""
        ...

    def resume(self, name: str) -> Submitted:
        """Have a sweep go on."""
        ...

    def standings(self, name: str) -> Iterator[Stands]:
        """How a sweep stands, again whenever that has changed, until nobody works on it any more."""
        ...
