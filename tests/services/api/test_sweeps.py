"""Sweeps over HTTP, where the cluster is away: recorded, listed, followed, stopped and resumed."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from models.spec.settings import canonical_json
from services.api.settings import Limits, Serving
from services.execution.status import attended, read_standing
from services.execution.tally import Tally
from services.ledger.database import Ledger
from services.store.store import Store
from services.store.writer import writing
from services.submissions import records
from services.sweeps.definition import parse_sweep, settle
from services.sweeps.plan import load_datasets, plan
from tests.support.live import QUICK, client_of, settings_of

SWEEPS = "/api/v1/sweeps"
AWAY = "http://127.0.0.1:1"


def definition(name: str, **stated: Any) -> dict[str, Any]:
    return {"name": name, "datasets": ["iris"], "learners": ["svm"], "budget": "quick", "splits": 2} | stated


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A server with an empty store, whose cluster does not answer."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "data").mkdir()
    (folder / "data" / "points.csv").write_text("x,y\n" + "\n".join(f"{i},{i % 2}" for i in range(40)))
    found = settings_of(folder, dashboard=AWAY, data_roots=(folder / "data",))
    with writing(found.store):
        pass
    return found


@pytest.fixture(scope="module")
def client(settings: Serving) -> Iterator[httpx.Client]:
    with client_of(settings, timeout=30) as client:
        yield client


@pytest.fixture
def ledger(settings: Serving) -> Iterator[Ledger]:
    opened = Ledger(settings.ledger)
    yield opened
    opened.close()


def submit(client: httpx.Client, body: Any, key: str | None = None) -> httpx.Response:
    return client.post(SWEEPS, json=body, headers={} if key is None else {"Idempotency-Key": key})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def end(ledger: Ledger, name: str, state: records.State, reason: str = "") -> None:
    found = records.latest(ledger, name)
    assert found is not None
    assert records.note(ledger, found, state, reason, datetime.now(UTC))


def events(client: httpx.Client, name: str) -> list[tuple[str, Any]]:
    """All that is told until the stream ends."""
    with client.stream("GET", f"{SWEEPS}/{name}/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        blocks = "".join(response.iter_text()).split("\n\n")
    pairs = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block.startswith("event")]
    return [(pair["event"], json.loads(pair["data"])) for pair in pairs]


def test_an_accepted_sweep_is_in_the_ledger_when_it_is_answered(client: httpx.Client, ledger: Ledger):
    response = submit(client, definition("first"))
    assert response.status_code == 202
    assert response.headers["Location"] == f"{SWEEPS}/first"
    answer = response.json()
    assert (answer["name"], answer["state"], answer["runs"], answer["submitter"]) == (
        "first",
        "accepted",
        2,
        "anonymous",
    )
    recorded = records.latest(ledger, "first")
    assert recorded is not None and recorded.id == answer["submission"]
    assert json.loads(recorded.definition)["learners"][0]["name"] == "svm"


def test_the_same_key_gives_the_same_answer_and_another_sweep_is_a_conflict(client: httpx.Client):
    once = submit(client, definition("keyed"), "k-1")
    again = submit(client, dict(reversed(definition("keyed").items())), "k-1")
    assert once.json() == again.json()
    assert code(submit(client, definition("keyed-otherwise"), "k-1")) == (409, "conflict")
    assert client.get(f"{SWEEPS}/keyed-otherwise").status_code == 404


def test_another_sweep_of_the_name_of_one_that_waits_is_a_conflict(client: httpx.Client):
    first = submit(client, definition("same"))
    assert submit(client, definition("same")).json()["submission"] == first.json()["submission"]
    assert code(submit(client, definition("same", seeds=5))) == (409, "conflict")


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "é", "a\tb"])
def test_a_key_that_is_none_is_refused(client: httpx.Client, key: str):
    response = client.post(SWEEPS, json=definition("k"), headers=[("Idempotency-Key", key.encode("latin-1"))])
    assert code(response) == (422, "invalid_request")


def formula(text: str) -> dict[str, Any]:
    return {"name": "glm", "predictor": {"kind": "formula", "formula": text}, "inference": {"method": "pymc"}}


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"learners": ["svn"]}, "unknown learner 'svn': did you mean 'svm'"),
        ({"datasets": ["irsi"]}, "did you mean 'iris'"),
        ({"datasets": ["../ledger.sqlite"]}, "there is no such file"),
        ({"datasets": ["http://169.254.169.254/latest.csv"]}, "nothing is fetched"),
        ({"learners": ["/etc/passwd.yaml"]}, "there is no such file"),
        ({"split": 3}, "unknown key; did you mean 'splits'?"),
        ({"splits": 10**9}, "that is 1,000,000,000 runs, and a server accepts at most 1,000,000"),
        ({"name": "<b>"}, "expected letters, digits"),
        ({"seeds": True}, "sweep.seeds: expected a number, and this is yes, on or true"),
        ({"seeds": 100_000_000}, "that is 200,000,000 runs"),
        ({"datasets": [{"data": "points.csv", "target": False}]}, "expected text"),
        ({"vary": {"predictor.c": [1e999]}}, ""),
        ({"learners": [formula("__import__('os')")]}, "cannot be read: Unexpected character: _"),
        ({"learners": [formula('pd.io.common.os.system["x"]("touch PWNED")')]}, "has an index"),
        ({"learners": [formula("x")], "vary": {"predictor.formula": ["os.system('x')"]}}, "calls 'os.system'"),
        ({"learners": [formula("z")], "datasets": [{"data": "points.csv", "target": "y"}]}, "unknown column 'z'"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_refused_in_words(client: httpx.Client, stated: dict[str, Any], words: str):
    body = json.dumps(definition("wrong") | stated)
    response = client.post(SWEEPS, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert response.json()["error"]["code"] in ("invalid_sweep", "invalid_request")
    assert words in response.json()["error"]["message"]
    assert client.get(f"{SWEEPS}/wrong").status_code == 404


def test_a_key_that_is_there_twice_is_refused_with_its_line(client: httpx.Client):
    sweep = b'{"name": "wrong", "datasets": ["iris"], "learners": ["svm"],\n "datasets": ["wine"]}'
    for path, body in ((SWEEPS, sweep), ("/api/v1/schedules", b'{"cron": "0 2 * * *", "sweep": ' + sweep + b"}")):
        response = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert code(response) == (422, "invalid_request")
        told = 'line 2 of the body has the key "datasets" again: keep one of them'
        assert response.json()["error"]["message"] == told
    assert client.get(f"{SWEEPS}/wrong").status_code == 404


@pytest.mark.parametrize("body", [b"[]", b'"iris"', b"3", b"null", b"{}", b"", b"{", b'{"name": "\\ud800"}'])
def test_a_body_that_is_no_sweep_is_refused(client: httpx.Client, body: bytes):
    response = client.post(SWEEPS, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text


def test_only_json_is_taken(client: httpx.Client):
    """A form of another site could send the rest without asking the browser's leave."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/x-yaml"):
        response = client.post(SWEEPS, content=json.dumps(definition("typed")), headers={"Content-Type": kind})
        assert code(response) == (415, "unsupported_media_type"), kind
    assert client.get(f"{SWEEPS}/typed").status_code == 404


