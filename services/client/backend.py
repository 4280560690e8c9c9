"""What the client asks for, and of whom: a server or a store, which answer alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from services.document import Document
from services.geometry.document import GeometryDocument
from services.standing import Standing

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

    from services.sweeps import Sweep

type Where = str | Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """Rows of a table that are asked for.

    Attributes:
        table: a name of `services.schemas.SCHEMAS`.
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
    """How a sweep stands, and whether it is being worked on."""

    standing: Standing
    alive: bool


class Submitted(NamedTuple):
    """What became of a submission.

    Attributes:
        submission: its id.
        runs: how many the sweep asks for; None where that is not known yet.
        state: such as `accepted`.
    """

    name: str
    submission: str
    runs: int | None
    state: str


@dataclass(frozen=True)
class RunFacts:
    """What is known about a stored run.

    Attributes:
        row: of the table `runs`.
        manifest: `run.json` of its bundle.
        parts: names of what its bundle has.
        reproduce: the command that fits it again.
    """

    row: Mapping[str, Any]
    manifest: Mapping[str, Any]
    parts: tuple[str, ...]
    reproduce: str


@dataclass(frozen=True)
class SweepFacts:
    """What is known about a sweep.

    Attributes:
        definition: what it asks for, as a sweep file has it.
        standing: how it stands, or stood last; None where it was never run.
        learners: a row for each learner: how many runs it has, and how many of each status.
    """

    name: str
    definition: Mapping[str, Any]
    standing: Stands | None
    learners: "pl.DataFrame"


@dataclass(frozen=True)
class Timing:
    """When a schedule fires, and how: see `basin schedule add --help`."""

    cron: str
    name: str | None = None
    timezone: str = "UTC"
    overlap: str = "skip"
    misfire_grace_seconds: int = 3600
    coalesce: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """Answers for one store. All methods raise `BasinError`."""

    @property
    def where(self) -> str:
        """The place, in words that may be shown."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...

    def sweeps(self) -> "pl.DataFrame":
        """A row for each sweep."""
        ...

    def sweep(self, name: str) -> SweepFacts:
        """What is known about a sweep."""
        ...

    def rows(self, asked: Asked) -> "pl.DataFrame":
        """The rows that are asked for."""
        ...

    def scan(self, asked: Asked) -> "pl.LazyFrame":
        """The same, read when it is collected, and no more of it than that takes."""
        ...

    def comparisons(self, sweep: str, dataset: str | None) -> list[Document]:
        """The comparison of a sweep on each of its datasets, or on one."""
        ...

    def comparison_figures(self, sweep: str, document: Document) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a comparison by name."""
        ...

    def geometry(self, sweep: str) -> GeometryDocument:
        """What a sweep's geometry says."""
        ...

    def geometry_figures(self, document: GeometryDocument, dataset: str) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of a sweep's geometry on one dataset by name."""
        ...

    def run(self, run_key: str) -> RunFacts:
        """What is known about a stored run."""
        ...

    def part(self, run_key: str, part: str) -> bytes:
        """A part of a run's bundle."""
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

    def schedules(self) -> list[Mapping[str, Any]]:
        """The schedules, each with when it fires next and its last occurrence."""
        ...

    def schedule(self, sweep: "Sweep | Mapping[str, Any]", timing: Timing) -> Mapping[str, Any]:
        """Add a schedule, or replace the one of its name."""
        ...

    def change_schedule(self, name: str, change: str) -> None:
        """Do what is said to a schedule: `pause`, `resume`, `run-now` or `remove`."""
        ...

    def history(self, name: str | None, limit: int) -> list[Mapping[str, Any]]:
        """What became of the last occurrences, of one schedule or all."""
        ...


