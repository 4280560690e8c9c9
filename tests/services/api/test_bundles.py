"""Single runs and the parts of their bundles over HTTP, against what was stored."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import xarray as xr

from services.store.archive import object_name, unpack_arrays
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.live import client_of, settings_of
from tests.support.stores import flip

SAMPLED = factories.request(1, bayesian=True)
LOST, PLAIN, DAMAGED = factories.request(2), factories.request(3), factories.request(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served")
    with writing(found / "store") as writer:
        writer.put(factories.record(SAMPLED, factories.sampled(SAMPLED)))
        writer.put(factories.record(LOST, factories.failed(LOST)))
        writer.put(factories.record(LOST, factories.failed(LOST, "again")))
        writer.put(factories.record(PLAIN))
        writer.put(factories.record(DAMAGED))
    flip(Store(found / "store").storage, "bundles", object_name(DAMAGED.run_key))
    return found


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with client_of(settings_of(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def posterior(folder: Path) -> bytes:
    return Store(folder / "store").bundle(SAMPLED.run_key)._archive.read("posterior.nc")


def part(run_key: str, name: str) -> str:
    return f"/api/v1/runs/{run_key}/parts/{name}"


def test_a_run_has_its_row_its_manifest_and_the_command_that_reproduces_it(client: httpx.Client, folder: Path) -> None:
    found = client.get(f"/api/v1/runs/{PLAIN.run_key}")
    facts = json.loads(found.content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    row = client.get("/api/v1/runs", params={"where": f"run_key:eq:{PLAIN.run_key}"}).json()["rows"]
    assert [facts["row"]] == row
    assert facts["manifest"]["learner"]["name"] == "mlp-sgd"
    assert facts["manifest"]["compile_seconds"] == "NaN"
    assert facts["provenance"]["versions"] == {"jax": "0.11"}
    # Without authentication this machine alone is answered: it may know where the store is.
    assert facts.pop("reproduce") == f"basin reproduce {PLAIN.run_key} --store {folder / 'store'}"
    assert {each["name"] for each in facts["parts"]} == {"run.json", "params.npz", "predictions.npz", "tables.arrows"}
    assert str(folder) not in str(facts)
    again = client.get(f"/api/v1/runs/{PLAIN.run_key}", headers={"If-None-Match": found.headers["etag"]})
    assert again.status_code == 304


def test_a_run_that_failed_is_its_last_attempt(client: httpx.Client) -> None:
    facts = client.get(f"/api/v1/runs/{LOST.run_key}").json()
    assert (facts["row"]["status"], facts["row"]["attempt"], facts["row"]["error"]) == ("failed", 1, "again")
    assert [each["name"] for each in facts["parts"]] == ["run.json"]
    read = client.get(part(LOST.run_key, "run.json"))
    assert "immutable" not in read.headers["cache-control"]


def test_a_part_is_read_whole(client: httpx.Client, posterior: bytes) -> None:
    found = client.get(part(SAMPLED.run_key, "posterior.nc"))
    assert found.status_code == 200
    assert found.content == posterior
    assert found.headers["content-type"] == "application/x-netcdf"
    assert found.headers["content-length"] == str(len(posterior))
    assert "immutable" in found.headers["cache-control"]
    tree = xr.load_datatree(io.BytesIO(found.content), engine="h5netcdf")
    assert tree["posterior"]["theta"].shape == (2, 6, 5)
    arrays = unpack_arrays(client.get(part(PLAIN.run_key, "params.npz")).content, "there")
    assert np.array_equal(arrays["theta"], factories.result(PLAIN).parameters["theta"])


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-0", 0, 1),
        ("10-99", 10, 100),
        ("100-", 100, None),
        ("-7", -7, None),
        ("5-999999999", 5, None),
        ("-9999999", 0, None),
    ],
)
def test_ranges_are_those_that_are_asked_for(
    client: httpx.Client, posterior: bytes, asked: str, start: int, end: int | None
) -> None:
    found = client.get(part(SAMPLED.run_key, "posterior.nc"), headers={"Range": f"bytes={asked}"})
    assert found.status_code == 206
    assert found.content == posterior[start:end]
    first = start % len(posterior)
    expected = f"bytes {first}-{first + len(found.content) - 1}/{len(posterior)}"
    assert found.headers["content-range"] == expected
    assert found.headers["content-length"] == str(len(found.content))


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=-0", "bytes=999999999-9999999999"])
def test_ranges_outside_the_part_cannot_be_had(client: httpx.Client, posterior: bytes, asked: str) -> None:
    found = client.get(part(SAMPLED.run_key, "posterior.nc"), headers={"Range": asked})
    assert found.status_code == 416
    assert found.json()["error"]["code"] == "range_not_satisfiable"
    assert found.headers["content-range"] == f"bytes */{len(posterior)}"


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=0-1,5-6", "rows=0-1", "bytes=a-b", "bytes=-", "", "bytes=" + "9" * 5000]
)
def test_what_is_no_single_range_is_answered_by_all(client: httpx.Client, posterior: bytes, asked: str) -> None:
    found = client.get(part(SAMPLED.run_key, "posterior.nc"), headers={"Range": asked})
    assert (found.status_code, len(found.content)) == (200, len(posterior))


def test_tags_spare_what_is_known_and_hold_ranges_together(client: httpx.Client, posterior: bytes) -> None:
    path = part(SAMPLED.run_key, "posterior.nc")
    tag = client.get(path, headers={"Range": "bytes=0-9"}).headers["etag"]
    assert client.get(path, headers={"If-None-Match": tag, "Range": "bytes=0-9"}).status_code == 304
    assert client.get(path, headers={"If-Range": tag, "Range": "bytes=0-9"}).status_code == 206
    other = client.get(path, headers={"If-Range": '"other"', "Range": "bytes=0-9"})
    assert (other.status_code, other.content) == (200, posterior)
    assert client.get(part(SAMPLED.run_key, "run.json")).headers["etag"] != tag


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/api/v1/runs/{'0' * 32}", 404, "not_found"),
        (f"/api/v1/runs/{'0' * 32}/parts", 404, "not_found"),
        (part("0" * 32, "run.json"), 404, "not_found"),
        (part(PLAIN.run_key, "posterior.nc"), 404, "not_found"),
        (part(PLAIN.run_key, "..%2F..%2Fstore.json"), 404, "not_found"),
        (part(PLAIN.run_key, "%2e%2e"), 422, "invalid_request"),
        (part("..%2f..%2fstore", "run.json"), 404, "not_found"),
        ("/api/v1/runs/ABCDEF", 422, "invalid_request"),
        (f"/api/v1/runs/{PLAIN.run_key}%0a", 422, "invalid_request"),
        (f"/api/v1/runs/{DAMAGED.run_key}", 503, "unavailable"),
    ],
)
def test_what_is_not_there_is_told_in_one_shape(
    client: httpx.Client, folder: Path, path: str, status: int, code: str
) -> None:
    found = client.get(path)
    assert (found.status_code, found.json()["error"]["code"]) == (status, code)
    assert str(folder) not in found.text
