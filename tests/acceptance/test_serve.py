"""A real server with a Ray cluster of its own: killed twice, it loses no accepted sweep, and fits nothing twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.store.store import Store
from tests.acceptance.conftest import BNN, LINEAR, NET, Basin, bundles, gone, title
from tests.support.servers import Servers, servers  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

# The last one's runs begin first, two at a time: a server can be killed when some are stored, and long before all are,
# though its cluster goes on for the ten seconds that it has to end.
N_SPLITS = 6
LEARNERS = [NET, LINEAR, BNN | {"inference": BNN["inference"] | {"draws": 8_000, "keep_draws": False}}]
SWEEP = {
    "name": "served",
    "datasets": [{"data": "points.csv", "target": "y"}],
    "learners": LEARNERS,
    "splits": N_SPLITS,
    "seeds": 1,
    "measures": [],
}
N_RUNS = N_SPLITS * len(LEARNERS)


def events(client: httpx.Client, name: str) -> Iterator[tuple[str, Any]]:
    with client.stream("GET", f"/api/v1/sweeps/{name}/events") as response:
        assert response.status_code == 200
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def test_a_server_that_is_killed_loses_no_accepted_sweep_and_fits_nothing_twice(servers: Servers):  # noqa: F811
    store = servers.place / "store"
    first = servers.start()
    accepted = first.client.post("/api/v1/sweeps", json=SWEEP, headers={"Idempotency-Key": "once"})
    processes = first.command.descendants()
    first.command.kill()  # before its cluster can have the job
    assert accepted.status_code == 202, accepted.text
    assert gone(processes), "its cluster went on without it"

    second = servers.start()
    second.command.wait_until(lambda: bundles(store) > 0)
    processes = second.command.descendants()
    assert any("raylet" in title(process) for process in processes)
    second.command.kill()  # while the job is at work
    assert gone(processes), "its cluster went on without it"
    stored = bundles(store)
    assert stored < N_RUNS

    third = servers.start()
    again = third.client.post("/api/v1/sweeps", json=SWEEP, headers={"Idempotency-Key": "once"})
    assert again.json()["submission"] == accepted.json()["submission"]
    *_, (kind, end) = events(third.client, "served")
    assert (kind, end["state"]) == ("end", "finished")
    shown = third.client.get("/api/v1/sweeps/served").json()
    assert [row["finished"] for row in shown["learners"]] == [N_SPLITS] * 3
    assert shown["standing"]["reused"] >= stored
    rows = Store(store).scan("runs").collect()  # every attempt at a run
    assert len(rows) == rows["run_key"].n_unique() == N_RUNS

    processes = third.command.descendants()
    third.command.interrupt()
    ended = third.command.wait()
    assert ended.status in (0, 130), ended.stderr
    assert "Traceback" not in ended.stderr
    assert gone(processes)


def test_a_second_server_with_a_cluster_of_its_own_is_refused(servers: Servers, basin: Basin):  # noqa: F811
    first = servers.start()
    second = basin.run("serve", "--port", "0", "--store", servers.place / "store")
    assert second.status == 2
    assert "another `basin serve` is at work on the ledger" in second.stderr
    first.command.kill()


def test_what_would_let_everybody_in_is_refused(basin: Basin, tmp_path: Path):
    ended = basin.run("serve", "--host", "0.0.0.0", "--no-authentication", "--store", tmp_path / "store")
    assert ended.status == 2
    assert "--no-authentication on 0.0.0.0 would let everybody in" in ended.stderr
    assert not (tmp_path / "store").exists()
