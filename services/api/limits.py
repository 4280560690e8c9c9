"""How much one request, and one caller, may ask for: size, nesting, time and rate. ASGI middleware."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from anyio import CancelScope
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.access import holder, is_permitted
from services.api.envelope import Envelope
from services.api.errors import ApiError, request_id_of, told
from services.api.json_bodies import check_json
from services.api.settings import Limits
from services.errors import ServiceError

STRANGER_SHARE = 0.2  # of the rate and the burst, for an address whose requests bring no valid token
STRANGER_BYTES = 64 * 2**10  # of a body, likewise
_MAX_KNOWN = 10_000


def guard(app: FastAPI, limits: Limits) -> None:
    """Put these limits, and the envelope around them, outside of the middleware that an application has so far."""
    for limit in (Bodies, Deadline, Rates):
        app.add_middleware(limit, limits=limits)
    app.add_middleware(Envelope)


class Bodies:
    """Reads a request's body before anything else does, and refuses what is too large, too deep, or no plain JSON.

    Of who brings no valid token little is read, whatever becomes of it.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            if body is None:
                return  # they have hung up
            if "json" in Headers(scope=scope).get("content-type", ""):
                await self._check(body)
        except (ApiError, ServiceError) as error:
            await told(error).response(request_id_of(scope))(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity") != "identity":
            raise ApiError("unsupported_media_type", "the body is compressed, and none such is read: send it as it is")
        stated = headers.get("content-length", "0")
        size, parts = int(stated[:20]) if stated.isdecimal() else 0, []
        most = await self._most(scope, size)
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                most = await self._most(scope, size)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _check(self, body: bytes) -> None:
        if len(body) > STRANGER_BYTES:  # it takes a while, in which others are answered
            await run_in_threadpool(check_json, body, self._limits.json_depth, self._limits.json_values)
        else:
            check_json(body, self._limits.json_depth, self._limits.json_values)

    async def _most(self, scope: Scope, size: int) -> int:
        """The most bytes that may be read, where so many are to be."""
        most = min(STRANGER_BYTES, self._limits.request_bytes)
        if size > most and await is_permitted(HTTPConnection(scope)):
            most = self._limits.request_bytes
        if size > most:
            raise _too_large(most)
        return most


def _too_large(most: int) -> ApiError:
    return ApiError("too_large", f"the body has more than {most:,} bytes: send less", {"Connection": "close"})


class Deadline:
    """Refuses what takes too long to begin an answer. One that has begun may go on: events, a large part.

    A thread cannot be stopped: it ends by itself, its answer is thrown away, and until then it keeps its place among
    those that may be at work at once, so that they do not pile up.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._seconds = app, limits.seconds
        self._given_up: set[asyncio.Task[None]] = set()  # the event loop itself keeps no task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, late = False, False
        # It waits for threads to end before it lets their places go, which cancelling the task would not do.
        work = CancelScope()

        async def sending(message: Message) -> None:
            nonlocal begun
            if not late:
                begun = True
                await send(message)

        async def answering() -> None:
            with work:
                await self._app(scope, receive, sending)

        task = asyncio.create_task(answering())
        try:
            await asyncio.wait({task}, timeout=self._seconds)
            if begun or task.done():
                await task
                return
        except asyncio.CancelledError:
            work.cancel()
            raise
        late = True
        self._given_up.add(task)
        task.add_done_callback(self._given_up.discard)
        work.cancel()
        refusal = ApiError(
            "unavailable",
            f"it took more than {self._seconds:g} seconds: ask for less, or again later",
            {"Retry-After": "5"},
        )
        await refusal.response(request_id_of(scope))(scope, receive, send)


class Rates:
    """Refuses callers that ask too often: by token, or by address where there is none that is valid.

    A valid token uses up nothing of its address, which many may share. One that was never seen is looked up only while
    strangers may still ask from there, so that guessing is limited.
    """

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._known, self._strangers = (
            Buckets(limits.requests_per_second * share, max(1.0, limits.burst * share)) for share in (1, STRANGER_SHARE)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            wait = await self._take(HTTPConnection(scope))
            if wait > 0:
                error = ApiError(
                    "too_many_requests",
                    f"too many requests: go on in {wait:.1f} seconds, and slower",
                    {"Retry-After": str(math.ceil(wait))},
                )
                await error.response(request_id_of(scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _take(self, connection: HTTPConnection) -> float:
        address, now = connection.client.host if connection.client else "", self._clock()
        if not connection.app.state.context.serving.authentication:
            return self._known.take(address, now)
        token = await holder(connection, may_ask=self._strangers.wait(address, now) == 0)
        if token is not None:
            return self._known.take(f"token {token.name}", now)
        return self._strangers.take(address, now)


class Buckets:
    """Token buckets by caller: so many requests at once, and then so many a second."""

    def __init__(self, rate: float, burst: float) -> None:
        """All full."""
        self._rate, self._burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str, now: float) -> float:
        """Seconds until one can be taken."""
        return self._wait(self._now(caller, now))

    def take(self, caller: str, now: float) -> float:
        """Take one. Returns 0, or the seconds until there is one, and takes none."""
        left = self._now(caller, now)
        wait = self._wait(left)
        self._left[caller] = (left if wait else left - 1, now)
        self._left.move_to_end(caller)
        if len(self._left) > _MAX_KNOWN:
            self._left.popitem(last=False)  # who has not asked for longest
        return wait

    def _now(self, caller: str, now: float) -> float:
        left, then = self._left.get(caller, (self._burst, now))
        return min(self._burst, left + (now - then) * self._rate)

    def _wait(self, left: float) -> float:
        return 0.0 if left >= 1 else (1 - left) / self._rate
