"""Whatever goes wrong is told in one shape, and what only the log should know is not told."""

import logging

import httpx
import pytest

from cluster.errors import ClusterError
from models.data.dataset import DataError
from models.spec.settings import SpecError
from services.api.errors import FAULTS
from services.errors import ConflictError, LedgerError, NotStoredError, QueryError, ScheduleError, StoreError
from services.server.application import create_application
from tests.support.live import live, settings_of

SECRET = "/srv/secret/store"
ERRORS = {
    "fault": (RuntimeError(SECRET), "internal"),
    "store": (StoreError(f"cannot read the store in {SECRET}"), "unavailable"),
    "ledger": (LedgerError(f"no ledger at {SECRET}"), "unavailable"),
    "cluster": (ClusterError(f"nothing answers at {SECRET}"), "unavailable"),
    "stored": (NotStoredError("no sweep 'x'", SECRET, "did you mean 'y'?"), "not_found"),
    "query": (QueryError("no column 'x'"), "invalid_query"),
    "schedule": (ScheduleError("no schedule 'x'"), "invalid_request"),
    "conflict": (ConflictError("another sweep"), "conflict"),
    "spec": (SpecError("no learner 'x'"), "invalid_sweep"),
    "data": (DataError("no data set 'x'"), "invalid_sweep"),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    application = create_application(settings_of(tmp_path_factory.mktemp("served")))

    @application.get("/fail/{name}")
    def fail(name: str) -> None:
        raise ERRORS[name][0]

    with live(application) as address, httpx.Client(base_url=address) as found:
        yield found


@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_the_code_of_their_kind(client: httpx.Client, name: str, caplog: pytest.LogCaptureFixture) -> None:
    error, code = ERRORS[name]
    with caplog.at_level(logging.WARNING):
        found = client.get(f"/fail/{name}")
    told = found.json()["error"]
    assert (found.status_code, told["code"]) == (FAULTS[code].status, code)
    assert set(told) == {"code", "message", "request_id"}
    assert SECRET not in found.text and "Traceback" not in found.text
    assert found.headers["x-request-id"] == told["request_id"]
    assert found.headers["cache-control"] == "no-store"
    if code in ("internal", "unavailable"):
        assert told["request_id"] in caplog.text and SECRET in caplog.text
        assert ("retry-after" in found.headers) == (code == "unavailable")
    elif name != "stored":
        assert told["message"] == str(error)


@pytest.mark.parametrize(
    ("method", "path", "code"), [("POST", "/health", "method_not_allowed"), ("GET", "/x", "not_found")]
)
def test_what_there_is_not_is_told_in_the_same_shape(client: httpx.Client, method: str, path: str, code: str) -> None:
    found = client.request(method, path)
    assert (found.status_code, found.json()["error"]["code"]) == (FAULTS[code].status, code)
    assert found.headers.get("allow") == ("GET" if code == "method_not_allowed" else None)


def test_every_code_has_a_status_of_an_error() -> None:
    assert all(400 <= fault.status < 600 and fault.about for fault in FAULTS.values())
