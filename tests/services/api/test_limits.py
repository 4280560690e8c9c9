"""Limits of size, nesting, rate and time; headers; and log lines that nobody can forge."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from services.api.envelope import JsonLines
from services.api.errors import HANDLERS, ApiError
from services.api.json_bodies import check_json
from services.api.limits import Buckets, guard
from services.api.settings import Limits
from services.ledger import tokens
from services.ledger.database import Ledger
from services.server.application import create_application
from tests.support.live import client_of, live, settings_of

LIMITS = Limits(request_bytes=10_000, json_depth=8, requests_per_second=1e6, burst=10**6, seconds=0.5)


class _AtWork:
    """Counts those that begin."""

    def __init__(self) -> None:
        self.begun, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.begun += 1

    def __exit__(self, *_: object) -> None:
        pass


AT_WORK, GO_ON = _AtWork(), threading.Event()


class _Open:
    """Of an application's context, what the limits ask for."""

    class serving:  # noqa: N801
        authentication = False


def limited(limits: Limits) -> FastAPI:
    app = FastAPI(exception_handlers=dict(HANDLERS))
    app.state.context = _Open

    @app.post("/count")
    async def count(body: Any = None) -> int:
        return len(json.dumps(body))

    @app.post("/items")
    async def items(body: list[Any]) -> int:
        return len(body)

    @app.get("/sleep")
    async def sleep(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @app.get("/work")
    def work() -> str:
        with AT_WORK:
            GO_ON.wait(30)
        return "done"

    @app.get("/quick")
    def quick() -> str:
        return "done"

    @app.get("/busy")
    async def busy() -> int:
        return int(to_thread.current_default_thread_limiter().borrowed_tokens)

    guard(app, limits)
    return app


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live(limited(LIMITS)) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as client:
        yield client


def post(client: httpx.Client, content: Any) -> tuple[int, Any]:
    response = client.post("/items", content=content, headers={"Content-Type": "application/json"})
    document = response.json()
    return response.status_code, document["error"]["code"] if isinstance(document, dict) else document


def test_a_body_up_to_the_limit_arrives_whole(client: httpx.Client):
    body = json.dumps(["x" * 9_996]).encode()
    assert len(body) == 10_000
    assert post(client, body) == (200, 1)
    assert post(client, iter([body[:5_000], body[5_000:]])) == (200, 1)


def test_a_body_beyond_it_is_refused_whether_its_length_is_stated_or_not(client: httpx.Client):
    body = json.dumps(["x" * 9_997]).encode()
    assert post(client, body) == (413, "too_large")
    assert post(client, iter([body[:5_000], body[5_000:]])) == (413, "too_large")
    endless = (b"x" * 1_000 for _ in range(1_000))
    with suppress(httpx.TransportError):  # it hangs up before the rest is sent
        assert post(client, endless) == (413, "too_large")


def test_a_stated_length_alone_is_enough_to_refuse(address: str):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"POST /items HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10001\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1000).split(b"\r\n")[0]


def test_nesting_is_limited_before_anything_is_parsed(client: httpx.Client):
    assert post(client, b"[" * 8 + b"]" * 8)[0] == 200
    assert post(client, b"[" * 9 + b"]" * 9) == (422, "invalid_request")
    assert post(client, b"[" * 9_999) == (422, "invalid_request")
    assert post(client, b'[{"a":' * 1_000) == (422, "invalid_request")


def test_brackets_and_words_in_strings_do_not_count(client: httpx.Client):
    texts = ["[" * 50, '\\"[[[[[[[[[[', "NaN", "Infinity", "}{"]
    assert post(client, json.dumps(texts).encode()) == (200, 5)


@pytest.mark.parametrize("body", [b"[NaN]", b"[-Infinity]", b'{"a": [1, NaN]}'])
def test_numbers_that_json_does_not_have_are_refused(client: httpx.Client, body: bytes):
    assert post(client, body) == (422, "invalid_request")


@pytest.mark.parametrize("body", [b"", b"[", b'["', b"\xff\xfe", b'{"a"}', b'["\\ud800', b"[1e", b"\x00"])
def test_what_is_no_json_is_refused_in_words(client: httpx.Client, body: bytes):
    assert post(client, body) == (422, "invalid_request")


@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_the_depth_is_that_of_the_value(value: Any):
    def depth(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(depth, value.values()), default=0)
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    check_json(text, depth(value))
    if depth(value):
        with pytest.raises(ApiError):
            check_json(text, depth(value) - 1)


def test_hostile_text_is_scanned_in_one_pass():
    """Quadratic time would be hours."""
    for hostile in (b'"\\' * 500_000, b'"' + b'\\"' * 500_000, b'"' * 1_000_001, b"]" * 1_000_000):
        check_json(hostile, 8)


def test_what_takes_too_long_to_begin_is_given_up(client: httpx.Client):
    assert client.get("/sleep?seconds=0").json() == "awake"
    late = client.get("/sleep?seconds=60")
    assert (late.status_code, late.json()["error"]["code"]) == (503, "unavailable")
    assert late.headers["Retry-After"] == "5"


def test_a_thread_that_is_given_up_keeps_its_place_until_it_ends(client: httpx.Client, address: str):
    GO_ON.clear()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: httpx.get(f"{address}/work", timeout=20), range(3)))
    try:
        assert [each.status_code for each in found] == [503] * 3
        assert {each.json()["error"]["code"] for each in found} == {"unavailable"}
        assert client.get("/busy").json() == 3
        assert client.get("/quick").json() == "done"
    finally:
        GO_ON.set()
    until = time.monotonic() + 20
    while client.get("/busy").json():
        assert time.monotonic() < until


