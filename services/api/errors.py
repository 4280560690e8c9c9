"""One shape for everything that goes wrong, with a code that programs can rely on.

What is told is meant for whoever asked: it names no path of this machine but one that they named, and no stack trace.
"""

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.errors import ClusterError
from models.data.dataset import DataError
from models.spec.settings import MOST_FAULTS, Settings, SpecError
from services.errors import ConflictError, NotStoredError, QueryError, ScheduleError, ServiceError
from services.rendering.formatting import printable
from services.store.archive import DamagedError
from services.store.tables import TableError

RETRY_SECONDS = 5
_LONGEST = 4000  # characters of a message
_log = logging.getLogger(__name__)


class Fault(NamedTuple):
    """What a code means: the status that it always comes with, and words for the documentation."""

    status: int
    about: str


FAULTS: Mapping[str, Fault] = {
    "invalid_query": Fault(400, "The question cannot be put to the table; the message says why."),
    "unauthorized": Fault(401, "No token, or one that is not known."),
    "forbidden": Fault(403, "The token may not do this."),
    "not_found": Fault(404, "There is no such thing."),
    "method_not_allowed": Fault(405, "This address does not have the method."),
    "not_acceptable": Fault(406, "None of the formats that were asked for can be had."),
    "conflict": Fault(409, "It contradicts what was asked before."),
    "too_large": Fault(413, "The request is larger than allowed."),
    "unsupported_media_type": Fault(415, "The request's body is not of a type that is understood."),
    "range_not_satisfiable": Fault(416, "The range lies outside the part."),
    "invalid_request": Fault(422, "A parameter, a header or the body is not as documented."),
    "invalid_sweep": Fault(422, "The sweep, or a learner or dataset in it, cannot be meant."),
    "too_many_requests": Fault(429, "More requests than allowed; `Retry-After` says when to go on."),
    "internal": Fault(500, "A fault of the server; its log has the request's id."),
    "unavailable": Fault(503, "The store, the ledger or the cluster does not answer; `Retry-After` says when to try."),
}
# What any operation that reads may end in.
COMMON = ("unauthorized", "forbidden", "invalid_request", "too_many_requests", "internal", "unavailable")
_CODES = {405: "method_not_allowed", 404: "not_found", 413: "too_large", 415: "unsupported_media_type"}


class Detail(Settings):
    """One of several faults of a request."""

    at: Annotated[str, Field(examples=["query.limit"])]
    message: Annotated[str, Field(examples=["Input should be less than or equal to 10000"])]


class ErrorFacts(Settings):
    """What went wrong."""

    code: Annotated[str, Field(json_schema_extra={"enum": list(FAULTS)}, examples=["not_found"])]
    message: Annotated[str, Field(examples=["no run 0000: GET /api/v1/runs lists them"])]
    details: list[Detail] | None = None
    request_id: Annotated[str, Field(examples=["7f6d1c0e5b7c4d0c9a55d4a3f4f0b1aa"])]


