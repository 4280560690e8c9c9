"""Who may do what: bearer tokens, and the cookie that pages keep one in."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.tokens import SCOPES, Keyring, Scope

COOKIE = "basin_token"
PAGE_HEADER = "X-Basin-Request"  # pages send it; no form and no other site's script can without being asked first
_SAFE = ("GET", "HEAD", "OPTIONS")
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token of `basin token create`: `Authorization: Bearer basin_…`.",
)


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        name: of the token; `anonymous` where authentication is off.
    """

    name: str
    scope: Scope


ANONYMOUS = Caller("anonymous", "admin")


def protect(app: FastAPI, keyring: Keyring | None) -> None:
    """Let an application's routes ask for tokens of this keyring; None is authentication off, for loopback alone."""
    app.state.keyring = keyring


def requires(scope: Scope) -> Any:
    """The dependency that lets those in whose token has this scope or a wider one.

    For a router's or route's `dependencies=[requires("read")]`, or a parameter
    `caller: Annotated[Caller, requires("submit")]`.
    """

    async def permitted(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        caller = await _caller(request, credentials)
        if SCOPES.index(caller.scope) < SCOPES.index(scope):
            raise _refusal(
                403,
                "forbidden",
                f"token {caller.name!r} has the scope {caller.scope!r}, and this needs {scope!r}: ask for another one, "
                f"made by `basin token create NAME --scope {scope}`",
            )
        return caller

    return Depends(permitted)


def secret_of(headers: Mapping[str, str], cookies: Mapping[str, str], method: str) -> str | None:
    """The secret that a request brings: a bearer token, else the cookie of a page.

    A browser sends cookies along whoever makes it ask, so for what changes anything the page must say that it asked.
    """
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if method in _SAFE or headers.get(PAGE_HEADER.lower()) == "1":
        return cookies.get(COOKIE)
    return None


async def _caller(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    keyring: Keyring | None = request.app.state.keyring
    if keyring is None:
        _check_local(request)
        return ANONYMOUS
    secret = credentials.credentials if credentials else secret_of(request.headers, request.cookies, request.method)
    if secret is None:
        raise _refusal(401, "unauthorized", "this needs a token: send `Authorization: Bearer basin_…`")
    token = keyring.remembered(secret) or await run_in_threadpool(keyring.find, secret)
    if token is None:
        raise _refusal(
            401, "unauthorized", "this token is not known, was revoked or has expired: `basin token create` makes one"
        )
    request.scope["basin.caller"] = token.name
    return Caller(token.name, token.scope)


def _check_local(request: Request) -> None:
    """Without tokens, a page of another site must not act by way of the browser of a person on this machine."""
    if not is_loopback(_host(request.headers.get("host", ""))):
        raise _refusal(
            403, "forbidden", "authentication is off, so that this machine alone is answered: ask for localhost"
        )
    if request.method not in _SAFE and request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise _refusal(403, "forbidden", "authentication is off, so that pages of other sites may change nothing")


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can be reached from its own machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(status: int, code: str, message: str) -> HTTPException:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return HTTPException(status, {"code": code, "message": message}, headers)