def test_files_of_the_servers_folders_may_be_named(client: httpx.Client, settings: Serving):
    answer = submit(client, definition("points", datasets=[{"data": "points.csv", "target": "y"}]))
    assert answer.status_code == 202
    found = client.get(f"{SWEEPS}/points").json()["definition"]["datasets"][0]["data"]
    assert found == str(settings.data_roots[0] / "points.csv")


def test_a_sweep_that_waits_is_shown_stopped_and_resumed(client: httpx.Client, ledger: Ledger):
    submit(client, definition("waiting"))
    shown = client.get(f"{SWEEPS}/waiting").json()
    assert (shown["state"], shown["active"], shown["standing"], shown["learners"]) == ("accepted", True, None, [])
    stopped = client.post(f"{SWEEPS}/waiting/stop")
    assert (stopped.status_code, stopped.json()) == (202, {"name": "waiting", "stopping": True})
    assert [each.stop_requested for each in records.active(ledger) if each.name == "waiting"] == [True]
    end(ledger, "waiting", "stopped", "it was asked to end")
    assert client.post(f"{SWEEPS}/waiting/stop").json()["stopping"] is False
    shown = client.get(f"{SWEEPS}/waiting").json()
    assert (shown["state"], shown["active"], shown["reason"]) == ("stopped", False, "it was asked to end")
    resumed = client.post(f"{SWEEPS}/waiting/resume")
    assert resumed.status_code == 202
    assert resumed.json()["submission"] != shown["submission"]["submission"]
    assert client.get(f"{SWEEPS}/waiting").json()["definition"] == shown["definition"]


def test_resuming_with_the_same_key_is_one_submission(client: httpx.Client, ledger: Ledger):
    submit(client, definition("again"))
    submit(client, definition("beside"))
    end(ledger, "again", "failed", "no such luck")

    def resume(name: str, key: str) -> httpx.Response:
        return client.post(f"{SWEEPS}/{name}/resume", headers={"Idempotency-Key": key})

    once = resume("again", "r-1")
    assert once.status_code == 202
    end(ledger, "again", "failed", "no such luck")
    # Without the key it would go on once more.
    assert resume("again", "r-1").json()["submission"] == once.json()["submission"]
    assert code(resume("beside", "r-1")) == (409, "conflict")
    assert code(submit(client, definition("again"), "r-1")) == (409, "conflict")
    assert resume("again", "r-2").json()["submission"] != once.json()["submission"]


@pytest.mark.parametrize("name", ["nothing", "a" * 64])
def test_of_a_sweep_that_there_is_not_nothing_can_be_asked(client: httpx.Client, name: str):
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/stop"), ("POST", "/resume")):
        assert code(client.request(method, f"{SWEEPS}/{name}{path}")) == (404, "not_found")