class ErrorAnswer(Settings):
    """The body of every answer that is an error."""

    error: ErrorFacts


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        code: one of `FAULTS`; the status is its own.
        message: what is wrong, what was expected and what to do, in plain words.
    """

    def __init__(
        self,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        details: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.headers, self.details = code, message, dict(headers or {}), details

    def response(self, request_id: str) -> JSONResponse:
        """The answer to the request of this id."""
        facts: dict[str, Any] = {"code": self.code, "message": _shortened(self.message)}
        if self.details is not None:
            facts["details"] = self.details
        return JSONResponse(
            {"error": facts | {"request_id": request_id}},
            FAULTS[self.code].status,
            headers={"Cache-Control": "no-store", **self.headers},
        )


def request_id_of(scope: Scope) -> str:
    """The id of a request, which is made at the first call."""
    state = scope.setdefault("state", {})
    if isinstance(state, State):
        state = state._state
    return state.setdefault("request_id", uuid.uuid4().hex)


def told(error: Exception) -> ApiError:
    """What a person is told of an error."""
    match error:
        case ApiError():
            return error
        case RequestValidationError():
            faults = [
                {
                    "at": _shortened(".".join(map(str, fault["loc"]))),
                    "message": fault["msg"].removeprefix("Value error, "),
                }
                for fault in error.errors()[:MOST_FAULTS]
            ]
            summary = "; ".join(f"{fault['at']}: {fault['message']}" for fault in faults[:3])
            return ApiError("invalid_request", f"the request is not as documented: {summary}", details=faults)
        case HTTPException():
            return _of_framework(error)
        case NotStoredError():
            return ApiError("not_found", f"{error.what}: {error.remedy}")
        case QueryError():
            return ApiError("invalid_query", str(error))
        case SpecError() | DataError():
            return ApiError("invalid_sweep", str(error))
        case ScheduleError():
            return ApiError("invalid_request", str(error))
        case ConflictError():
            return ApiError("conflict", str(error))
        case TableError() | DamagedError():
            return ApiError(
                "unavailable",
                "what this is to be read from is damaged: whoever runs the server finds out by `basin store check` "
                "what it is, and what to do; the server's log says more under the request's id",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        case ServiceError() | ClusterError():
            what = "the cluster" if isinstance(error, ClusterError) else "the store or the ledger"
            return ApiError(
                "unavailable",
                f"{what} cannot be used now: try again in some seconds; if that does not help, the server's log says "
                "why, under the request's id",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        case _:
            return ApiError("internal", "a fault of the server, not of the request: its log has the request's id")


def _shortened(text: str) -> str:
    """What was sent may be in it, however long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _of_framework(error: HTTPException) -> ApiError:
    code = _CODES.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal")
    message = {
        "not_found": "no such address: /openapi.json lists what there is",
        "method_not_allowed": "this address does not have the method: the header Allow says which it has",
    }.get(code, f"{HTTPStatus(error.status_code).phrase.lower()}: see /openapi.json")
    return ApiError(code, message, error.headers)


def respond(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that ended in an error; what nobody is told goes to the log."""
    said, request_id = told(error), request_id_of(request.scope)
    if said.code == "unavailable":
        _log.warning("request %s: %s", request_id, printable(str(error)))
    return said.response(request_id)


HANDLERS: Mapping[int | type[Exception], Any] = dict.fromkeys(
    (ApiError, RequestValidationError, HTTPException, ServiceError, ClusterError, SpecError, DataError), respond
)


class Faults:
    """ASGI middleware: any other error is an answer of the same shape, and a stack trace in the log alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            request_id = request_id_of(scope)
            _log.exception("request %s failed", request_id)
            await told(error).response(request_id)(scope, receive, send)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What an operation's documentation says of the errors that it may end in."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(FAULTS[code].status, []).append(code)
    return {status: _documented(of) for status, of in sorted(by_status.items())}


def _documented(codes: Iterable[str]) -> dict[str, Any]:
    codes = list(codes)
    examples = {
        code: {"value": {"error": {"code": code, "message": FAULTS[code].about, "request_id": "7f6d1c0e5b7c4d0c"}}}
        for code in codes
    }
    headers = {name: {"schema": {"type": "string"}, "description": about} for name, about in _headers(codes)}
    return {
        "model": ErrorAnswer,
        "description": " ".join(FAULTS[code].about for code in codes),
        "content": {"application/json": {"examples": examples}},
    } | ({"headers": headers} if headers else {})


def _headers(codes: Iterable[str]) -> Iterable[tuple[str, str]]:
    for code in codes:
        if code == "unauthorized":
            yield "WWW-Authenticate", "`Bearer`"
        if code in ("too_many_requests", "unavailable"):
            yield "Retry-After", "Seconds until it is worth trying again."
        if code == "range_not_satisfiable":
            yield "Content-Range", "The length of the part, as in `bytes */1234`."
