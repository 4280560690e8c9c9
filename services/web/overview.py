"""What the pages say of sweeps before anything is computed: what was asked for, and how it stands."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from services.api.context import Context
from services.errors import NotStoredError
from services.execution.status import Standing
from services.rendering.formatting import format_hours, format_seconds
from services.store.archive import DamagedError
from services.store.store import Store
from services.store.sweep_files import REMEDY
from services.store.tables import FITTED
from services.submissions.states import SweepStands, all_stand, known

PAGE = 50


@dataclass(frozen=True)
class Progress:
    """How a sweep stands, as a page shows it.

    Attributes:
        state: as `services.submissions.states` has it, or `measuring`, `stored` where nobody ever said, or `damaged`.
        live: whether it may still change by itself.
        done: runs that ended, those stored before among them; where it is measured, requests.
        words: what else is known, such as the time left.
    """

    name: str
    state: str
    live: bool
    done: int
    total: int
    words: str
    updated: datetime | None

    def as_json(self) -> dict[str, Any]:
        """What a page's script is told."""
        return {**asdict(self), "updated": self.updated and self.updated.isoformat()}


@dataclass(frozen=True)
class Asked:
    """What a sweep asks for.

    Attributes:
        definition: as JSON text for people, that can be submitted again.
        members: a row for each run, as `services.sweeps.plan.MEMBERS`.
    """

    definition: str
    members: pl.DataFrame

    @property
    def datasets(self) -> list[str]:
        """By name, in order."""
        return self.members["dataset"].unique(maintain_order=True).to_list()

    @property
    def learners(self) -> list[str]:
        """By name, in order."""
        return self.members["learner"].unique(maintain_order=True).to_list()

    @property
    def varied(self) -> list[str]:
        """The settings that vary, by their last names."""
        paths = {path for text in self.members["varied"].unique() for path in json.loads(text)}
        return sorted(path.rpartition(".")[2] for path in paths)


def asked(store: Store, name: str) -> Asked | None:
    """What a sweep asks for; None where it is not stored."""
    try:
        definition, members = store.sweep(name)
    except NotStoredError:
        return None
    return Asked(json.dumps(json.loads(definition), indent=2, ensure_ascii=False), members)


def names(here: Context) -> list[str]:
    """Of all sweeps, those that were submitted and have not begun among them."""
    return known(here.store, here.ledger)


def progress(here: Context, wanted: Sequence[str]) -> list[Progress]:
    """How each of these sweeps stands."""
    return [_progress(here, now) for now in all_stand(here.store, here.ledger, wanted)]


def _progress(here: Context, now: SweepStands) -> Progress:
    if now.standing is not None:
        return _said(now, now.standing)
    if now.submission is not None:
        sent = now.submission
        return Progress(now.name, now.state, now.active, 0, sent.runs, now.reason, sent.created)
    try:
        counts = here.counts(now.name)
    except DamagedError:
        return Progress(now.name, "damaged", False, 0, 0, REMEDY, None)
    done = sum(each[status] for each in counts for status in FITTED)
    return Progress(now.name, "stored", False, done, sum(each["runs"] for each in counts), "", None)


def _said(now: SweepStands, said: Standing) -> Progress:
    ended, fitting = sum(said.ended.values()), said.doing == "fitting"
    parts = [
        *([] if fitting else ["measures, not runs"]),
        *(f"{n:,} {status}" for status, n in said.ended.items() if status != "finished"),
        *([f"{said.running:,} at work"] if now.alive and said.running else []),
        *([f"about {format_seconds(said.seconds_left)} left"] if now.alive and said.seconds_left else []),
        *([f"{format_hours(said.cpu_hours)} CPU-hours"] if said.cpu_hours >= 0.005 else []),
        *([f"{format_hours(said.gpu_hours)} GPU-hours"] if said.gpu_hours >= 0.005 else []),
        *([now.reason] if now.reason else []),
    ]
    state = "measuring" if now.state == "running" and not fitting else now.state
    done = said.reused + ended if fitting else ended
    return Progress(now.name, state, now.active, done, said.runs, "; ".join(parts), said.updated_at)
