"""The server as a deployment of Ray Serve, by the file of deploy/, on a cluster that asks for its token.

What holds of the client, of access and of the interface's documentation is held without Ray by their own tests. Here
one of each kind of route goes through Serve: a read, a table, an analysis, a write, events, a refusal. Then its
replicas are killed while a sweep and a schedule wait.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
import requests
import yaml
from polars.testing import assert_frame_equal
from sqlalchemy import select

from cluster.jobs import Job, Jobs
from services.client import Basin
from services.ledger import tokens
from services.ledger.database import Ledger
from services.ledger.tables import schedulers
from services.store.store import Store
from tests.acceptance.conftest import NET, PATIENCE, gone, title
from tests.services.client.conftest import Served
from tests.support.head import Head, free_ports
from tests.support.live import settings_of
from tests.support.project import ROOT, read_yaml
from tests.support.stored import request
from tests.support.stored_sweep import BNN, NAME, fill
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

REPLICA = "ray::ServeReplica:basin:http"
N_REPLICAS = 2
EVERY = 0.1  # seconds: each look is a question
SWEEP = {"name": "lives", "datasets": ["iris"], "learners": [NET], "splits": 2, "seeds": 1, "measures": []}
PLANNED = {"name": "yearly-svm", "datasets": ["iris"], "learners": ["svm"], "budget": "quick", "splits": 2}


@dataclass(frozen=True)
class Deployment:
    """The deployment of one file on one cluster, as who runs the cluster sees it."""

    head: Head
    file: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, *arguments: str | Path) -> None:
        """Run `serve`, Ray's own command, with the cluster's token."""
        environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.head.token}
        command = [Path(sys.executable).with_name("serve"), *arguments, "--address", self.head.address]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def replicas(self) -> list[psutil.Process]:
        return [process for process in self.head.descendants() if title(process).startswith(REPLICA)]

    def status(self) -> str:
        return json.dumps(self.head.get("/api/serve/applications/").json()["applications"].get("basin"))

    def is_up(self, *, without: frozenset[int] = frozenset()) -> bool:
        """Whether all replicas run, none of them one of those."""
        application = self.head.get("/api/serve/applications/").json()["applications"].get("basin", {})
        found = application.get("deployments", {}).get("http", {}).get("replicas", [])
        running = {each["pid"] for each in found if each["state"] == "RUNNING"}
        return application.get("status") == "RUNNING" and len(running) == N_REPLICAS and not running & without


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the store, which has a sweep in it, and the ledger."""
    found = tmp_path_factory.mktemp("ray-serve")
    fill(str(found / "store"))
    return found


@pytest.fixture(scope="module")
def deployment(head: Head, folder: Path) -> Iterator[Deployment]:
    """The file as it is, but for where things are."""
    config = read_yaml(ROOT / "deploy" / "serve.yaml")
    (config["http_options"]["port"],) = free_ports(1)
    place = settings_of(folder)
    config["applications"][0]["runtime_env"]["env_vars"] |= {
        "BASIN_STORE": place.store,
        "BASIN_LEDGER": place.ledger,
        "BASIN_ADDRESS": head.address,
        "PYTHONPATH": str(ROOT),
    }
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    deployed = Deployment(head, file, config["http_options"]["port"])
    deployed.serve("deploy", file)
    wait_until(deployed.is_up, PATIENCE, EVERY, deployed.status)
    yield deployed
    if deployed.replicas():
        deployed.serve("shutdown", "--yes")


@pytest.fixture(scope="module")
def served(deployment: Deployment, folder: Path) -> Served:
    """What the tests of the client want to know of a server."""
    return Served(deployment.url, token(folder, "tests"), str(folder / "store"), settings_of(folder).ledger)


@pytest.fixture
def b(served: Served) -> Iterator[Basin]:
    with Basin(served.url, token=served.token) as basin:
        yield basin


@pytest.fixture(scope="module")
def client(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.url, timeout=PATIENCE) as client:
        yield client


def token(folder: Path, name: str, scope: str = "admin") -> str:
    """The secret of a new one."""
    with closing(Ledger(settings_of(folder).ledger)) as ledger:
        return tokens.create(ledger, name, scope, datetime.now(UTC)).secret


def bearer(served: Served) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.token}"}


# --- one of each kind of route ----------------------------------------------------------------------------------------


def test_what_is_read_is_what_the_store_has(served: Served, b: Basin):
    store = Store(served.store)
    assert_frame_equal(b.runs(sort="run_key"), store.runs().sort("run_key").collect())
    rows = ["run_key", "part", "metric"]
    assert_frame_equal(b.scan("metrics").collect().sort(rows), store.scan("metrics").collect().sort(rows))
    assert b.run(request(BNN).run_key).manifest == store.bundle(request(BNN).run_key).manifest
    with Basin(served.store) as local:
        assert b.compare(NAME).document == local.compare(NAME).document


def test_who_has_no_token_or_too_small_a_scope_is_refused(client: httpx.Client, folder: Path):
    said = {}
    for who in ({}, {"Authorization": f"Bearer {token(folder, 'reader', 'read')}"}):
        for method, path in (("GET", "/api/v1/sweeps"), ("POST", f"/api/v1/sweeps/{NAME}/stop")):
            answer = client.request(method, path, headers=who)
            said[bool(who), method] = answer.status_code, answer.json().get("error", {}).get("code")
    assert said.pop((True, "GET"))[0] == 200
    assert said == {
        (False, "GET"): (401, "unauthorized"),
        (False, "POST"): (401, "unauthorized"),
        (True, "POST"): (403, "forbidden"),
    }


# --- what lies in between ---------------------------------------------------------------------------------------------


