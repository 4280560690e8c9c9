"""Hundreds of requests that mean harm, or nothing: each is refused as it should be, and nothing comes of it."""

import hashlib
import json
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import select

from services.api.envelope import PAGE_POLICY, JsonLines
from services.api.errors import FAULTS
from services.api.settings import Limits
from services.ledger import tokens
from services.ledger.database import Ledger
from services.ledger.tables import metadata
from services.provenance import provenance
from services.server import process
from services.server.application import create_application
from tests.support.bad_requests import (
    JSON_DEPTH,
    MARKUP,
    PAGE,
    REQUEST_BYTES,
    YAML,
    Bad,
    Seeds,
    bad_requests,
    raw_requests,
)
from tests.support.live import QUICK, live, settings_of
from tests.support.seeded import SCHEDULE, SWEEP, seed

PATIENCE_SECONDS = 20.0
SECRET = "a secret of this machine"
LIMITS = Limits(**QUICK.model_dump() | {"request_bytes": REQUEST_BYTES, "json_depth": JSON_DEPTH})


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Done(NamedTuple):
    """What this process did, by what Python audits."""

    event: str
    arguments: str


class Served(NamedTuple):
    """A server that is attacked.

    Attributes:
        folder: of all that the server may write to.
        outside: a folder beside that.
        log: its lines.
        canary: what asked the server that nobody must ask.
    """

    address: tuple[str, int]
    folder: Path
    outside: Path
    ledger: Ledger
    seeds: Seeds
    log: list[str]
    canary: list[str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, outside = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("outside")
    data = folder / "data"
    _put_files(data, outside)
    place = settings_of(folder, authentication=True, dashboard="http://127.0.0.1:1", data_roots=(data,), limits=LIMITS)
    seeded = seed(place)
    ledger = Ledger(place.ledger)
    application = create_application(place)
    provenance()  # it asks git and the machine, once
    with _canary() as (canary, asked), _logged() as log, live(application) as address:
        host, port = address.removeprefix("http://").split(":")
        seeds = Seeds(_operations(address), seeded.run_key, SWEEP, SCHEDULE, canary, seeded.secrets)
        yield Served((host, int(port)), folder, outside, ledger, seeds, log, asked)
    ledger.close()


def _put_files(data: Path, outside: Path) -> None:
    """Data that may be read, and in its folder what leads out of it."""
    (data / "folder").mkdir(parents=True)
    (data / "points.csv").write_text("x,y\n1,2\n")
    (data / "code.yaml").write_text("!!python/object/apply:os.system ['true']")
    (data / "broken.yaml").write_text("name: [")
    (data / "text.yaml").write_text("just words")
    for name in ("outside.csv", "outside.yaml"):
        (outside / name).write_text(f"x,y\n{SECRET},1\n")
        (data.parent / name).write_text(f"x,y\n{SECRET},1\n")
    (data / "link.csv").symlink_to(outside / "outside.csv")
    (data / "link.yaml").symlink_to(outside / "outside.yaml")
    os.mkfifo(data / "fifo.csv")


def _operations(address: str) -> list[tuple[str, str, list[str]]]:
    paths = httpx.get(f"{address}/openapi.json").json()["paths"]
    return [
        (method.upper(), path, [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


@contextmanager
def _canary() -> Iterator[tuple[str, list[str]]]:
    """A server that nobody must ask."""
    asked: list[str] = []

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            asked.append(repr(self.request.recv(1000)))

    with TCPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{found.server_address[1]}", asked
        found.shutdown()
        thread.join(20)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """All lines that the server's own log would have."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, root, access = Handler(), logging.getLogger(), logging.getLogger("basin")
    handler.setFormatter(JsonLines())
    before = access.level
    root.addHandler(handler)
    access.setLevel(logging.INFO)
    yield lines
    root.removeHandler(handler)
    access.setLevel(before)


@contextmanager
def _watched(served: Served) -> Iterator[list[Done]]:
    """What this process does meanwhile that no refused request may make it do."""
    done: list[Done] = []
    watching = True
    places = (str(served.outside), "/etc/", "/proc/")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event == "open":
            path, mode, flags = arguments
            name, writes = str(path), bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if name.startswith(places) or (writes and not name.startswith((str(served.folder), "/dev/null"))):
                done.append(Done(event, f"{name} {mode} {flags}"))
        elif event in ("socket.connect", "socket.getaddrinfo"):
            if served.address not in (arguments[1], arguments[:2]):  # the client's own
                done.append(Done(event, str(arguments)))
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
            done.append(Done(event, str(arguments)))

    sys.addaudithook(hook)  # for good, and so it is told when to look away
    try:
        yield done
    finally:
        watching = False


def _state(served: Served) -> dict[str, Any]:
    """All files and all rows."""
    files = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in (served.folder, served.outside)
        for path in top.rglob("*")
        if path.is_file() and ".sqlite" not in path.name
    }
    with served.ledger.reading() as connection:
        rows = {name: list(map(tuple, connection.execute(select(table)))) for name, table in metadata.tables.items()}
    return files | rows


def _exchange(served: Served, data: bytes, patience: float = PATIENCE_SECONDS) -> Answer:
    """Send these bytes on a connection of their own; status 0 is that it was closed without an answer."""
    with socket.create_connection(served.address, timeout=patience) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        response = HTTPResponse(connection)
        try:
            response.begin()
            body = response.read()
        except ConnectionError:
            return Answer(0, {}, b"")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)


def _bytes_of(case: Bad, served: Served) -> bytes:
    host = f"{served.address[0]}:{served.address[1]}"
    headers = {"Host": host, "Connection": "close", **case.headers}
    if case.token is not None:
        headers["Authorization"] = f"Bearer {served.seeds.secrets[case.token]}"
    if case.body or case.stated_length:
        headers["Content-Length"] = str(case.stated_length or len(case.body))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{case.method} {case.path} HTTP/1.1\r\n{head}\r\n".encode() + case.body


def _faults(case: Bad, answer: Answer, hidden: Callable[[str], list[str]]) -> Iterator[str]:
    """What is wrong with the answer to a bad request."""
    text = answer.body.decode("utf-8", "replace")
    if answer.status != case.status:
        yield f"status {answer.status} instead of {case.status}: {text[:300]}"
        return
    if case.code == PAGE:
        if not answer.headers.get("content-type", "").startswith("text/html"):
            yield f"no page: {answer.headers.get('content-type')}"
        if answer.headers.get("content-security-policy") != PAGE_POLICY:
            yield "another policy than a page's"
        if MARKUP in text:
            yield "markup is not escaped"
    else:
        yield from _faults_of_shape(case, answer, text)
    if answer.headers.get("x-content-type-options") != "nosniff" or answer.headers.get("x-frame-options") != "DENY":
        yield "headers that browsers heed are missing"
    if answer.headers.get("cache-control") != "no-store":
        yield f"it may be kept: {answer.headers.get('cache-control')}"
    if "set-cookie" in answer.headers or "server" in answer.headers:
        yield "a header that should not be there"
    told = text + str(answer.headers)
    for word in hidden(told):
        yield f"it tells {word!r}: {told[:600]}"


def _faults_of_shape(case: Bad, answer: Answer, text: str) -> Iterator[str]:
    try:
        error = json.loads(text)["error"]
        if error["code"] != case.code:
            yield f"code {error['code']} instead of {case.code}: {text[:300]}"
        if not {"code", "message", "request_id"} <= set(error) <= {"code", "message", "request_id", "details"}:
            yield f"another shape: {text[:300]}"
        if any(set(each) != {"at", "message"} for each in error.get("details", ())):
            yield f"details of another shape: {text[:300]}"
        if error["request_id"] != answer.headers.get("x-request-id"):
            yield "its id is not that of the header"
        if FAULTS[error["code"]].status != case.status:
            yield "the code goes with another status"
        if len(answer.body) > 20_000:
            yield f"{len(answer.body):,} bytes"
    except (ValueError, KeyError, TypeError):
        yield f"not the shape of errors: {text[:300]}"
    if not answer.headers.get("content-security-policy", "").startswith("default-src 'none'"):
        yield "no policy"


def _hidden(served: Served) -> Callable[[str], list[str]]:
    """Finds in a text what nobody outside may be told."""
    paths = [
        str(served.folder),
        str(served.outside),
        str(Path(process.__file__).parents[2]),
        sys.prefix,
        str(Path.home()),
    ]
    words = [
        *paths,
        "Traceback",
        "site-packages",
        ".py",
        SECRET,
        "sqlite:",
        "sqlalchemy",
        "SELECT ",
        "deltalake",
        "pydantic",
        "polars",
    ]
    words += [*served.seeds.secrets.values(), *(tokens._sha256(each) for each in served.seeds.secrets.values())]
    return lambda text: [word for word in words if word in text]


def test_bad_requests_are_refused_and_nothing_comes_of_them(served: Served) -> None:
    cases, hidden = bad_requests(served.seeds), _hidden(served)
    assert len(cases) >= 300
    before = _state(served)
    faults: list[str] = []
    with _watched(served) as done:
        for case in cases:
            answer = _exchange(served, _bytes_of(case, served))
            faults += [
                f"{case.method} {case.path[:80]} ({case.about}): {each}" for each in _faults(case, answer, hidden)
            ]
    assert not faults, f"{len(faults)} of {len(cases)}:\n" + "\n".join(faults)
    assert done == []
    assert served.canary == []
    assert _state(served) == before


def test_texts_that_are_no_sweeps_are_found_fault_with_and_nothing_comes_of_them(served: Served) -> None:
    before, hidden, faults = _state(served), _hidden(served), []
    with _watched(served) as done:
        for about, text in YAML.items():
            answer = _exchange(served, _bytes_of(Bad(about, "POST", "/web/check", 200, "", {}, text), served))
            found = json.loads(answer.body)
            if answer.status != 200 or not found["faults"] or "sweep" in found:
                faults.append(f"{about}: {answer.status} {answer.body[:200]}")
            faults += [f"{about}: tells {word!r}" for word in hidden(answer.body.decode())]
            if len(answer.body) > 20_000:
                faults.append(f"{about}: {len(answer.body):,} bytes")
    assert not faults, "\n".join(faults)
    assert done == [] and _state(served) == before


def test_what_is_no_request_or_two_at_once_is_refused_and_the_connection_closed(served: Served) -> None:
    cases, faults = raw_requests(f"{served.address[0]}:{served.address[1]}"), []
    for case in cases:
        answers = _all_answers(served, case.data)
        found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]
        if found != [case.status]:
            faults.append(f"{case.about}: {found} instead of {case.status}: {answers[:300]}")
    assert not faults, "\n".join(faults)


def _all_answers(served: Served, data: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    parts = []
    with socket.create_connection(served.address, timeout=PATIENCE_SECONDS) as connection, suppress(ConnectionError):
        connection.sendall(data)
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_the_log_has_a_line_of_json_for_each_request_whatever_was_asked_for_and_no_secret(served: Served) -> None:
    asked = len(served.log)
    hostile = ["%0d%0a%7b%22status%22:200%7d", "%1b%5b31m", "%E2%80%A8", "%22%7d", "%00", "a" * 5000, "%F0%9F%98%80"]
    secret = served.seeds.secrets["admin"]
    for name in hostile:
        for path in (f"/{name}", f"/api/v1/sweeps/{name}", f"/api/v1/runs/{name}?token={secret}", f"/sweeps/{name}"):
            headers = {
                "X-Request-ID": '"}{',
                "User-Agent": "\x1b[31m",
                "Referer": f"http://x/{secret}",
                "Cookie": f"a={secret}",
            }
            _exchange(served, _bytes_of(Bad("", "GET", path, 404, "", headers), served))
    until = time.monotonic() + PATIENCE_SECONDS
    while len(served.log) < asked + 4 * len(hostile):  # a line is written after its answer
        assert time.monotonic() < until
        time.sleep(0.01)
    for line in served.log:
        assert line.isascii() and line.isprintable(), line
        found = json.loads(line)
        assert len(found.get("path", "")) <= 300
        assert not any(each in line for each in served.seeds.secrets.values())


def test_names_of_those_who_ask_lead_nowhere(served: Served) -> None:
    """Nothing of an answer is made from the header Host, or from what a server in front would say."""
    for headers in (
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"},
        {"X-Original-URL": "/evil.example", "X-Rewrite-URL": "/evil.example"},
    ):
        for path in ("/", "/runs/", "/api/v1/sweeps/one", "/login"):
            answer = _exchange(served, _bytes_of(Bad("", "GET", path, 0, "", headers), served))
            assert b"evil.example" not in answer.body, path
            assert "evil.example" not in str(answer.headers), path
            assert "access-control-allow-origin" not in answer.headers


def test_without_authentication_no_other_name_and_no_other_site_is_answered(served: Served, tmp_path: Path) -> None:
    with live(create_application(settings_of(tmp_path, dashboard="http://127.0.0.1:1"))) as address:
        host, port = address.removeprefix("http://").split(":")
        open_one = served._replace(address=(host, int(port)))
        hosts = [
            "evil.example",
            "",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "0.0.0.0",
            "[",
            "127.1",
            "a@b",
            "2130706433",
        ]
        cases = [
            Bad(f"host {each}", "GET", path, 403, code, {"Host": each}, token=None)
            for each in hosts
            for path, code in (("/api/v1/runs", "forbidden"), ("/", PAGE))
        ]
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"https://{host}"},
        ):
            cases += [
                Bad(f"from elsewhere {headers}", method, path, 403, "forbidden", headers, b"{}", token=None)
                for method, path in (
                    ("POST", "/api/v1/sweeps"),
                    ("POST", "/api/v1/sweeps/one/stop"),
                    ("DELETE", "/api/v1/schedules/nightly"),
                    ("POST", "/web/check"),
                )
            ]
        hidden, faults = _hidden(served), []
        for case in cases:
            answer = _exchange(open_one, _bytes_of(case, open_one))
            faults += [f"{case.about} {case.path}: {each}" for each in _faults(case, answer, hidden)]
        assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "GET /api/v1/runs HT",
        "GET /health HTTP/1.1\r\nHost: a\r\nX-A: ",
        "\r\n",
    ],
    ids=repr,
)
def test_who_never_comes_to_the_point_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    monkeypatch.setattr(process, "HEAD_SECONDS", 0.3)
    with socket.create_connection(served.address, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(sent.encode())
        while connection.recv(65536):
            pass


def test_a_connection_rests_between_requests_until_something_comes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HEAD_SECONDS", 0.3)
    with socket.create_connection(served.address, timeout=PATIENCE_SECONDS) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.6)
        connection.sendall(b"\r\n")
        while connection.recv(65536):
            pass


def _is_cut_off(served: Served, first: bytes, again: bytes) -> bool:
    """Whether who goes on and on sending something, and reads nothing, is cut off."""
    until = time.monotonic() + PATIENCE_SECONDS
    with socket.create_connection(served.address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1.0)
        try:
            connection.sendall(first)
            while time.monotonic() < until:
                with suppress(TimeoutError):
                    connection.sendall(again)
                time.sleep(0.02)
        except ConnectionError:
            return True
    return False


def test_a_head_in_drips_is_cut_off_however_lively(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HEAD_SECONDS", 0.5)
    assert _is_cut_off(served, b"GET / HTTP/1.1\r\n", b"X-A: a\r\n")


def test_who_takes_nothing_of_an_answer_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STALLED_SECONDS", 0.5)
    asked = _bytes_of(Bad("", "GET", "/openapi.json", 0, "", {"Connection": "keep-alive"}), served)
    assert _is_cut_off(served, asked, asked)
