"""Server-sent events: how sweeps stand, as it changes, to a page that shows them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from services.api.errors import told
from services.errors import ServiceError
from services.web.overview import Progress

BEAT_SECONDS = 1.0
QUIET_BEATS = 5  # between looks while nothing is at work
PING_BEATS = 15
LONGEST_BEATS = 300  # then the browser asks again, by itself


async def standings(request: Request, look: Callable[[], Sequence[Progress]]) -> AsyncIterator[str]:
    """An event `standing` for each sweep when it is first seen and whenever it changed; until the page goes away."""
    known: dict[str, dict] = {}
    live = True
    for beat in range(LONGEST_BEATS):
        if await request.is_disconnected():
            return
        if live or beat % QUIET_BEATS == 0:
            try:
                now = {each.name: each.as_json() for each in await run_in_threadpool(look)}
            except ServiceError as error:
                yield _event("away", {"message": told(error).message})
                now = {}
            for name, standing in now.items():
                if known.get(name) != standing:
                    yield _event("standing", standing)
            known |= now
            live = any(standing["live"] for standing in now.values())
        if beat % PING_BEATS == 0:
            yield ": still here\n\n"
        await asyncio.sleep(BEAT_SECONDS)


def _event(kind: str, value: dict) -> str:
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n"
