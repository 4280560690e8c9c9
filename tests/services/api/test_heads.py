"""HEAD is answered wherever GET is: the same status and headers, and no body."""

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from services.server.application import create_application
from services.web import assets
from tests.support.live import live, settings_of
from tests.support.seeded import SCHEDULE, SWEEP, seed

BY_ITSELF = ("date", "x-request-id")
PAGES = (
    "/",
    "/runs",
    "/submit",
    "/schedules",
    "/pair",
    "/login",
    f"/sweeps/{SWEEP}",
    f"/schedules/{SCHEDULE}",
    "/none",
)


class Served(NamedTuple):
    """A server with one of everything, and every path of it that has a GET."""

    client: httpx.Client
    paths: list[str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = settings_of(tmp_path_factory.mktemp("heads"), authentication=True)
    seeded = seed(place)
    known = {"run_key": seeded.run_key, "part": "run.json", "table": "runs"}
    with live(create_application(place)) as address:
        headers = {"Authorization": f"Bearer {seeded.secrets['admin']}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            documented = [path for path, of in client.get("/openapi.json").json()["paths"].items() if "get" in of]
            paths = []
            for path in documented:
                name = SCHEDULE if "/schedules" in path else SWEEP
                paths.append(re.sub(r"{(\w+)}", lambda found, name=name: known.get(found[1], name), path))
            yield Served(client, [*paths, *PAGES, f"/runs/{seeded.run_key}", assets.url("pages.js"), "/openapi.json"])


def facts(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in BY_ITSELF}


def test_head_is_answered_as_get_is_without_the_body(served: Served) -> None:
    assert len(served.paths) >= 35 and {"/health", "/ready", "/metrics"} <= set(served.paths)
    for path in served.paths:
        if path.endswith("/events"):
            continue
        got, head = served.client.get(path), served.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        if path == "/metrics":  # counts the question before
            assert head.headers["content-type"] == got.headers["content-type"]
        else:
            assert facts(head) == facts(got), path


def test_head_of_a_stream_ends(served: Served) -> None:
    start = time.monotonic()
    for path in (f"/api/v1/sweeps/{SWEEP}/events", f"/web/events?sweep={SWEEP}"):
        head = served.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
    assert time.monotonic() - start < 5
    assert served.client.get("/health").json() == {"status": "ok"}  # on the same connection


def test_head_asks_for_a_token_where_get_does(served: Served) -> None:
    bare = {"Authorization": ""}
    for path in ("/api/v1/runs", "/metrics", "/runs"):
        got, head = served.client.get(path, headers=bare), served.client.head(path, headers=bare)
        assert head.status_code == got.status_code != 200


def test_head_where_there_is_no_get_is_refused_with_what_there_is(served: Served) -> None:
    head = served.client.head(f"/api/v1/sweeps/{SWEEP}/stop")
    assert (head.status_code, head.headers["allow"], head.content) == (405, "POST", b"")


def test_conditions_and_ranges_hold_for_head(served: Served) -> None:
    tag = served.client.head("/api/v1/runs").headers["etag"]
    assert served.client.head("/api/v1/runs", headers={"If-None-Match": tag}).status_code == 304
    part = next(path for path in served.paths if path.endswith("/parts/run.json"))
    for asked in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999999-"}):
        got, head = served.client.get(part, headers=asked), served.client.head(part, headers=asked)
        assert (head.status_code, facts(head)) == (got.status_code, facts(got))


def test_head_is_counted_as_such_by_its_route(served: Served) -> None:
    served.client.head("/health")
    text = served.client.get("/metrics").text
    assert re.search(r'basin_http_requests_total{method="HEAD",route="/health",status="200"} \d', text)
