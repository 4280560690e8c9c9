"""Sweeps: submitted, listed, followed, stopped and resumed."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import ConfigDict, Field, GetJsonSchemaHandler

from models.spec.settings import Settings
from services.api.access import Caller, requires
from services.api.context import Context, Here, follower
from services.api.errors import COMMON, ApiError, documented
from services.api.parameters import only_known
from services.errors import NotStoredError, ServiceError
from services.execution import status
from services.execution.status import StandingFacts
from services.submissions import records
from services.submissions.admission import Admitted, admit
from services.submissions.records import Key, Submission
from services.submissions.states import SweepStands, SweepState, all_stand, known, stands
from services.sweeps.definition import NAME, Sweep, parse_sweep

router = APIRouter(
    prefix="/api/v1/sweeps",
    tags=["sweeps"],
    dependencies=[requires("read"), Depends(only_known)],
    generate_unique_id_function=lambda route: route.name,
)

LOOK_SECONDS = 1.0
LONGEST_STREAM_SECONDS = 3600.0  # then a follower asks anew, and shows a token that is valid still
MAX_PAGE = 200
_EXAMPLE = {"name": "first-look", "datasets": ["iris"], "learners": ["svm", "glm-bayes"], "budget": "quick"}

SweepName = Annotated[str, Path(pattern=f"^{NAME}$", description="Of a sweep or comparison.", examples=["first-look"])]


class AsSweep:
    """Documents a mapping as a sweep; what reads it says better what is wrong."""

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(Sweep.__pydantic_core_schema__)


Definition = Annotated[
    dict[str, Any],
    AsSweep(),
    Body(description="A sweep, as in a sweep file.", examples=[_EXAMPLE]),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="Of your choice: the same request sent again with the same key is one submission.",
    ),
]


class _Answer(Settings):
    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)


class SubmissionAnswer(_Answer):
    """A submission."""

    name: str
    """Of the sweep."""
    submission: str
    """Its id."""
    runs: int
    """That it asks for, at most: learners that do not suit a dataset are left out later."""
    state: records.State
    reason: str
    """Why it waits, failed or was stopped."""
    submitter: str
    """Name of the token that it was submitted with."""
    created: datetime
    ended: datetime | None


class StandingAnswer(StandingFacts):
    """How a sweep stands, by what its process says."""

    alive: bool
    """Whether that process is at work."""


class SweepSummary(_Answer):
    """A sweep in short."""

    name: str
    state: SweepState
    reason: str
    active: bool
    """Whether it will still change by itself."""
    runs: int | None
    """That it asks for."""
    ended: int | None
    """Runs that have ended, those that were stored before among them."""
    updated: datetime | None


class SweepPage(_Answer):
    """Sweeps by name."""

    sweeps: list[SweepSummary]
    next_cursor: str | None
    """Goes on with the next page; null on the last one."""


class LearnerCounts(_Answer):
    """What became of a learner's runs."""

    learner: str
    runs: int
    finished: int
    diverged: int
    failed: int
    stopped: int


class SweepAnswer(SweepSummary):
    """A sweep."""

    definition: Annotated[dict[str, Any], Field(description="The settled sweep: learners in full.")]
    submission: SubmissionAnswer | None
    standing: StandingAnswer | None
    learners: list[LearnerCounts]


class StopAnswer(_Answer):
    """Whether there is something to stop."""

    name: str
    stopping: bool


def existing(name: SweepName, context: Here) -> SweepStands:
    """How the sweep of the path stands; there must be one."""
    now = stands(context.store, context.ledger, name)
    if now.submission is None and now.standing is None:
        context.store.sweep(name)
    return now


def in_json(request: Request) -> None:
    """Refuse a body that is no JSON: what another site's form could send without asking the browser's leave, say."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError("unsupported_media_type", "expected the body as JSON, with Content-Type: application/json")


Existing = Annotated[SweepStands, Depends(existing)]


@router.post(
    "",
    status_code=202,
    responses=documented(*COMMON, "invalid_sweep", "conflict", "too_large", "unsupported_media_type"),
    dependencies=[requires("submit"), Depends(in_json)],
)
def submit_sweep(
    request: Request,
    response: Response,
    definition: Definition,
    context: Here,
    caller: Annotated[Caller, requires("submit")],
    idempotency_key: IdempotencyKey = None,
) -> SubmissionAnswer:
    """Submit a sweep. Once this is answered it is run to its end, whatever is killed.

    The same sweep, while it is at work, is one submission. Files of data and of learners must be in folders that the
    server names.
    """
    _check_cluster(context)
    key = None if idempotency_key is None else Key(idempotency_key, _digest(definition))
    if (before := _answered(context, caller, key)) is not None:
        return _accepted(request, response, before)
    return _accept(request, response, context, admit(definition, context.serving.data_roots), caller, key)


@router.get("", responses=documented(*COMMON))
def list_sweeps(
    context: Here,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Sweeps of a page.")] = 50,
    cursor: Annotated[str | None, Query(pattern=f"^{NAME}$", description="`next_cursor` of the page before.")] = None,
) -> SweepPage:
    """List sweeps and comparisons by name, those that were submitted and have not begun among them."""
    names = [name for name in known(context.store, context.ledger) if cursor is None or name > cursor]
    page = names[:limit]
    found = all_stand(context.store, context.ledger, page)
    return SweepPage(
        sweeps=[SweepSummary(**_summary(now)) for now in found],
        next_cursor=page[-1] if len(names) > limit else None,
    )


@router.get("/{name}", responses=documented(*COMMON, "not_found"))
def get_sweep(now: Existing, context: Here) -> SweepAnswer:
    """Say what a sweep asks for, how it stands, and what became of each learner's runs."""
    try:
        definition = context.store.definition(now.name)
        counts = context.counts(now.name)
    except NotStoredError:
        definition, counts = now.submission.definition if now.submission else "{}", []
    return SweepAnswer(
        **_summary(now),
        definition=json.loads(definition),
        submission=None if now.submission is None else _submission(now.submission),
        standing=_standing(now),
        learners=[LearnerCounts(**row) for row in counts],
    )


