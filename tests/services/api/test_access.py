"""Who may do what: no token, wrong ones, scopes, cookies, and pages of other sites."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from services.api.access import COOKIE, is_loopback
from services.api.context import Context
from services.ledger import tokens
from services.ledger.database import Ledger
from services.ledger.tokens import SCOPES
from tests.support.live import client_of, settings_of

NOW = datetime.now(UTC)
OPEN = {"/health", "/ready", "/api/v1/version"}
SWEEPS = "/api/v1/sweeps"
WRONG = [
    {},
    {"Authorization": "Bearer basin_" + "A" * 43},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer " + "A" * 5000},
    {"Authorization": "Basic YWRhOmFkYQ=="},
    {"Authorization": "Bearer é".encode().decode("latin-1")},
    {"Cookie": f"{COOKIE}=basin_{'B' * 43}"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def secrets(folder: Path) -> dict[str, str]:
    """One token of each scope, and one that has ended."""
    ledger = Ledger(settings_of(folder).ledger)
    found = {scope: tokens.create(ledger, scope, scope, NOW).secret for scope in SCOPES}
    found["ended"] = tokens.create(ledger, "ended", "admin", NOW - timedelta(2), NOW - timedelta(1)).secret
    ledger.close()
    return found


@pytest.fixture(scope="module")
def client(folder: Path, secrets: dict[str, str]) -> Iterator[httpx.Client]:
    from services.store.location import make
    from services.store.objects import Storage

    make(Storage(folder / "store"))
    with client_of(settings_of(folder, authentication=True)) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_every_route_but_those_that_say_little_asks_for_a_token(client: httpx.Client, folder: Path):
    asked = 0
    for path, operations in client.get("/openapi.json", headers={}).json()["paths"].items():
        if path in OPEN:
            continue
        for method in operations:
            response = client.request(method, re.sub(r"\{.*?\}", "x", path), json={} if method == "post" else None)
            assert code(response) == (401, "unauthorized"), (method, path)
            asked += 1
    assert asked > 20


def test_nothing_is_changed_by_who_may_only_read(client: httpx.Client, secrets: dict[str, str]):
    asked = 0
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations.keys() - {"get"}:
            response = client.request(method, re.sub(r"\{.*?\}", "x", path), json={}, headers=bearer(secrets["read"]))
            assert code(response) == (403, "forbidden"), (method, path)
            asked += 1
    assert asked >= 8


@pytest.mark.parametrize("headers", WRONG, ids=repr)
def test_what_is_no_valid_token_opens_nothing(client: httpx.Client, headers: dict[str, str]):
    response = client.get(SWEEPS, headers=[(k, v.encode("latin-1")) for k, v in headers.items()])
    assert code(response) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_that_has_ended_opens_nothing(client: httpx.Client, secrets: dict[str, str]):
    assert code(client.get(SWEEPS, headers=bearer(secrets["ended"]))) == (401, "unauthorized")


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_allows_what_those_before_it_allow_and_no_more(client: httpx.Client, secrets, scope: str):
    headers = bearer(secrets[scope])
    assert client.get(SWEEPS, headers=headers).status_code == 200
    stopped = client.post(f"{SWEEPS}/nothing/stop", headers=headers)
    # Who may not stop sweeps learns of none whether it is there.
    assert code(stopped) == ((403, "forbidden") if scope == "read" else (404, "not_found"))


def test_a_refusal_names_the_token_and_not_its_secret(client: httpx.Client, secrets: dict[str, str]):
    response = client.post(f"{SWEEPS}/nothing/stop", headers=bearer(secrets["read"]))
    assert "token 'read' has the scope 'read', and this needs 'submit'" in response.json()["error"]["message"]
    assert secrets["read"] not in response.text


def test_the_cookie_of_a_page_reads_and_changes_something_only_where_the_page_says_so(client: httpx.Client, secrets):
    cookie = {"Cookie": f"{COOKIE}={secrets['submit']}"}
    assert client.get(SWEEPS, headers=cookie).status_code == 200
    assert code(client.post(f"{SWEEPS}/nothing/stop", headers=cookie)) == (401, "unauthorized")
    said = cookie | {"X-Basin-Request": "1"}
    assert code(client.post(f"{SWEEPS}/nothing/stop", headers=said)) == (404, "not_found")
    # A header that is there counts, and a cookie does not make up for a wrong one.
    assert code(client.get(SWEEPS, headers=cookie | bearer("basin_" + "C" * 43))) == (401, "unauthorized")


def test_a_revoked_token_is_refused_in_time(folder: Path, client: httpx.Client):
    ledger = Ledger(settings_of(folder).ledger)
    secret = tokens.create(ledger, "brief", "read", NOW).secret
    assert client.get(SWEEPS, headers=bearer(secret)).status_code == 200
    tokens.revoke(ledger, "brief", NOW)
    ledger.close()
    until = datetime.now(UTC) + timedelta(seconds=10)
    while client.get(SWEEPS, headers=bearer(secret)).status_code != 401:
        assert datetime.now(UTC) < until


def test_without_authentication_this_machine_alone_is_answered(folder: Path, client: httpx.Client):
    with client_of(settings_of(folder, authentication=False)) as open_client:
        assert open_client.get(SWEEPS).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "[", "", "localhost.evil:80"):
            assert code(open_client.get(SWEEPS, headers={"Host": host})) == (403, "forbidden"), host
        for site, expected in (("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)):
            headers = {"Sec-Fetch-Site": site}
            assert open_client.post(f"{SWEEPS}/nothing/stop", headers=headers).status_code == expected, site


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "")],
)
def test_a_loopback_address_is_told_from_others(host: str, expected: bool):
    assert is_loopback(host) is expected


def test_where_a_folder_is_is_told_to_its_own_machine_alone(folder: Path):
    store = str(folder / "store")
    assert Context(settings_of(folder, authentication=False)).told_location == store
    assert Context(settings_of(folder, authentication=True)).told_location is None
    assert Context(settings_of(folder, authentication=True, store="s3://lab/basin")).told_location == "s3://lab/basin"
