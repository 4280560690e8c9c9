import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.spec.settings import SCHEMA_VERSION
from services.api.formats import MEDIA_TYPES
from services.ledger import tokens
from services.ledger.database import Ledger
from services.store.queries import Table
from services.store.writer import writing
from tests.support import factories
from tests.support.live import client_of, settings_of


def samples(text: str) -> dict[tuple, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.items())] = sample.value
    return found


def test_a_server_makes_its_store_and_is_ready(tmp_path: Path) -> None:
    with client_of(settings_of(tmp_path)) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"ready": True}
        assert client.get("/api/v1/version").json() == {"version": "0.1.0", "schema_version": SCHEMA_VERSION}
        assert client.get("/api/v1/runs").json() == {"rows": [], "next_cursor": None}


@pytest.mark.parametrize("away", ["store", "ledger"])
def test_a_server_whose_store_or_ledger_is_away_is_up_and_not_ready(tmp_path: Path, away: str) -> None:
    (tmp_path / "file").write_text("")
    place = {"store": str(tmp_path / "file"), "ledger": f"sqlite:///{tmp_path}/file/ledger.sqlite"}
    with client_of(settings_of(tmp_path, **{away: place[away]})) as client:
        assert client.get("/health").status_code == 200
        found = client.get("/ready")
        assert (found.status_code, found.json()["error"]["code"]) == (503, "unavailable")
        assert int(found.headers["retry-after"]) > 0
        assert str(tmp_path) not in found.text
        if away == "store":
            assert client.get("/api/v1/runs").status_code == 503
            assert "basin_store_up 0.0" in client.get("/metrics").text


def test_a_store_that_is_gone_is_told_without_its_place(tmp_path: Path) -> None:
    with client_of(settings_of(tmp_path)) as client:
        assert client.get("/api/v1/runs").status_code == 200
        shutil.rmtree(tmp_path / "store")
        found = client.get("/api/v1/curves")
        assert (found.status_code, found.json()["error"]["code"]) == (503, "unavailable")
        assert str(tmp_path) not in found.text


def test_a_damaged_table_is_told_without_its_place_and_the_server_is_not_ready_without_its_runs(tmp_path: Path) -> None:
    with writing(tmp_path / "store") as writer:
        writer.put(factories.record(factories.request(1)))
        storage = writer.storage
    for table, is_ready in (("curves", True), ("runs", False)):
        (name,) = (name for name in storage.names(f"tables/{table}") if name.endswith(".parquet"))
        storage.replace(f"tables/{table}", name, b"")
        with client_of(settings_of(tmp_path)) as client:
            assert (client.get("/ready").status_code == 200) == is_ready
            assert (client.get("/api/v1/metrics").status_code == 200) == is_ready
            found = client.get(f"/api/v1/{table}")
            assert (found.status_code, found.json()["error"]["code"]) == (503, "unavailable")
            assert "`basin store check`" in found.json()["error"]["message"]
            assert str(tmp_path) not in found.text


def test_figures_count_requests_by_route_runs_by_status_and_sweeps_by_state(tmp_path: Path) -> None:
    lost = factories.request(2)
    with writing(tmp_path / "store") as writer:
        writer.put(factories.record(factories.request(1)))
        writer.put(factories.record(lost, factories.failed(lost)))
        writer.put_sweep("one", "{}", pl.DataFrame({"run_key": [lost.run_key]}))
    with client_of(settings_of(tmp_path)) as client:
        for seed in range(3):
            client.get("/api/v1/runs", params={"where": f"seed:eq:{seed}"})
            client.get(f"/api/v1/runs/{seed:032x}")
            client.get(f"/nowhere/{seed}")
        figures = client.get("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    found = samples(figures.text)
    assert found["basin_runs", ("status", "finished")] == found["basin_runs", ("status", "failed")] == 1
    assert found["basin_runs", ("status", "diverged")] == 0
    assert found["basin_sweeps", ("state", "unknown")] == 1
    assert found["basin_store_up",] == 1

    def requests(route: str, status: str) -> float:
        return found["basin_http_requests_total", ("method", "GET"), ("route", route), ("status", status)]

    assert requests("/api/v1/runs", "200") == 3
    assert requests("/api/v1/runs/{run_key}", "404") == 3
    assert requests("none", "404") == 3
    seconds = "basin_http_request_seconds"
    assert found[f"{seconds}_count", ("method", "GET"), ("route", "/api/v1/runs")] == 3
    assert found[f"{seconds}_bucket", ("le", "+Inf"), ("method", "GET"), ("route", "/api/v1/runs")] == 3


def test_what_is_stored_asks_for_a_token_and_whether_the_server_is_up_does_not(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, authentication=True)
    ledger = Ledger(settings.ledger)
    secret = tokens.create(ledger, "reader", "read", datetime.now(UTC)).secret
    ledger.close()
    closed = ["/metrics", "/api/v1/runs", "/api/v1/tables", f"/api/v1/runs/{'0' * 32}", "/api/v1/sweeps/a/comparison"]
    with client_of(settings) as client:
        for path in ("/health", "/ready", "/api/v1/version"):
            assert client.get(path).status_code == 200
        for path in closed:
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": f"Bearer {secret[:-1]}x"}).status_code == 401
            found = client.get(path, headers={"Authorization": f"Bearer {secret}"})
            assert found.status_code in (200, 404)


def test_every_operation_that_asks_for_a_token_says_so(tmp_path: Path) -> None:
    with client_of(settings_of(tmp_path)) as client:
        paths = client.get("/openapi.json").json()["paths"]
    open_ones = {path for path, methods in paths.items() for each in methods.values() if "security" not in each}
    assert open_ones <= {"/health", "/ready", "/api/v1/version"}
    for methods in paths.values():
        for operation in methods.values():
            assert operation["operationId"] and operation["summary"] and operation["tags"]
            answers = operation["responses"]
            assert all(answers[status]["content"] for status in answers if status >= "400")


def test_an_empty_store_answers_every_question(tmp_path: Path) -> None:
    with client_of(settings_of(tmp_path)) as client:
        for table in get_args(Table):
            for path in (f"/api/v1/{table}", f"/api/v1/tables/{table}"):
                for media_type in MEDIA_TYPES.values():
                    found = client.get(path, headers={"Accept": media_type})
                    assert (found.status_code, found.headers["content-type"]) == (200, media_type), (path, found.text)
        assert client.get("/api/v1/sweeps").json() == {"sweeps": [], "next_cursor": None}
        assert client.get("/api/v1/schedules").json() == {"schedules": [], "scheduler_at_work": False}
        assert client.get("/metrics").status_code == 200
        for path in ("/", "/runs", "/schedules", "/submit", "/pair"):
            assert client.get(path).status_code == 200
