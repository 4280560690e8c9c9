"""Requests that fail: which of them are tried again, and what is told of the others."""

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata

import pytest

from models.spec.settings import SCHEMA_VERSION
from services.client import Basin, BasinError, connection
from services.client.connection import Connection
from services.settings import settings
from tests.services.client.conftest import Served
from tests.support.stored_sweep import NAME

VERSION = f'{{"version": "{metadata.version("basin")}", "schema_version": {SCHEMA_VERSION}}}'
Answer = tuple[int, dict[str, str], str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_DELAY", 0.001)
    monkeypatch.delenv("BASIN_TOKEN", raising=False)


@contextmanager
def answering(answer: Callable[[int], Answer | None], version: str = VERSION) -> Iterator[tuple[str, list[str]]]:
    """A server that answers by the number of the request; None breaks the connection. Gives what was asked, too."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith("/version"):
                self._say(200, {}, version)
                return
            asked.append(f"{self.command} {self.path} {self.headers.get('Idempotency-Key', '')}".strip())
            said = answer(len(asked))
            if said is not None:
                self._say(*said)
            self.close_connection = True

        do_POST = do_GET  # noqa: N815 - the names that they have to have
        do_DELETE = do_GET  # noqa: N815

        def _say(self, status: int, headers: dict[str, str], body: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


GOOD: Answer = (200, {}, '{"sweeps": [], "next_cursor": null}')
ACCEPTED: Answer = (202, {}, '{"name": "s", "submission": "1", "runs": 1, "state": "accepted"}')


@pytest.mark.parametrize("bad", [(503, {}, "away"), (502, {}, ""), (429, {"Retry-After": "0"}, ""), None])
def test_a_question_is_asked_again_until_it_is_answered(bad: Answer | None):
    with answering(lambda n: bad if n < 3 else GOOD) as (url, asked), Basin(url) as b:
        assert b.sweeps().is_empty()
    assert len(asked) == 3


def test_it_gives_up_in_the_end_and_says_what_it_was_told():
    said = '{"error": {"code": "unavailable", "message": "the store is away", "request_id": "r1"}}'
    with answering(lambda _: (503, {}, said)) as (url, asked), Basin(url) as b, pytest.raises(BasinError) as told:
        b.sweeps()
    assert told.value.message == "the store is away"
    assert (told.value.code, told.value.request_id) == ("unavailable", "r1")
    assert len(asked) == connection.ATTEMPTS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_what_will_not_get_better_is_not_asked_again(status: int):
    with (
        answering(lambda _: (status, {}, "<html>")) as (url, asked),
        Basin(url) as b,
        pytest.raises(BasinError) as told,
    ):
        b.sweeps()
    assert str(status) in told.value.message
    assert len(asked) == 1


def test_a_submission_is_sent_again_under_one_key_of_its_own():
    with answering(lambda n: None if n < 3 else ACCEPTED) as (url, asked), Basin(url) as b:
        first = b.submit({"name": "s"})
        second = b.submit({"name": "s"})
    assert (first.id, first.runs, first.state) == ("1", 1, "accepted")
    keys = [request.split()[2] for request in asked]
    assert len(keys) == 4 and len(set(keys[:3])) == 1 and keys[3] != keys[0]
    assert second.name == "s"


def test_what_must_not_be_done_twice_is_sent_once_unless_it_never_arrived():
    with answering(lambda _: None) as (url, asked), Basin(url) as b:
        with pytest.raises(BasinError):
            b.schedules.remove("nightly")
        assert len(asked) == 1
    with answering(lambda n: (429, {}, "") if n < 2 else (204, {}, "")) as (url, asked), Basin(url) as b:
        b.schedules.remove("nightly")
        assert len(asked) == 2


def test_a_pause_that_is_asked_for_is_made(monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr(connection.time, "sleep", slept.append)
    answers = {1: (429, {"Retry-After": "7"}, ""), 2: (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "")}
    with answering(lambda n: answers.get(n, GOOD)) as (url, _), Basin(url) as b:
        b.sweeps()
    assert 7.0 < slept[0] < 7.1 and 0.0 < slept[1] < 0.1


def test_a_pause_that_nobody_would_wait_for_is_told_of():
    refused = (429, {"Retry-After": "3600"}, "")
    with answering(lambda _: refused) as (url, asked), Basin(url) as b, pytest.raises(BasinError) as told:
        b.sweeps()
    assert (told.value.code, len(asked)) == ("too_many_requests", 1)


def test_delays_grow_by_chance_and_have_an_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "FIRST_DELAY", 0.25)
    for attempt in range(20):
        whole = min(connection.LONGEST_DELAY, 0.25 * 2**attempt)
        delays = {connection.delay(attempt) for _ in range(50)}
        assert len(delays) > 1
        assert all(whole / 2 <= each <= whole for each in delays)


def test_a_server_of_another_version_is_warned_of_once():
    other = '{"version": "99.0", "schema_version": 99}'
    with answering(lambda _: GOOD, other) as (url, _), Basin(url) as b:
        with pytest.warns(UserWarning, match=r"is Basin 99\.0"):
            b.sweeps()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            b.sweeps()


def test_what_is_no_basin_server_is_told(served: Served):
    with answering(lambda _: GOOD, "<html>") as (url, asked), Basin(url) as b:
        with pytest.raises(BasinError, match="is not a Basin server"):
            b.sweeps()
        assert asked == []


def test_nothing_there_is_told_with_what_to_do():
    with Basin("http://127.0.0.1:9") as b, pytest.raises(BasinError, match="basin serve") as told:
        b.sweeps()
    assert told.value.code == "unavailable"


def test_a_redirect_is_not_followed_with_the_token():
    moved = (301, {"Location": "http://example.org/"}, "")
    with answering(lambda _: moved) as (url, asked), Basin(url) as b, pytest.raises(BasinError) as told:
        b.sweeps()
    assert "http://example.org/" in told.value.message and len(asked) == 1


@pytest.mark.parametrize("token", [None, "basin_" + "A" * 43])
def test_no_token_and_a_wrong_one_are_told_of(served: Served, token: str | None):
    with Basin(served.url, token=token) as b, pytest.raises(BasinError) as told:
        b.sweeps()
    assert told.value.code == "unauthorized"
    assert told.value.request_id
    assert ("BASIN_TOKEN" in told.value.message) == (token is None)


@pytest.mark.parametrize("location", ["http://", "https://user:secret@host", "https://user:secret@host:notaport"])
def test_a_location_that_is_none_is_refused_at_once_and_no_secret_is_repeated(location: str):
    with pytest.raises(BasinError) as told:
        Basin(location)
    assert told.value.code == "invalid_request"
    assert "secret@" not in str(told.value)


@pytest.mark.parametrize("token", ["a\nX-Evil: 1", "ä", "a b", ""])
def test_a_token_that_could_be_none_is_refused_at_once(token: str):
    with pytest.raises(BasinError) as told:
        Connection("http://127.0.0.1:9", token, 1.0)
    assert told.value.code == "unauthorized"


def event(name: str, said: object) -> str:
    return f": a comment\nevent: {name}\ndata: {json.dumps(said)}\n\n"


def test_a_stream_that_breaks_off_is_taken_up_again():
    submitted = event("submission", {"state": "accepted", "reason": "waiting"})
    ended = event("end", {"state": "failed", "reason": "no such data", "active": False})
    answers = {1: (200, {}, submitted), 2: None, 3: (503, {}, ""), 4: (200, {}, submitted + ended)}
    with answering(answers.__getitem__) as (url, asked), Basin(url) as b, pytest.raises(BasinError) as told:
        b.watch("s")
    assert "no such data" in told.value.message
    assert asked == ["GET /api/v1/sweeps/s/events"] * 4


def test_place_and_token_are_those_of_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BASIN_STORE", served.url)
    monkeypatch.setenv("BASIN_TOKEN", served.token)
    settings.cache_clear()
    try:
        with Basin() as b:
            assert NAME in b.sweeps()["name"]
        assert served.token not in repr(settings())
    finally:
        settings.cache_clear()


def test_a_document_of_another_version_is_told(served: Served):
    newer = (200, {}, '[{"of": "another version"}]')
    with answering(lambda _: newer) as (url, _), Basin(url) as b, pytest.raises(BasinError, match="another version"):
        b.compare(NAME)
