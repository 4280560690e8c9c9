"""Schedules: the whole of `basin schedule` over HTTP."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Path as InPath
from pydantic import ConfigDict, Field

from models.spec.settings import NonNegative, Settings
from services.api.access import requires
from services.api.context import Context, Here
from services.api.errors import COMMON, ApiError, documented
from services.api.parameters import only_known
from services.api.sweeps import AsSweep, in_json
from services.errors import ScheduleError
from services.launching.options import RunOptions
from services.scheduling import occurrences, schedules
from services.scheduling.leases import has_scheduler
from services.scheduling.occurrences import Occurrence
from services.scheduling.schedules import LONGEST_GRACE, Overlap, Schedule, State
from services.submissions.admission import admit
from services.sweeps.definition import NAME

router = APIRouter(
    prefix="/api/v1/schedules",
    tags=["schedules"],
    dependencies=[requires("read"), Depends(only_known)],
    generate_unique_id_function=lambda route: route.name,
)

MAX_WORKERS = 10_000
MAX_HISTORY = 1000
_OF_ONE = (*COMMON, "not_found")

ScheduleName = Annotated[str, InPath(pattern=f"^{NAME}$", description="Of a schedule.", examples=["nightly"])]


class _Body(Settings):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ScheduleRequest(_Body):
    """A sweep, and when it is run."""

    sweep: Annotated[dict[str, Any], AsSweep()]
    """As in a sweep file. It is kept as it is now."""
    cron: Annotated[str, Field(max_length=200, examples=["0 2 * * *"])]
    """minute hour day-of-month month day-of-week."""
    timezone: Annotated[str, Field(max_length=100, examples=["Europe/Paris"])] = "UTC"
    """On whose clocks."""
    name: Annotated[str, Field(pattern=f"^{NAME}$")] | None = None
    """Of the schedule; the sweep's unless given."""
    overlap: Overlap = "skip"
    """What becomes of an occurrence while an earlier one is not finished."""
    misfire_grace_seconds: Annotated[int, Field(ge=1, le=int(LONGEST_GRACE.total_seconds()))] = 3600
    """What is found due later than this is skipped."""
    coalesce: bool = True
    """Of several due at once, the latest alone is run."""
    workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)] | None = None
    """Ray actors; null is what the sweep says."""
    gpus: NonNegative | None = None
    """Share of a GPU for each net's worker; null is what the sweep says."""


class ScheduleAnswer(_Body):
    """A schedule."""

    name: str
    cron: str
    timezone: str
    overlap: Overlap
    misfire_grace_seconds: int
    coalesce: bool
    state: State
    workers: int | None
    gpus: float | None
    sweep: dict[str, Any]
    """Settled: learners in full."""
    next: datetime | None
    """On the clocks of its zone; null where it does not fire."""
    upcoming: list[datetime]
    """That and the four after it."""
    last: Occurrence | None
    """The last one, and what became of it."""


class ScheduleList(_Body):
    """The schedules of a server."""

    schedules: list[ScheduleAnswer]
    scheduler_at_work: bool
    """Whether anything fires them."""


class History(_Body):
    """What became of occurrences, the latest first."""

    occurrences: list[Occurrence]


class RunNowAnswer(_Body):
    """Whether an occurrence was asked for by this request, or was already, at this very second."""

    name: str
    is_new: bool


@router.get("", responses=documented(*COMMON))
def list_schedules(context: Here) -> ScheduleList:
    """List the schedules, when they fire next, and what became of their last occurrences."""
    last = occurrences.latest(context.ledger)
    found = [_answer(each, last.get(each.name)) for each in schedules.all_schedules(context.ledger)]
    return ScheduleList(schedules=found, scheduler_at_work=has_scheduler(context.ledger))


