"""Schedules over HTTP: the whole of `basin schedule`."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.api.settings import Serving
from services.ledger.database import Ledger
from services.scheduling.schedules import get
from tests.support.live import client_of, settings_of

SCHEDULES = "/api/v1/schedules"
SWEEP = {"name": "nightly", "datasets": ["iris"], "learners": ["svm"], "budget": "quick"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    return settings_of(tmp_path_factory.mktemp("schedules"), dashboard="http://127.0.0.1:1")


@pytest.fixture(scope="module")
def client(settings: Serving) -> Iterator[httpx.Client]:
    with client_of(settings, timeout=30) as client:
        yield client


def add(client: httpx.Client, **stated: Any) -> httpx.Response:
    return client.post(SCHEDULES, json={"sweep": SWEEP, "cron": "0 2 * * *", "timezone": "Europe/Paris"} | stated)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_schedule_is_made_replaced_paused_resumed_asked_for_and_removed(client: httpx.Client):
    made = add(client, name="whole")
    assert made.status_code == 201
    assert made.headers["Location"] == f"{SCHEDULES}/whole"
    shown = client.get(f"{SCHEDULES}/whole").json()
    assert shown == made.json()
    assert (shown["state"], shown["overlap"], shown["sweep"]["name"]) == ("active", "skip", "nightly")
    times = [datetime.fromisoformat(each) for each in shown["upcoming"]]
    assert shown["next"] == shown["upcoming"][0] and len(times) == 5
    assert {time.hour for time in times} == {2} and times == sorted(times)

    replaced = add(client, name="whole", overlap="queue", misfire_grace_seconds=60, coalesce=False)
    assert (replaced.status_code, replaced.json()["overlap"], replaced.json()["coalesce"]) == (200, "queue", False)

    paused = client.post(f"{SCHEDULES}/whole/pause").json()
    assert (paused["state"], paused["next"], paused["upcoming"]) == ("paused", None, [])
    asked = client.post(f"{SCHEDULES}/whole/run-now")
    assert (asked.status_code, asked.json()) == (202, {"name": "whole", "is_new": True})
    (occurrence,) = client.get(f"{SCHEDULES}/whole/history").json()["occurrences"]
    assert (occurrence["trigger"], occurrence["status"]) == ("manual", "queued")
    assert client.get(f"{SCHEDULES}/whole").json()["last"] == occurrence
    assert client.post(f"{SCHEDULES}/whole/resume").json()["state"] == "active"

    assert client.delete(f"{SCHEDULES}/whole").status_code == 204
    assert code(client.get(f"{SCHEDULES}/whole")) == (404, "not_found")
    (occurrence,) = client.get(f"{SCHEDULES}/whole/history").json()["occurrences"]
    assert occurrence["status"] == "skipped"


def test_schedules_are_listed_with_whether_anything_fires_them(client: httpx.Client):
    add(client, name="listed-b")
    add(client, name="listed-a")
    found = client.get(SCHEDULES).json()
    names = [each["name"] for each in found["schedules"]]
    assert [name for name in names if name.startswith("listed")] == ["listed-a", "listed-b"]
    assert found["scheduler_at_work"] is False


def test_it_runs_on_the_servers_cluster_or_beside_a_server_whose_cluster_is_its_own(
    client: httpx.Client, settings: Serving, tmp_path: Path
):
    add(client, name="there", workers=3, gpus=0.5)
    ledger = Ledger(settings.ledger)
    options = get(ledger, "there").options
    ledger.close()
    assert (options.address, options.workers, options.gpus) == (settings.dashboard, 3, 0.5)
    assert options.store == str(Path(settings.store).resolve())
    own = settings_of(tmp_path, dashboard="http://127.0.0.1:1", own_cluster=True)
    with client_of(own) as beside:
        assert add(beside, name="here").status_code == 201
    ledger = Ledger(own.ledger)
    assert get(ledger, "here").options.address is None
    ledger.close()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"cron": "61 * * * *"}, "invalid_request"),
        ({"cron": "0 0 31 2 *"}, "invalid_request"),
        ({"cron": "x" * 201}, "invalid_request"),
        ({"timezone": "Mars/Olympus"}, "invalid_request"),
        ({"timezone": "../../etc/passwd"}, "invalid_request"),
        ({"timezone": "a\0b"}, "invalid_request"),
        ({"name": "../up"}, "invalid_request"),
        ({"overlap": "sometimes"}, "invalid_request"),
        ({"misfire_grace_seconds": 0}, "invalid_request"),
        ({"misfire_grace_seconds": 10**9}, "invalid_request"),
        ({"workers": -1}, "invalid_request"),
        ({"gpus": -0.5}, "invalid_request"),
        ({"unknown": 1}, "invalid_request"),
        ({"sweep": "nightly"}, "invalid_request"),
        ({"sweep": SWEEP | {"learners": ["svn"]}}, "invalid_sweep"),
        ({"sweep": SWEEP | {"datasets": ["/etc/passwd"]}}, "invalid_sweep"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused_and_not_kept(client: httpx.Client, stated: dict[str, Any], expected: str):
    assert code(add(client, **{"name": "wrong"} | stated)) == (422, expected)
    assert client.get(f"{SCHEDULES}/wrong").status_code == 404


def test_of_a_schedule_that_there_is_not_nothing_can_be_asked(client: httpx.Client):
    paths = [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/run-now"),
    ]
    for method, path in paths:
        assert code(client.request(method, f"{SCHEDULES}/nothing{path}")) == (404, "not_found"), (method, path)
    assert code(client.get(f"{SCHEDULES}/a%0db")) == (422, "invalid_request")
    assert code(client.get(f"{SCHEDULES}/whole/history", params={"limit": 0})) == (422, "invalid_request")
