"""Tokens: shown once, kept as hashes, ended by time or by a person."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from services.ledger import tokens
from services.ledger.database import Ledger
from services.ledger.tables import tokens as table
from services.ledger.tokens import Keyring, TokenError

NOW = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_token_is_found_by_its_secret_alone(ledger: Ledger):
    secret, token = tokens.create(ledger, "ada", "submit", NOW)
    other = tokens.create(ledger, "bob", "read", NOW)
    assert re.fullmatch(r"basin_[A-Za-z0-9_-]{43}", secret)
    assert (token.name, token.scope, token.last_four) == ("ada", "submit", secret[-4:])
    assert tokens.find(ledger, secret, NOW) == token
    assert tokens.find(ledger, other.secret, NOW) == other.token
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for given in (wrong, secret[:-1], secret + "A", secret.removeprefix("basin_"), "", "é", "\0", f"{secret}\n"):
        assert tokens.find(ledger, given, NOW) is None


def test_the_secret_is_nowhere_in_the_ledger(ledger: Ledger):
    secret = tokens.create(ledger, "ada", "read", NOW).secret
    with ledger.reading() as connection:
        kept = repr(connection.execute(select(table)).all())
    assert secret not in kept
    assert secret.removeprefix("basin_")[:20] not in kept


def test_each_scope_allows_those_before_it(ledger: Ledger):
    found = {scope: tokens.create(ledger, scope, scope, NOW).token for scope in tokens.SCOPES}
    assert [[found[has].allows(asked) for asked in tokens.SCOPES] for has in tokens.SCOPES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_a_token_ends_at_its_time_and_when_it_is_revoked(ledger: Ledger):
    brief = tokens.create(ledger, "brief", "read", NOW, NOW + HOUR)
    lasting = tokens.create(ledger, "lasting", "read", NOW)
    assert tokens.find(ledger, brief.secret, NOW + 0.99 * HOUR) is not None
    assert tokens.find(ledger, brief.secret, NOW + HOUR) is None
    tokens.revoke(ledger, "lasting", NOW + HOUR)
    tokens.revoke(ledger, "lasting", NOW + 2 * HOUR)
    assert tokens.find(ledger, lasting.secret, NOW) is None
    states = {token.name: (token.state(NOW + HOUR), token.revoked) for token in tokens.all_tokens(ledger)}
    assert states == {"brief": ("expired", None), "lasting": ("revoked", NOW + HOUR)}


def test_a_name_can_be_given_again_once_its_token_has_ended(ledger: Ledger):
    first = tokens.create(ledger, "ada", "admin", NOW)
    with pytest.raises(TokenError, match="already: name another, or `basin token revoke ada` first"):
        tokens.create(ledger, "ada", "read", NOW)
    assert tokens.find(ledger, first.secret, NOW) == first.token
    tokens.revoke(ledger, "ada", NOW)
    second = tokens.create(ledger, "ada", "read", NOW)
    assert tokens.find(ledger, first.secret, NOW) is None
    assert tokens.find(ledger, second.secret, NOW) == second.token
    assert [token.scope for token in tokens.all_tokens(ledger)] == ["read"]


@pytest.mark.parametrize("name", ["", "two words", "../up", "a" * 65, "<b>", "a\n"])
def test_a_name_that_is_none_is_refused(ledger: Ledger, name: str):
    with pytest.raises(TokenError, match="expected letters, digits"):
        tokens.create(ledger, name, "read", NOW)


def test_what_cannot_be_meant_is_said(ledger: Ledger):
    with pytest.raises(TokenError, match="would have expired at 2026-01-04 23:00 UTC already"):
        tokens.create(ledger, "late", "read", NOW, NOW - HOUR)
    with pytest.raises(TokenError, match="no token 'nobody': `basin token list`"):
        tokens.revoke(ledger, "nobody", NOW)


def test_a_keyring_asks_the_ledger_once_in_a_while_and_for_those_that_it_does_not_know(ledger: Ledger):
    now = NOW
    keyring = Keyring(ledger, seconds=2.0, clock=lambda: now)
    secret, token = tokens.create(ledger, "ada", "read", NOW, NOW + timedelta(seconds=3.5))
    assert keyring.remembered(secret) is None
    assert keyring.find(secret) == token
    tokens.revoke(ledger, "ada", NOW)
    assert keyring.remembered(secret) == token
    now = NOW + timedelta(seconds=2.1)
    assert keyring.remembered(secret) is None
    assert keyring.find(secret) is None


def test_a_keyring_remembers_no_token_beyond_its_end(ledger: Ledger):
    now = NOW
    keyring = Keyring(ledger, seconds=60.0, clock=lambda: now)
    secret = tokens.create(ledger, "ada", "read", NOW, NOW + HOUR / 100).secret
    assert keyring.find(secret) is not None
    now = NOW + HOUR / 100
    assert keyring.remembered(secret) is None


def test_a_ledger_from_before_there_were_tokens_gets_the_table(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    old = Ledger(url)
    with old.transaction() as connection:
        for name in ("tokens", "submissions", "requests"):
            connection.execute(text(f"drop table {name}"))
    old.close()
    opened = Ledger(url, create=False)
    assert opened.identity == old.identity
    assert tokens.all_tokens(opened) == []
    opened.close()


def test_the_command_makes_lists_and_ends_tokens(command):
    made = command("token", "create", "ada", "--scope", "submit", "--expires", "30d")
    secret = made.out.strip()
    assert re.fullmatch(r"basin_[A-Za-z0-9_-]{43}", secret)
    assert "ada may read, and run and stop sweeps and schedules, until" in made.err
    listed = command("token", "list")
    assert "valid" in listed.out and secret[-4:] in listed.out and secret not in listed.out
    assert command("token", "revoke", "ada").out == "ada is revoked.\n"
    assert "revoked" in command("token", "list").out
    assert command("token", "revoke", "eve").err.startswith("error: no token 'eve'")
    for expires, told in (
        ("soon", "expected numbers with d, h, m or s"),
        ("999999999d", "after the year 9999"),
        ("999999999d999999999d", "expected less than three million years"),
    ):
        assert told in command("token", "create", "eve", "--expires", expires).err
