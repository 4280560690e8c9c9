"""How much one request, and one caller, may ask for: size, nesting, time and rate. ASGI middleware."""

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import accumulate

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.access import holder
from services.api.envelope import Envelope
from services.api.errors import ApiError, request_id_of
from services.serving import Limits

STRANGER_SHARE = 0.2  # of the rate and the burst, for an address whose requests bring no valid token
_MAX_KNOWN = 10_000
# A string (whole, or cut off), a bracket, or a number that JSON does not have. Possessive: no text takes long.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]|NaN|Infinity', re.DOTALL)
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def guard(app: FastAPI, limits: Limits) -> None:
    """Put these limits, and the envelope around them, outside of the middleware that an application has so far."""
    for limit in (Bodies, Deadline, Rates):
        app.add_middleware(limit, limits=limits)
    app.add_middleware(Envelope)


class Bodies:
    """Reads a request's body before anything else does, and refuses what is too large, too deep, or no JSON numbers."""

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
                check_json(body, self._limits.json_depth)
        except ApiError as error:
            await error.response(request_id_of(scope))(scope, receive, send)
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
        most = self._limits.request_bytes
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if stated.isdigit() and int(stated[:20]) > most:
            raise _too_large(most)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return b"".join(parts)


def check_json(body: bytes, deepest: int) -> None:
    """Refuse what would be hard to parse, before it is parsed.

    Raises:
        ApiError: it is nested too deeply, or has a number in it that JSON does not have.
    """
    tokens = [token for token in _TOKENS.findall(body) if token[:1] != b'"']
    if any(token not in _STEPS for token in tokens):
        raise ApiError("invalid_request", "the body has NaN or Infinity in it, which JSON does not have: leave it out")
    if max(accumulate(map(_STEPS.__getitem__, tokens)), default=0) > deepest:
        raise ApiError("invalid_request", f"the body is nested more than {deepest} deep: send it flatter")


def _too_large(most: int) -> ApiError:
    return ApiError("too_large", f"the body has more than {most:,} bytes: send less", {"Connection": "close"})


class Deadline:
    """Refuses what takes too long to begin an answer. One that has begun may go on: events, a large part."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._seconds = app, limits.seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                clock.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as clock:
                await self._app(scope, receive, sending)
        except TimeoutError:
            if begun:
                raise
            late = ApiError(
                "unavailable",
                f"it took more than {self._seconds:g} seconds: ask for less, or again later",
                {"Retry-After": "5"},
            )
            await late.response(request_id_of(scope))(scope, receive, send)


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
