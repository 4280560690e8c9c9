"""Who may do what: bearer tokens, and the cookie that pages keep one in."""

import functools
import ipaddress
from contextlib import suppress
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from services.api.context import Context
from services.api.errors import ApiError
from services.errors import LedgerError
from services.ledger.tokens import SCOPES, Keyring, Scope, Token

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


@functools.cache
def requires(scope: Scope) -> Any:
    """The dependency that lets those in whose token has this scope or a wider one.

    For a router's or route's `dependencies=[requires("read")]`, or a parameter
    `caller: Annotated[Caller, requires("submit")]`.
    """

    async def permitted(
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],  # for the documentation
    ) -> Caller:
        caller = await _caller(request)
        if SCOPES.index(caller.scope) < SCOPES.index(scope):
            raise ApiError(
                "forbidden",
                f"token {caller.name!r} has the scope {caller.scope!r}, and this needs {scope!r}: ask for another one, "
                f"made by `basin token create NAME --scope {scope}`",
            )
        return caller

    return Depends(permitted)


def secret_of(request: HTTPConnection) -> str | None:
    """The secret that a request brings: a bearer token, else the cookie of a page.

    A browser sends cookies along whoever makes it ask, so for what changes anything the page must say that it asked.
    """
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind:
        return given.strip() if kind.lower() == "bearer" else None
    if request.scope["method"] in _SAFE or request.headers.get(PAGE_HEADER) == "1":
        return request.cookies.get(COOKIE)
    return None


async def holder(request: HTTPConnection, may_ask: bool) -> Token | None:
    """Whose requests this one counts among; the token may have ended since it was found.

    Args:
        request: that may bring a token.
        may_ask: whether the ledger may be asked for one that was never found.
    """
    secret = secret_of(request)
    if secret is None:
        return None
    keyring: Keyring | None = getattr(request.app.state, "keyring", None)
    token = None if keyring is None else keyring.known(secret)
    if token is None and may_ask:
        with suppress(LedgerError):  # the route will meet it, and say so
            token = await find(request, secret)
    return token


async def find(request: HTTPConnection, secret: str) -> Token | None:
    """The valid token with a secret, such as one that was typed on the login page.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    state = request.app.state
    if getattr(state, "keyring", None) is None:
        context: Context = state.context
        state.keyring = Keyring(await run_in_threadpool(lambda: context.ledger))
    return state.keyring.remembered(secret) or await run_in_threadpool(state.keyring.find, secret)


async def is_permitted(request: HTTPConnection) -> bool:
    """Whether a request brings a valid token, or needs none.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    if not request.app.state.context.serving.authentication:
        return True
    secret = secret_of(request)
    return secret is not None and await find(request, secret) is not None


async def _caller(request: Request) -> Caller:
    context: Context = request.app.state.context
    if not context.serving.authentication:
        _check_local(request)
        return ANONYMOUS
    secret = secret_of(request)
    if secret is None:
        raise _unauthorized("this needs a token: send `Authorization: Bearer basin_…`")
    token = await find(request, secret)
    if token is None:
        raise _unauthorized("this token is not known, was revoked or has expired: `basin token create` makes one")
    request.state.caller = token.name
    return Caller(token.name, token.scope)


def _check_local(request: Request) -> None:
    """Without tokens, a page of another site must not act by way of the browser of a person on this machine."""
    if not is_loopback(_host(request.headers.get("host", ""))):
        raise ApiError("forbidden", "authentication is off, so that this machine alone is answered: ask for localhost")
    if request.method not in _SAFE and of_another_site(request):
        raise ApiError("forbidden", "authentication is off, so that pages of other sites may change nothing")


def of_another_site(request: Request) -> bool:
    """Whether another site's page made the browser ask: older browsers tell where it is from alone."""
    origin = request.headers.get("origin")
    return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or (
        origin is not None and origin.partition("://")[2] != request.headers.get("host")
    )


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


def _unauthorized(message: str) -> ApiError:
    return ApiError("unauthorized", message, {"WWW-Authenticate": "Bearer"})