def test_neither_the_dashboard_nor_the_network_lets_strangers_in(deployment: Deployment):
    assert requests.get(f"{deployment.head.address}/api/serve/applications/", timeout=10).status_code == 401
    (proxy,) = [process for process in deployment.head.descendants() if title(process).startswith("ray::ProxyActor")]
    listening = {each.laddr for each in proxy.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    assert {ip for ip, port in listening if port == deployment.port} == {"127.0.0.1"}


def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_stated_or_not(client: httpx.Client, served: Served):
    body = b'{"name": "' + b"x" * (5 * 2**20) + b'"}'
    for content in (body, iter([body[: 2**21], body[2**21 :]])):
        headers = bearer(served) | {"Content-Type": "application/json"}
        refused = client.post("/api/v1/sweeps", content=content, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")


def test_a_large_header_is_no_trouble_and_an_answer_has_one_id(client: httpx.Client, served: Served):
    answer = client.get("/api/v1/runs", headers=bearer(served) | {"X-Large": "x" * 60_000, "X-Request-ID": "mine"})
    assert answer.status_code == 200
    assert answer.headers.get_list("X-Request-ID") == ["mine"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    refused = client.get("/api/v1/runs")
    assert [refused.json()["error"]["request_id"]] == refused.headers.get_list("X-Request-ID")


def test_a_posterior_is_read_by_range(client: httpx.Client, served: Served):
    part = f"/api/v1/runs/{request(BNN).run_key}/parts/posterior.nc"
    whole = client.get(part, headers=bearer(served))
    some = client.get(part, headers=bearer(served) | {"Range": "bytes=100-299", "If-Range": whole.headers["ETag"]})
    assert (some.status_code, some.content) == (206, whole.content[100:300])
    assert some.headers["Content-Range"] == f"bytes 100-299/{len(whole.content)}"
    assert client.get(part, headers=bearer(served) | {"If-None-Match": whole.headers["ETag"]}).status_code == 304


# --- sweeps and schedules, killed -------------------------------------------------------------------------------------


def at_work(folder: Path) -> set[int]:
    """The processes that have said that they look after schedules."""
    with closing(Ledger(settings_of(folder).ledger)) as ledger, ledger.reading() as connection:
        return {int(holder.split(":")[1]) for holder in connection.execute(select(schedulers.c.holder)).scalars()}


def events(client: httpx.Client, served: Served, name: str) -> list[tuple[str, Any]]:
    """All that is told until the stream ends."""
    with client.stream("GET", f"/api/v1/sweeps/{name}/events", headers=bearer(served)) as response:
        blocks = "".join(response.iter_text()).split("\n\n")
    pairs = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block.startswith("event")]
    return [(pair["event"], json.loads(pair["data"])) for pair in pairs]


class History(NamedTuple):
    """What became of a sweep, and of a schedule, while all replicas were killed.

    Attributes:
        first: answer to the submission before they were killed.
        again: to the same afterwards.
        told: by the stream of events.
        jobs: of the cluster.
    """

    first: dict[str, Any]
    again: dict[str, Any]
    told: list[tuple[str, Any]]
    jobs: list[Job]


@pytest.fixture(scope="module")
def history(deployment: Deployment, client: httpx.Client, served: Served) -> History:
    headers = bearer(served) | {"Idempotency-Key": "once"}
    killed = deployment.replicas()
    with Basin(served.url, token=served.token) as basin:
        basin.schedules.add(PLANNED, "0 0 1 1 *", name="yearly")
        basin.schedules.run_now("yearly")
        first = client.post("/api/v1/sweeps", json=SWEEP, headers=headers)
        for process in killed:
            process.kill()
        assert first.status_code == 202, first.text
        pids = frozenset(process.pid for process in killed)
        wait_until(lambda: deployment.is_up(without=pids), PATIENCE, EVERY, deployment.status)
        again = client.post("/api/v1/sweeps", json=SWEEP, headers=headers)
        told = events(client, served, "lives")
        wait_until(lambda: basin.schedules.history("yearly")["ended"].drop_nulls().len() > 0, PATIENCE, EVERY)
    return History(first.json(), again.json(), told, Jobs(deployment.head.address).list("basin-"))


def test_an_accepted_sweep_is_run_to_its_end_as_one_job_of_the_cluster(history: History, served: Served, b: Basin):
    assert history.again["submission"] == history.first["submission"]
    assert [job.state for job in history.jobs if job.id.startswith("basin-lives-")] == ["succeeded"]
    kind, end = history.told[-1]
    assert (kind, end["state"], end["ended"]) == ("end", "finished", 2)
    assert {"submission", "standing"} <= {kind for kind, _ in history.told}
    runs = b.runs(sweep="lives")
    assert runs["status"].to_list() == ["finished"] * 2
    assert set(Store(served.store).scan("runs").collect()["run_key"]) >= set(runs["run_key"])
    assert len(b.metrics(sweep="lives", where={"metric": "accuracy", "part": "test"})) == 2
    assert b.compare("lives").table()["learner"].to_list() == ["net"]


def test_a_schedule_that_two_replicas_look_after_is_fired_once(history: History, b: Basin):
    assert b.schedules.history("yearly").select("trigger", "status").rows() == [("manual", "succeeded")]
    assert [job.state for job in history.jobs if job.id.startswith("basin-yearly-")] == ["succeeded"]


def test_each_replica_is_at_work_and_leaves_at_once_when_it_is_shut_down(deployment: Deployment, folder: Path):
    replicas = deployment.replicas()
    pids = {process.pid for process in replicas}
    wait_until(lambda: pids <= at_work(folder), PATIENCE, EVERY)
    deployment.serve("shutdown", "--yes")
    assert gone(replicas)
    assert not pids & at_work(folder)