@router.post(
    "",
    status_code=201,
    responses={200: {"model": ScheduleAnswer, "description": "It replaced one of this name."}}
    | documented(*COMMON, "invalid_sweep", "too_large", "unsupported_media_type"),
    dependencies=[requires("submit"), Depends(in_json)],
)
def add_schedule(asked: ScheduleRequest, context: Here, response: Response) -> ScheduleAnswer:
    """Schedule a sweep. One of the same name is replaced, and keeps its history.

    Each occurrence fits what is not stored yet.
    """
    serving = context.serving
    admitted = admit(asked.sweep, serving.data_roots)
    now = datetime.now(UTC)
    schedule = schedules.define(
        admitted.sweep,
        asked.cron,
        RunOptions(
            store=serving.store if "://" in serving.store else str(Path(serving.store).resolve()),
            address=None if serving.own_cluster or asked.workers == 0 else serving.dashboard,
            workers=asked.workers,
            gpus=asked.gpus,
        ),
        now,
        name=asked.name,
        timezone=asked.timezone,
        overlap=asked.overlap,
        misfire_grace=timedelta(seconds=asked.misfire_grace_seconds),
        coalesce=asked.coalesce,
    )
    response.status_code = 200 if schedules.add(context.ledger, schedule) else 201
    response.headers["Location"] = f"/api/v1/schedules/{schedule.name}"
    return _answer(schedule, None)


@router.get("/{name}", responses=documented(*_OF_ONE))
def get_schedule(name: ScheduleName, context: Here) -> ScheduleAnswer:
    """Say what a schedule runs, and when."""
    return _look(context, name)


@router.delete("/{name}", status_code=204, responses=documented(*_OF_ONE), dependencies=[requires("submit")])
def remove_schedule(name: ScheduleName, context: Here) -> None:
    """Let it never fire again. What waits is skipped, what runs goes on, and its history stays."""
    _look(context, name)
    schedules.remove(context.ledger, name)


@router.post("/{name}/pause", responses=documented(*_OF_ONE), dependencies=[requires("submit")])
def pause_schedule(name: ScheduleName, context: Here) -> ScheduleAnswer:
    """Let nothing of it fire until it is resumed. What waits is skipped, what runs goes on."""
    _look(context, name)
    schedules.pause(context.ledger, name)
    return _look(context, name)


@router.post("/{name}/resume", responses=documented(*_OF_ONE), dependencies=[requires("submit")])
def resume_schedule(name: ScheduleName, context: Here) -> ScheduleAnswer:
    """Let it fire from now on; what it missed is not made up for."""
    _look(context, name)
    schedules.resume(context.ledger, name, datetime.now(UTC))
    return _look(context, name)


@router.post("/{name}/run-now", status_code=202, responses=documented(*_OF_ONE), dependencies=[requires("submit")])
def run_schedule_now(name: ScheduleName, context: Here) -> RunNowAnswer:
    """Ask for an occurrence now, of a paused schedule, too; it starts when none of it is running."""
    _look(context, name)
    return RunNowAnswer(name=name, is_new=occurrences.run_now(context.ledger, name, datetime.now(UTC)))


@router.get("/{name}/history", responses=documented(*_OF_ONE))
def list_occurrences(
    name: ScheduleName,
    context: Here,
    limit: Annotated[int, Query(ge=1, le=MAX_HISTORY, description="Occurrences, the latest first.")] = 20,
) -> History:
    """Say what became of its occurrences: those that ran, and those that were skipped, and why."""
    try:
        return History(occurrences=occurrences.history(context.ledger, name, limit))
    except ScheduleError as error:
        raise ApiError("not_found", str(error)) from None


def _look(context: Context, name: str) -> ScheduleAnswer:
    try:
        schedule = schedules.get(context.ledger, name)
    except ScheduleError as error:
        raise ApiError("not_found", str(error)) from None
    last = occurrences.history(context.ledger, name, 1)
    return _answer(schedule, last[0] if last else None)


def _answer(schedule: Schedule, last: Occurrence | None) -> ScheduleAnswer:
    upcoming = schedule.upcoming(datetime.now(UTC), 5)
    fields = schedule.model_dump(include=set(ScheduleAnswer.model_fields) - {"sweep"})
    return ScheduleAnswer(
        **fields,
        workers=schedule.options.workers,
        gpus=schedule.options.gpus,
        sweep=json.loads(schedule.sweep),
        next=upcoming[0] if upcoming else None,
        upcoming=upcoming,
        last=last,
    )
