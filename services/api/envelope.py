"""Around every request: an id, headers that browsers heed, and one line of the log. ASGI middleware."""

import json
import logging
import re
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "X-Request-ID"
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST = 300  # characters of what a stranger chose
# Nothing comes from elsewhere, and nothing runs or is styled that stands in a page itself.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_log = logging.getLogger("basin.access")


class Envelope:
    """Gives each request an id and each answer its headers, and logs a line of JSON for each."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        state = scope.setdefault("state", {})
        state["request_id"] = given if _PLAIN_ID.fullmatch(given) else uuid.uuid4().hex
        started, status, size = time.monotonic(), 0, 0

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                _secure(MutableHeaders(scope=message), scope["path"], state["request_id"])
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _log.info("", extra={"request": _line(scope, state, status, size, time.monotonic() - started)})


def _secure(headers: MutableHeaders, path: str, request_id: str) -> None:
    """What a route has set stays as it is."""
    is_page = headers.get("content-type", "").startswith("text/html")
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else _DATA_POLICY)
    if is_page or path.startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")
    headers[REQUEST_ID] = request_id


def _line(scope: Scope, state: dict[str, Any], status: int, size: int, seconds: float) -> dict[str, Any]:
    parameters = scope.get("path_params", {})
    line = {
        "request_id": state["request_id"],
        "method": scope["method"],
        "path": scope["path"][:_LONGEST],
        "status": status,  # 0: nothing was answered
        "bytes": size,
        "milliseconds": round(1000 * seconds, 1),
        "address": scope["client"][0] if scope.get("client") else None,
        "caller": state.get("caller"),
        "sweep": state.get("sweep") or (parameters.get("name") if "/sweeps/" in scope["path"] else None),
        "run": state.get("run") or parameters.get("run_key"),
    }
    return {name: value for name, value in line.items() if value is not None}


class JsonLines(logging.Formatter):
    """One line of ASCII JSON for each record, whatever is in it: nobody can forge another line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if message := record.getMessage():
            line["message"] = message
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "request", {}), default=str)


def log_json(level: int = logging.INFO) -> None:
    """Let this process log lines of JSON on stderr: Basin's, and the server's warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("basin", "services", "cluster"):
        logging.getLogger(name).setLevel(level)