def test_who_waits_for_a_place_is_given_up_and_never_begins(address: str):
    GO_ON.clear()
    begun = AT_WORK.begun
    with ThreadPoolExecutor(60) as pool, httpx.Client(base_url=address, timeout=30) as client:
        found = list(pool.map(lambda _: client.get("/work").status_code, range(60)))
        assert found == [503] * 60
        GO_ON.set()
        until = time.monotonic() + 20
        while client.get("/busy").json():
            assert time.monotonic() < until
    assert AT_WORK.begun - begun == 40


def test_a_body_that_never_comes_is_given_up(address: str):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST /items HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\n[".encode())
        assert b" 503 " in connection.recv(1000).split(b"\r\n")[0]


def test_who_asks_too_often_is_told_when_to_go_on():
    limits = Limits(requests_per_second=0.5, burst=3)
    with live(limited(limits)) as address, httpx.Client(base_url=address) as client:
        found = [client.get("/nothing") for _ in range(5)]
    assert [each.status_code for each in found] == [404, 404, 404, 429, 429]
    assert found[3].json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(found[3].headers["Retry-After"]) <= 2


def test_buckets_fill_again_and_are_each_callers_own():
    buckets = Buckets(rate=2.0, burst=3.0)
    assert [buckets.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 10.0) == 0
    assert buckets.take("a", 10.4) == pytest.approx(0.1)
    assert buckets.take("a", 10.5) == 0
    assert [buckets.take("a", 1_000.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_stranger_is_limited_earlier_than_a_token_and_does_not_use_up_its_share(tmp_path: Path):
    settings = settings_of(tmp_path, authentication=True, limits=Limits(requests_per_second=0.001, burst=20))
    ledger = Ledger(settings.ledger)
    secret = tokens.create(ledger, "ada", "read", datetime.now(UTC)).secret
    ledger.close()
    known = {"Authorization": f"Bearer {secret}"}
    with client_of(settings) as client:
        assert client.get("/api/v1/schedules", headers=known).status_code == 200  # it is known from now on
        strangers = [client.get("/health").status_code for _ in range(5)]
        mine = [client.get("/api/v1/schedules", headers=known).status_code for _ in range(10)]
    assert strangers == [200, 200, 200, 200, 429]
    assert mine == [200] * 10


def test_many_who_share_an_address_are_no_strangers_however_seldom_they_ask(tmp_path: Path):
    settings = settings_of(tmp_path, authentication=True, limits=Limits(requests_per_second=0.001, burst=20))
    ledger = Ledger(settings.ledger)
    moment = datetime.now(UTC)
    secrets = [tokens.create(ledger, f"reader-{i}", "read", moment).secret for i in range(9)]
    ledger.close()
    first, last = [{"Authorization": f"Bearer {secret}"} for secret in (secrets[0], secrets[-1])]
    wrong = {"Authorization": f"Bearer basin_{'x' * 43}"}
    application = create_application(settings)
    with live(application) as address, httpx.Client(base_url=address) as client:
        for secret in secrets[:-1]:
            headers = {"Authorization": f"Bearer {secret}"}
            assert client.get("/api/v1/schedules", headers=headers).status_code == 200
        application.state.keyring._clock = lambda: moment + timedelta(hours=1)  # all are to be looked up again
        assert client.get("/api/v1/schedules", headers=first).status_code == 200
        guesses = [client.get("/api/v1/schedules", headers=wrong).status_code for _ in range(6)]
        assert guesses == [401, 401, 401, 401, 429, 429]
        assert client.get("/api/v1/schedules", headers=first).status_code == 200
        assert client.get("/api/v1/schedules", headers=last).status_code == 429  # it might be one more guess


def test_every_answer_has_headers_that_browsers_heed(client: httpx.Client):
    for response in (client.get("/nothing"), client.post("/items", content=b"[" * 99), client.get("/sleep?seconds=0")):
        headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
    assert client.get("/api/nothing").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("sent", "kept"), [("a-1.B_2", True), ("a b", False), ("x" * 65, False), ('"}', False), ("é", False), ("", False)]
)
def test_a_request_id_is_taken_over_where_it_is_plain(client: httpx.Client, sent: str, kept: bool):
    response = client.get("/nothing", headers=[("X-Request-ID", sent.encode("latin-1"))])
    found = response.headers["X-Request-ID"]
    assert response.json()["error"]["request_id"] == found
    assert (found == sent) if kept else (len(found) == 32 and found.isalnum())


def test_a_log_line_is_one_line_of_json_whatever_was_asked_for(client: httpx.Client, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "basin.access")
    client.get("/a%0d%0a%7b%22status%22:200%7d%1b[31m%E2%80%A8", headers={"X-Request-ID": "mine"})
    until = time.monotonic() + 20
    while not caplog.records:  # it is written after the answer
        assert time.monotonic() < until
    line = JsonLines().format(caplog.records[-1])
    assert line.isascii() and line.isprintable()
    document = json.loads(line)
    assert (document["request_id"], document["status"], document["method"]) == ("mine", 404, "GET")
    assert document["path"] == '/a\r\n{"status":200}\x1b[31m\u2028'
