"""Tables over HTTP, against the same question put to the store."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pyarrow.ipc
import pytest
from polars.testing import assert_frame_equal

from services.store.queries import KEYS, Query, answer
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.live import client_of, settings_of

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served")
    with writing(found / "store") as writer:
        for seed in range(5):
            writer.put(factories.record(factories.request(seed, split=seed % 2)))
        members = pl.DataFrame({"run_key": [factories.request(2).run_key]})
        writer.put_sweep("one", "{}", members)
    return found


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with client_of(settings_of(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(folder / "store")


@pytest.mark.parametrize("table", KEYS)
def test_every_table_has_two_addresses_and_three_formats(client: httpx.Client, store: Store, table) -> None:
    expected = answer(store, Query(table=table)).rows
    for path in (f"/api/v1/{table}", f"/api/v1/tables/{table}"):
        parquet = client.get(path, headers={"Accept": PARQUET})
        assert parquet.headers["content-type"] == PARQUET
        assert_frame_equal(pl.read_parquet(parquet.content), expected)
        arrow = client.get(path, headers={"Accept": ARROW})
        assert arrow.headers["content-type"] == ARROW
        assert_frame_equal(pl.read_ipc_stream(arrow.content), expected)
        assert pyarrow.ipc.open_stream(arrow.content).read_all().num_rows == len(expected)
        plain = client.get(path)
        assert plain.headers["content-type"] == "application/json"
        found = json.loads(plain.content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert found == {"rows": json.loads(expected.write_json()), "next_cursor": None}


def test_numbers_that_are_not_finite_are_null_in_json_and_exact_elsewhere(client: httpx.Client) -> None:
    asked = {"where": "metric:eq:log_score", "select": "value", "limit": 1}
    assert client.get("/api/v1/metrics", params=asked).json()["rows"] == [{"value": None}]
    exact = client.get("/api/v1/metrics", params=asked, headers={"Accept": ARROW})
    assert pl.read_ipc_stream(exact.content)["value"].to_list() == [float("inf")]


@pytest.mark.parametrize("accept", ["application/json", ARROW, PARQUET])
def test_cursors_lead_through_all_pages_in_any_format(client: httpx.Client, accept: str) -> None:
    seeds, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        asked = {"where": ["seed:le:3", "split:in:0,1"], "sort": "-seed", "select": "seed", "limit": 3}
        asked |= {"cursor": cursor} if cursor else {}
        page = client.get("/api/v1/runs", params=asked, headers={"Accept": accept}).raise_for_status()
        cursor = page.headers.get("basin-next-cursor")
        if accept == "application/json":
            found = pl.DataFrame(page.json()["rows"])
            assert page.json()["next_cursor"] == cursor
        else:
            read = pl.read_parquet if accept == PARQUET else pl.read_ipc_stream
            found = read(io.BytesIO(page.content))
        seeds += found["seed"].to_list()
        pages += 1
    assert seeds == [3, 2, 1, 0]
    assert pages == 2


def test_rows_of_a_sweep_are_those_of_its_runs(client: httpx.Client) -> None:
    found = client.get("/api/v1/runs", params={"sweep": "one", "select": "seed"}).json()["rows"]
    assert found == [{"seed": 2}]


def test_what_was_answered_is_known_by_its_tag_until_the_table_changes(client: httpx.Client, folder: Path) -> None:
    asked = {"select": "seed", "sort": "seed", "limit": 10_000}
    first = client.get("/api/v1/runs", params=asked)
    tag = first.headers["etag"]
    again = client.get("/api/v1/runs", params=asked, headers={"If-None-Match": f'"other", W/{tag}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == tag
    with writing(folder / "store") as writer:
        writer.put(factories.record(factories.request(70 + len(first.json()["rows"]))))
    changed = client.get("/api/v1/runs", params=asked, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert len(changed.json()["rows"]) == len(first.json()["rows"]) + 1


@pytest.mark.parametrize(
    ("path", "status", "code", "said"),
    [
        ("/api/v1/runs?where=lerner:eq:a", 400, "invalid_query", "did you mean 'learner'"),
        ("/api/v1/runs?where=seed:eq:one", 400, "invalid_query", "expected a whole number"),
        ("/api/v1/runs?cursor=abc", 400, "invalid_query", "the cursor is not one of this question"),
        ("/api/v1/runs?sweep=twoo", 404, "not_found", "no sweep 'twoo'"),
        ("/api/v1/runs?sweep=../../etc", 422, "invalid_request", "query.sweep"),
        ("/api/v1/runs?limit=0", 422, "invalid_request", "query.limit"),
        ("/api/v1/runs?limit=10001", 422, "invalid_request", "query.limit"),
        ("/api/v1/runs?limit=NaN", 422, "invalid_request", "query.limit"),
        ("/api/v1/tables/sqlite_master", 422, "invalid_request", "path.table"),
        ("/api/v1/runs?" + "&".join(["where=seed:eq:1"] * 33), 422, "invalid_request", "query.where"),
        ("/api/v1/nothing", 404, "not_found", "no such address"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_shape(
    client: httpx.Client, folder: Path, path: str, status: int, code: str, said: str
) -> None:
    found = client.get(path)
    assert found.status_code == status
    error = found.json()["error"]
    assert error["code"] == code
    assert said in error["message"]
    assert error["request_id"]
    assert str(folder) not in found.text


def test_a_format_that_cannot_be_had_is_refused(client: httpx.Client) -> None:
    found = client.get("/api/v1/runs", headers={"Accept": "text/csv"})
    assert (found.status_code, found.json()["error"]["code"]) == (406, "not_acceptable")


def test_the_tables_are_listed_with_their_columns(client: httpx.Client) -> None:
    found = {table["name"]: table["columns"] for table in client.get("/api/v1/tables").json()["tables"]}
    assert set(found) == set(SCHEMAS)
    (value,) = [column for column in found["metrics"] if column["name"] == "value"]
    assert value == {"name": "value", "type": "Float64", "operators": value["operators"], "own": True}
    assert "lt" in value["operators"] and "contains" not in value["operators"]
    assert {column["name"] for column in found["metrics"] if not column["own"]} >= {"learner", "dataset"}