@router.post(
    "/{name}/stop", status_code=202, responses=documented(*COMMON, "not_found"), dependencies=[requires("submit")]
)
def stop_sweep(now: Existing, context: Here) -> StopAnswer:
    """Ask a sweep to stop; finished runs are kept. `stopping` is false where nothing is at work."""
    stopping = records.request_stop(context.ledger, now.name)
    if now.alive and not stopping:  # it was not submitted here, but by a command, say
        status.request_stop(context.store, now.name)
        stopping = True
    return StopAnswer(name=now.name, stopping=stopping)


@router.post(
    "/{name}/resume",
    status_code=202,
    responses=documented(*COMMON, "not_found", "conflict"),
    dependencies=[requires("submit")],
)
def resume_sweep(
    request: Request,
    response: Response,
    now: Existing,
    context: Here,
    caller: Annotated[Caller, requires("submit")],
    idempotency_key: IdempotencyKey = None,
) -> SubmissionAnswer:
    """Go on with a sweep as it is known: it fits what is not stored yet, and what failed."""
    _check_cluster(context)
    key = None if idempotency_key is None else Key(idempotency_key, _digest({"resume": now.name}))
    if (before := _answered(context, caller, key)) is not None:
        return _accepted(request, response, before)
    try:
        definition, members = context.store.sweep(now.name)
        runs = len(members)
    except NotStoredError:
        assert now.submission is not None
        definition, runs = now.submission.definition, now.submission.runs
    if now.alive and not (now.submission and now.submission.active):
        raise ApiError("conflict", f"sweep {now.name!r} is at work already: stop it first, or wait for it")
    sweep = parse_sweep(json.loads(definition), f"sweep {now.name!r}")
    return _accept(request, response, context, Admitted(sweep, runs), caller, key)


@router.get(
    "/{name}/events",
    response_class=EventSourceResponse,
    responses=documented(*COMMON, "not_found"),
    dependencies=[Depends(follower)],
)
async def follow_sweep(now: Existing, context: Here) -> AsyncIterator[ServerSentEvent]:
    """Follow a sweep by server-sent events.

    `standing` says how it stands, whenever that changed; `submission` how its submission does; `end`, once nothing is
    at work on it any more, is the last one. Comments in between keep the connection open.
    """
    told: dict[str, Any] = {}
    loop = asyncio.get_running_loop()
    until = loop.time() + LONGEST_STREAM_SECONDS
    while loop.time() < until:
        for event, value in (
            ("submission", now.submission and _submission(now.submission)),
            ("standing", _standing(now)),
        ):
            if value is not None and value != told.get(event):
                told[event] = value
                yield ServerSentEvent(event=event, data=value.model_dump(mode="json"))
        if not now.active:
            yield ServerSentEvent(event="end", data=SweepSummary(**_summary(now)).model_dump(mode="json"))
            return
        await asyncio.sleep(LOOK_SECONDS)
        now = await _look_again(context, now)


async def _look_again(context: Context, before: SweepStands) -> SweepStands:
    try:
        return await run_in_threadpool(stands, context.store, context.ledger, before.name)
    except ServiceError:  # away: it is asked again
        return before


def _check_cluster(context: Context) -> None:
    if context.serving.dashboard is None:
        raise ApiError(
            "unavailable",
            "this server has no Ray cluster to run sweeps on: start it by `basin serve`, or with --address "
            "http://HOST:8265",
        )


def _accept(
    request: Request, response: Response, context: Context, admitted: Admitted, caller: Caller, key: Key | None = None
) -> SubmissionAnswer:
    sweep, runs = admitted
    accepted = records.accept(context.ledger, sweep, runs, caller.name, datetime.now(UTC), key)
    return _accepted(request, response, accepted.submission)


def _answered(context: Context, caller: Caller, key: Key | None) -> Submission | None:
    """The submission that answered the same request before."""
    return None if key is None else records.answered(context.ledger, caller.name, key)


def _accepted(request: Request, response: Response, submission: Submission) -> SubmissionAnswer:
    request.state.sweep = submission.name
    response.headers["Location"] = f"/api/v1/sweeps/{submission.name}"
    return _submission(submission)


def _submission(submission: Submission) -> SubmissionAnswer:
    fields = submission.model_dump(include=set(SubmissionAnswer.model_fields))
    return SubmissionAnswer(**fields, submission=submission.id)


def _standing(now: SweepStands) -> StandingAnswer | None:
    return None if now.standing is None else StandingAnswer(**now.standing.model_dump(), alive=now.alive)


def _summary(now: SweepStands) -> dict[str, Any]:
    said, submission = now.standing, now.submission
    runs = said.runs if said is not None and said.doing == "fitting" else submission and submission.runs
    return {
        "name": now.name,
        "state": now.state,
        "reason": now.reason,
        "active": now.active,
        "runs": runs,
        "ended": said.reused + sum(said.ended.values()) if said is not None and said.doing == "fitting" else None,
        "updated": said.updated_at if said is not None else submission and submission.created,
    }


def _digest(definition: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
