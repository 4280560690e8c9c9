"""A real server with a Ray cluster of its own: killed twice, it loses no accepted sweep, and fits nothing twice."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from services.store import Store
from tests.acceptance.conftest import BNN, LINEAR, NET, PATIENCE, Basin, Command, gone

pytestmark = pytest.mark.slow

# The last one takes long enough to be killed in between.
LEARNERS = [NET, LINEAR, BNN | {"inference": BNN["inference"] | {"draws": 3_000, "keep_draws": False}}]
SWEEP = {"name": "served", "datasets": ["points.csv"], "learners": LEARNERS, "splits": 2, "seeds": 1, "measures": []}
N_RUNS = 2 * len(LEARNERS)


@dataclass
class Server:
    """`basin serve` at work."""

    command: Command
    client: httpx.Client

    def processes(self) -> list[psutil.Process]:
        return self.command.descendants()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows = [f"{(7 * i) % 40},{(11 * i) % 40},{'ab'[(7 * i) % 40 + (11 * i) % 40 > 40]}" for i in range(80)]
    (tmp_path / "data" / "points.csv").write_text("\n".join(["x,z,y", *rows]))
    return tmp_path


class Servers:
    """Starts the server again and again on one store."""

    def __init__(self, basin: Basin, place: Path, secret: str) -> None:
        self._basin, self._place, self._secret = basin, place, secret
        self._clients: list[httpx.Client] = []

    def start(self) -> Server:
        options = ("--port", "0", "--store", self._place / "store", "--data", self._place / "data", "--workers", "2")
        command = self._basin.start("serve", *options)
        errors = Path(command._err)
        command.wait_until(lambda: re.search(r" at http://\S+", errors.read_text()) is not None)
        found = re.search(r" at (http://\S+)", errors.read_text())
        assert found is not None
        headers = {"Authorization": f"Bearer {self._secret}"}
        client = httpx.Client(base_url=found[1], headers=headers, timeout=PATIENCE)
        self._clients.append(client)
        return Server(command, client)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def servers(basin: Basin, place: Path) -> Iterator[Servers]:
    made = basin.run("token", "create", "ada", "--scope", "submit", "--store", place / "store")
    assert made.status == 0, made.stderr
    servers = Servers(basin, place, made.stdout.strip())
    yield servers
    servers.close()


def bundles(place: Path) -> int:
    return sum(not path.name.startswith(".") for path in (place / "store" / "bundles").glob("*"))


def events(client: httpx.Client, name: str) -> Iterator[tuple[str, Any]]:
    with client.stream("GET", f"/api/v1/sweeps/{name}/events") as response:
        assert response.status_code == 200
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def test_a_server_that_is_killed_loses_no_accepted_sweep_and_fits_nothing_twice(servers: Servers, place: Path):
    first = servers.start()
    sweep = SWEEP | {"datasets": [{"data": "points.csv", "target": "y"}]}
    accepted = first.client.post("/api/v1/sweeps", json=sweep, headers={"Idempotency-Key": "once"})
    processes = first.processes()
    first.command.kill()  # before its cluster can have the job
    assert accepted.status_code == 202, accepted.text
    assert gone(processes), "its cluster went on without it"

    second = servers.start()
    second.command.wait_until(lambda: bundles(place) > 0)
    processes = second.processes()
    assert any("raylet" in process.name() for process in processes)
    second.command.kill()  # while the job is at work
    assert gone(processes), "its cluster went on without it"
    stored = bundles(place)
    assert stored < N_RUNS

    third = servers.start()
    again = third.client.post("/api/v1/sweeps", json=sweep, headers={"Idempotency-Key": "once"})
    assert again.json()["submission"] == accepted.json()["submission"]
    *_, (kind, end) = events(third.client, "served")
    assert (kind, end["state"]) == ("end", "finished")
    shown = third.client.get("/api/v1/sweeps/served").json()
    assert [row["finished"] for row in shown["learners"]] == [2, 2, 2]
    assert shown["standing"]["reused"] >= stored
    rows = Store(place / "store").scan("runs").collect()  # every attempt at a run
    assert len(rows) == rows["run_key"].n_unique() == N_RUNS

    processes = third.processes()
    third.command.interrupt()
    ended = third.command.wait()
    assert ended.status in (0, 130), ended.stderr
    assert "Traceback" not in ended.stderr
    assert gone(processes)


def test_a_second_server_with_a_cluster_of_its_own_is_refused(servers: Servers, basin: Basin, place: Path):
    first = servers.start()
    second = basin.run("serve", "--port", "0", "--store", place / "store")
    assert second.status == 2
    assert "another `basin serve` is at work on the ledger" in second.stderr
    first.command.kill()


def test_what_would_let_everybody_in_is_refused(basin: Basin, place: Path):
    ended = basin.run("serve", "--host", "0.0.0.0", "--no-authentication", "--store", place / "store")
    assert ended.status == 2
    assert "--no-authentication on 0.0.0.0 would let everybody in" in ended.stderr
    assert not (place / "store").exists()
