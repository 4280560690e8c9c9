"""Requests to a server: with the token, tried again where that is safe, and with its errors as `BasinError`."""

import random
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import Any

import httpx

from models.spec.settings import SCHEMA_VERSION
from services.client.errors import BasinError

API = "/api/v1"
ATTEMPTS = 5
FIRST_DELAY, LONGEST_DELAY = 0.25, 8.0  # seconds, doubling from one to the other
LONGEST_PAUSE = 60.0  # that a server may ask for; one that asks for more is told of instead
CONNECT_SECONDS = 10.0

_PASSING = (429, 502, 503)
_CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    429: "too_many_requests",
}
Params = Sequence[tuple[str, str]]


class Connection:
    """A connection to one server. It is made, and the server's version looked at, with the first request."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        """Speak to the server at `url`, each of whose answers must begin within `timeout` seconds.

        Raises:
            BasinError: that is no URL of a server, or no token.
        """
        self.url = _checked(url)
        self._timeout = timeout
        self._has_token = token is not None
        headers = {"User-Agent": f"basin-client/{metadata.version('basin')}"}
        if token is not None:
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                raise BasinError("unauthorized", "the token is not one: expected basin_ and 43 letters and digits")
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS)
        )
        self._is_known = False

    def close(self) -> None:
        """Close what is open; the next request opens it anew."""
        self._client.close()

    def get(self, path: str, params: Params = (), accept: str = "application/json") -> httpx.Response:
        """What is at a path below `/api/v1`.

        Raises:
            BasinError: as the server says, or nothing answers.
        """
        return self.send("GET", path, params=params, headers={"Accept": accept}, repeatable=True)

    def post(
        self, path: str, body: Any = None, *, repeatable: bool, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Post JSON. What is `repeatable` does the same when it arrives twice, and so is tried again.

        Raises:
            BasinError: as the server says, or nothing answers.
        """
        return self.send("POST", path, json=body, headers=headers, repeatable=repeatable)

    def send(self, method: str, path: str, *, repeatable: bool, **request: Any) -> httpx.Response:
        """A request, and further tries of it.

        Raises:
            BasinError: as the server says, or nothing answers.
        """
        self._meet()
        return self._send(method, path, repeatable=repeatable, **request)

    def events(self, path: str) -> Iterator[tuple[str, str]]:
        """Name and data of server-sent events until the stream ends, here or there.

        Raises:
            BasinError: as the server says, or nothing answers.
        """
        self._meet()
        with self._told(), self._client.stream("GET", API + path, headers={"Accept": "text/event-stream"}) as response:
            if not response.is_success:
                response.read()
                raise self._error(response)
            yield from _parse_events(response.iter_lines())

    def _meet(self) -> None:
        """Before the first request: is it a Basin, and which?"""
        if self._is_known:
            return
        try:
            said = self._send("GET", "/version", repeatable=True).json()
            version, schema = said["version"], said["schema_version"]
        except (ValueError, KeyError, TypeError):
            raise BasinError("unavailable", f"what answers at {self.url} is not a Basin server") from None
        self._is_known = True
        mine = metadata.version("basin")
        if (version, schema) != (mine, SCHEMA_VERSION):
            warnings.warn(
                f"the server at {self.url} is Basin {version} (schema {schema}), and this client is {mine} (schema "
                f"{SCHEMA_VERSION}): some calls may not be understood; install the same version here and there",
                stacklevel=2,
            )

    def _send(self, method: str, path: str, *, repeatable: bool, **request: Any) -> httpx.Response:
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                with self._told():
                    response = self._client.request(method, API + path, **request)
            except _UnreachableError as error:
                if last or not (repeatable or error.never_arrived):
                    raise
                pause = None
            else:
                if response.is_success:
                    return response
                pause = _asked_pause(response)
                # What is refused for its rate was not done, so it can be asked for again, whatever it is.
                passing = response.status_code in _PASSING and (repeatable or response.status_code == 429)
                if last or not passing or (pause or 0.0) > LONGEST_PAUSE:
                    raise self._error(response)
            time.sleep(delay(attempt) if pause is None else pause + delay(0))
        raise AssertionError("unreachable")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            never_arrived = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            seconds = CONNECT_SECONDS if never_arrived else self._timeout
            raise _UnreachableError(
                f"the server at {self.url} did not answer within {seconds:g} s: give more time by timeout=",
                never_arrived,
            ) from None
        except httpx.TransportError as error:
            raise _UnreachableError(
                f"the server at {self.url} cannot be reached ({str(error).strip() or type(error).__name__}): is "
                "`basin serve` running there?",
                isinstance(error, httpx.ConnectError),
            ) from None

    def _error(self, response: httpx.Response) -> BasinError:
        """What the server says, or what can be said of an answer that is none of Basin's."""
        try:
            said = response.json()["error"]
            code, message, request_id = str(said["code"]), str(said["message"]), said.get("request_id")
        except (ValueError, KeyError, TypeError):
            code = _CODES.get(response.status_code, "unavailable" if response.status_code >= 500 else "invalid_request")
            message = f"{self.url} answered {response.status_code} {response.reason_phrase}".rstrip()
            request_id = None
            if response.is_redirect:
                message += f", for it is at {response.headers.get('Location', 'another place')}: give that URL"
        if response.status_code == 401 and not self._has_token:
            message += " (no token was given: token=..., or BASIN_TOKEN)"
        return BasinError(code, message, request_id)


class _UnreachableError(BasinError):
    def __init__(self, message: str, never_arrived: bool) -> None:
        super().__init__("unavailable", message)
        self.never_arrived = never_arrived


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BasinError("invalid_request", f"that is not a URL ({error}): expected http://HOST:PORT") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BasinError("invalid_request", "the URL names no server: expected http://HOST:PORT")
    if parsed.userinfo:
        raise BasinError("invalid_request", "the URL has a secret in it: give the token by token= or BASIN_TOKEN")
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def delay(attempt: int) -> float:
    """Seconds before the next try: twice those before the last, by chance between the half and all of them."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2**attempt) * random.uniform(0.5, 1.0)


def _asked_pause(response: httpx.Response) -> float | None:
    """What `Retry-After` asks for in seconds; None where it does not."""
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Events as WHATWG's HTML standard has them, section 9.2.6, without what a client of one connection needs not."""
    name, data = "message", []
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
