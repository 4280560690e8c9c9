"""Tokens of the HTTP API: made once, shown once, and kept as hashes alone."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, insert, select, update

from services.errors import ServiceError
from services.ledger.database import Ledger
from services.ledger.tables import tokens
from services.sweeps.definition import NAME, NAME_WORDS

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "submit", "admin")  # each may do what those before it may

PREFIX = "basin_"
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


class TokenError(ServiceError):
    """A token that cannot be made, or that there is none of."""


class Token(BaseModel):
    """A token, without its secret.

    Attributes:
        last_four: characters of the secret, to tell it by.
        expires: when it ends by itself; None is never.
        revoked: when a person ended it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    scope: Scope
    last_four: str
    created: datetime
    expires: datetime | None
    revoked: datetime | None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """Whether it opens anything at a moment."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"

    def allows(self, scope: Scope) -> bool:
        """Whether its scope is this one or a wider one."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Created(NamedTuple):
    """A new token, and its secret, which nobody can show again."""

    secret: str
    token: Token


def create(ledger: Ledger, name: str, scope: Scope, now: datetime, expires: datetime | None = None) -> Created:
    """Make a token. One of this name that was revoked or has expired is replaced.

    Raises:
        TokenError: a wrong name, a name that a valid token has, or an end that has passed.
        LedgerError: the ledger cannot be used.
    """
    if not re.fullmatch(NAME, name):
        raise TokenError(f"token name {name!r}: {NAME_WORDS}")
    if expires is not None and expires <= now:
        raise TokenError(f"token {name!r} would have expired at {expires:%Y-%m-%d %H:%M %Z} already")
    secret = PREFIX + secrets.token_urlsafe(32)
    row: dict[str, Any] = {
        "scope": scope,
        "sha256": _sha256(secret),
        "last_four": secret[-4:],
        "created": now,
        "expires": expires,
        "revoked": None,
    }
    with ledger.transaction() as connection:
        before = connection.execute(select(tokens).where(tokens.c.name == name).with_for_update()).one_or_none()
        if before is None:
            connection.execute(insert(tokens).values(name=name, **row))
        elif _token(before).state(now) == "valid":
            raise TokenError(f"there is a token {name!r} already: name another, or `basin token revoke {name}` first")
        else:
            connection.execute(update(tokens).where(tokens.c.name == name).values(**row))
    return Created(secret, Token(name=name, **{key: value for key, value in row.items() if key != "sha256"}))


def find(ledger: Ledger, secret: str, now: datetime) -> Token | None:
    """The valid token with this secret; None where there is none.

    It is looked up by its hash, so that the time that it takes tells nothing of the secrets that there are.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    if not _FORM.fullmatch(secret):
        return None
    digest = _sha256(secret)
    with ledger.reading() as connection:
        row = connection.execute(select(tokens).where(tokens.c.sha256 == digest)).one_or_none()
    if row is None or not hmac.compare_digest(row.sha256, digest):
        return None
    token = _token(row)
    return token if token.state(now) == "valid" else None


def all_tokens(ledger: Ledger) -> list[Token]:
    """Every token by name, those among them that were revoked or have expired.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    with ledger.reading() as connection:
        return [_token(row) for row in connection.execute(select(tokens).order_by(tokens.c.name))]


def revoke(ledger: Ledger, name: str, now: datetime) -> None:
    """End a token. One that was revoked stays as it is.

    Raises:
        TokenError: there is none of this name.
        LedgerError: the ledger cannot be used.
    """
    with ledger.transaction() as connection:
        known = select(tokens.c.revoked).where(tokens.c.name == name)
        row = connection.execute(known).one_or_none()
        if row is None:
            raise TokenError(f"no token {name!r}: `basin token list` lists them")
        if row.revoked is None:
            connection.execute(update(tokens).where(tokens.c.name == name).values(revoked=now))


class Keyring:
    """Finds tokens for a server, which asks for the same ones again and again.

    What it finds it remembers for `seconds`: so long a token may open something after it was revoked.
    """

    def __init__(self, ledger: Ledger, seconds: float = 2.0, clock: Callable[[], datetime] | None = None) -> None:
        """Find the tokens of a ledger."""
        self._ledger = ledger
        self._seconds = seconds
        self._clock = clock or (lambda: datetime.now(UTC))
        self._known: dict[str, tuple[datetime, Token]] = {}  # by hash: no secret is kept

    def remembered(self, secret: str) -> Token | None:
        """The valid token with this secret where it was found lately; the ledger is not asked."""
        now = self._clock()
        found, token = self._known.get(_sha256(secret), (None, None))
        if token is None or found is None or (now - found).total_seconds() > self._seconds:
            return None
        return token if token.state(now) == "valid" else None

    def known(self, secret: str) -> Token | None:
        """The token that was found with this secret last, which may have ended since; the ledger is not asked."""
        _, token = self._known.get(_sha256(secret), (None, None))
        return token

    def find(self, secret: str) -> Token | None:
        """The valid token with this secret, as the ledger has it now; None where there is none.

        Raises:
            LedgerError: the ledger cannot be used.
        """
        now = self._clock()
        token = find(self._ledger, secret, now)
        digest = _sha256(secret)
        if token is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = (now, token)
        return token


def _token(row: Row[Any]) -> Token:
    return Token.model_validate({name: value for name, value in row._mapping.items() if name in Token.model_fields})


def _sha256(secret: str) -> str:
    # A token has 256 random bits: no slow hash would make it harder to guess.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