@pytest.mark.parametrize("name", ["..%2f..%2fstore.json", "%2e%2e", "a%0d%0ab", "<script>", "a" * 65, "-a", "%00"])
def test_what_is_no_name_reaches_no_file(client: httpx.Client, name: str):
    response = client.get(f"{SWEEPS}/{name}")
    assert response.status_code in (404, 422)
    assert "<script>" not in response.text or response.headers["Content-Type"] == "application/json"


def test_sweeps_are_listed_by_name_page_by_page(client: httpx.Client):
    for i in range(5):
        submit(client, definition(f"page-{i}"))
    whole = [each["name"] for each in client.get(SWEEPS, params={"limit": 200}).json()["sweeps"]]
    assert whole == sorted(whole) and {f"page-{i}" for i in range(5)} <= set(whole)
    pages: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get(SWEEPS, params={"limit": 2} | ({} if cursor is None else {"cursor": cursor})).json()
        pages += [each["name"] for each in page["sweeps"]]
        cursor = page["next_cursor"]
        if len(pages) == 4:
            submit(client, definition("a-new-one-before"))  # neither shown twice nor in the way
        if cursor is None:
            break
    assert pages == whole


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"cursor": "../up"}, {"cursor": ""}])
def test_a_page_that_there_cannot_be_is_refused(client: httpx.Client, query: dict[str, Any]):
    assert code(client.get(SWEEPS, params=query)) == (422, "invalid_request")


def test_what_is_followed_ends_when_the_sweep_does(client: httpx.Client, ledger: Ledger):
    submit(client, definition("followed"))
    told: list[tuple[str, Any]] = []
    follower = threading.Thread(target=lambda: told.extend(events(client, "followed")))
    follower.start()
    end(ledger, "followed", "failed", "no such luck")
    follower.join(30)
    assert told[0][0] == "submission"
    assert told[-2][0] == "submission" and told[-2][1]["state"] == "failed"
    assert told[-1][0] == "end"
    assert (told[-1][1]["state"], told[-1][1]["reason"]) == ("failed", "no such luck")
    assert [name for name, _ in events(client, "followed")] == ["submission", "end"]


def test_no_more_follow_at_once_than_the_server_looks_after(settings: Serving):
    limits = Limits(**QUICK.model_dump() | {"followers": 1})
    with client_of(settings.model_copy(update={"limits": limits}), timeout=30) as client:
        submit(client, definition("crowded"))
        with client.stream("GET", f"{SWEEPS}/crowded/events") as first:
            lines = first.iter_lines()  # which, when it goes, closes the stream
            next(lines)
            for path in (f"{SWEEPS}/crowded/events", "/web/events?sweep=crowded"):
                late = client.get(path)
                assert code(late) == (503, "unavailable") and late.headers["Retry-After"]
        until = time.monotonic() + 20
        while True:  # it is noticed that the first has gone
            with client.stream("GET", f"{SWEEPS}/crowded/events") as again:
                if again.status_code == 200:
                    break
            assert time.monotonic() < until


def test_a_sweep_at_work_elsewhere_is_followed_and_stopped_by_way_of_the_store(client: httpx.Client, settings: Serving):
    """One that a command runs, on this machine or another, is no submission."""
    sweep = settle(parse_sweep(definition("elsewhere")))
    with writing(settings.store) as writer:
        planned = plan(sweep, load_datasets(sweep, settings.cache))
        writer.put_sweep("elsewhere", canonical_json(sweep), planned.members())
        told: list[tuple[str, Any]] = []
        with attended(writer, "elsewhere", 2, 0, Tally((), 2)):
            shown = client.get(f"{SWEEPS}/elsewhere").json()
            assert (shown["state"], shown["standing"]["alive"], shown["runs"], shown["ended"]) == (
                "running",
                True,
                2,
                0,
            )
            assert shown["learners"] == [
                {"learner": "svm", "runs": 2, "finished": 0, "diverged": 0, "failed": 0, "stopped": 0}
            ]
            assert code(client.post(f"{SWEEPS}/elsewhere/resume")) == (409, "conflict")
            follower = threading.Thread(target=lambda: told.extend(events(client, "elsewhere")))
            follower.start()
        follower.join(30)
        assert told[0][0] == "standing" and told[-1][0] == "end"
        assert told[-1][1]["state"] == "finished"
    now = read_standing(Store(settings.store), "elsewhere")
    assert now is not None and now.state == "finished"


def test_without_a_cluster_sweeps_are_shown_and_not_taken(settings: Serving):
    with client_of(settings.model_copy(update={"dashboard": None})) as client:
        assert client.get(SWEEPS).status_code == 200
        assert code(submit(client, definition("nowhere"))) == (503, "unavailable")
        assert client.get(f"{SWEEPS}/nowhere").status_code == 404


def test_a_sweep_that_is_too_large_is_refused(settings: Serving):
    limits = Limits(**QUICK.model_dump() | {"request_bytes": 500})
    with client_of(settings.model_copy(update={"limits": limits})) as client:
        assert code(submit(client, definition("large", learners=["svm"] * 100))) == (413, "too_large")
