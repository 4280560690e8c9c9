"""Comparisons and rankings over HTTP, against the same computed from the store."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import polars as pl
import pytest

from models.runs.result import Measurement, Seconds
from models.spec.settings import canonical_json
from services.comparison import stored
from services.comparison.document import Document
from services.comparison.summary import collect, summarise
from services.geometry.document import GeometryDocument
from services.store.measurements import MeasurementRecord
from services.store.store import Store
from services.store.writer import writing
from services.sweeps.definition import Data, Sweep
from services.sweeps.plan import MEMBERS
from tests.support.factories import PROVENANCE, STORED_AT, measured
from tests.support.live import client_of, settings_of
from tests.support.stored import FINGERPRINT, N, ended, net, put_all, request, result

SPLITS = 6
RATES = (0.05, 0.1, 0.2)
VARIED = [net("net", learning_rate=rate) for rate in RATES]
OTHER, LOST = net("other", widths=(8,)), net("lost", widths=(2,))


def level(learner) -> float:
    """The best of the varied nets by its validation rows is the second."""
    return {0.05: -0.7, 0.1: -0.4, 0.2: -0.6}.get(learner.inference.learning_rate, -0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served")
    asked = [request(learner, split) for learner in [*VARIED, OTHER] for split in range(SPLITS)]
    runs = [(each, result(each, level(each.learner))) for each in asked]
    lost = [request(LOST, split) for split in range(SPLITS)]
    put_all(found / "store", runs + [(each, ended(each, "failed", "its worker was lost")) for each in lost])
    members = [
        (
            each.run_key,
            "made-up",
            FINGERPRINT,
            each.learner.name,
            each.partition.index,
            each.seed,
            json.dumps(
                {"inference.learning_rate": each.learner.inference.learning_rate} if each.learner in VARIED else {}
            ),
        )
        for each in [*asked, *lost]
    ]
    frame = pl.DataFrame(members, schema=MEMBERS, orient="row")
    elsewhere = frame.with_columns(dataset=pl.lit("iris"), fingerprint=pl.lit("0" * 32), run_key=pl.lit("0" * 32))
    sweep = Sweep(name="all", datasets=(Data(data="made-up", target="y"), Data(data="iris")), splits=SPLITS, seeds=1)
    with writing(found / "store") as writer:
        writer.put_sweep("all", canonical_json(sweep), pl.concat([frame, elsewhere]))
        writer.put_sweep("none", canonical_json(sweep), elsewhere)
    return found


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with client_of(settings_of(folder), timeout=60) as found:
        yield found


def measure(folder: Path, key: str, split: int) -> None:
    run_key = request(VARIED[0], split).run_key
    rows = (measured("hessian_trace", 1.0),)
    found = Measurement(key, run_key, geometry=rows, seconds=Seconds(1.0, 0.0, 0.0), device="cpu")
    with writing(folder / "store") as writer:
        writer.put_measurement(MeasurementRecord(found, "all", PROVENANCE, STORED_AT))


def test_learners_are_compared_at_the_configuration_that_validation_rows_choose(
    client: httpx.Client, folder: Path
) -> None:
    (found,) = client.get("/api/v1/sweeps/all/comparison").raise_for_status().json()
    document = Document.model_validate(found)
    best = [request(learner, split).run_key for learner in (VARIED[1], OTHER, LOST) for split in range(SPLITS)]
    store = Store(folder / "store")
    expected = summarise(collect(store, best), ["net", "other", "lost"], "classes")
    assert document.learners == Document.model_validate(found | {"learners": expected.learners}).learners
    assert document.comparisons == expected.comparisons
    assert document.verdict == expected.verdict
    assert (document.dataset.name, document.dataset.target, document.dataset.rows) == ("made-up", "y", sum(N.values()))
    assert document.task == "classes"
    assert [w for w in document.warnings if w.startswith("net: compared at learning_rate 0.1, the best of its 3")]
    assert [w for w in document.warnings if w.startswith("lost: ") and "its worker was lost" in w]


@pytest.mark.parametrize("dataset", ["made-up", FINGERPRINT])
def test_one_dataset_is_asked_for_by_name_or_fingerprint(client: httpx.Client, dataset: str) -> None:
    found = client.get("/api/v1/sweeps/all/comparison", params={"dataset": dataset}).json()
    assert [each["dataset"]["name"] for each in found] == ["made-up"]


def test_a_sweep_without_a_stored_run_has_nothing_to_compare(client: httpx.Client) -> None:
    assert client.get("/api/v1/sweeps/none/comparison").json() == []
    assert client.get("/api/v1/sweeps/all/comparison", params={"dataset": "iris"}).json() == []


def test_a_ranking_is_that_of_the_stored_geometry_and_changes_with_it(client: httpx.Client, folder: Path) -> None:
    measure(folder, "first", 0)
    first = client.get("/api/v1/sweeps/all/ranking").raise_for_status()
    document = GeometryDocument.model_validate(first.json())
    assert [each.n_values for each in document.measures] == [1]
    tag = first.headers["etag"]
    assert client.get("/api/v1/sweeps/all/ranking", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/api/v1/sweeps/all/ranking", params={"threshold": 0.1}).headers["etag"] != tag
    compared = client.get("/api/v1/sweeps/all/comparison").headers["etag"]
    measure(folder, "second", 1)
    second = client.get("/api/v1/sweeps/all/ranking", headers={"If-None-Match": tag})
    assert [each["n_values"] for each in second.json()["measures"]] == [2]
    assert client.get("/api/v1/sweeps/all/comparison").headers["etag"] == compared


def test_what_several_ask_for_at_once_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed, begun, go_on = [], threading.Event(), threading.Event()

    def counted(*arguments):
        computed.append(arguments)
        begun.set()
        go_on.wait(20)
        return compare(*arguments)

    compare = stored.compare_stored
    monkeypatch.setattr(stored, "compare_stored", counted)
    with client_of(settings_of(folder), timeout=60) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.get, "/api/v1/sweeps/all/comparison")
        begun.wait(20)
        others = [pool.submit(client.get, "/api/v1/sweeps/all/comparison") for _ in range(3)]
        quick = client.get("/api/v1/runs", params={"limit": 1})
        go_on.set()
        answers = [each.result() for each in (first, *others)]
    assert quick.status_code == 200
    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert len(computed) == 1


@pytest.mark.parametrize(
    ("path", "status", "code", "said"),
    [
        ("al/comparison", 404, "not_found", "did you mean 'all'"),
        ("al/ranking", 404, "not_found", "no sweep 'al'"),
        ("all/comparison?dataset=wine", 404, "not_found", "no dataset 'wine' in sweep 'all': it has made-up, iris"),
        ("all/ranking?threshold=-1", 422, "invalid_request", "query.threshold"),
        ("all/ranking?threshold=nan", 422, "invalid_request", "query.threshold"),
        ("-all/ranking", 422, "invalid_request", "path.name"),
    ],
)
def test_what_there_is_not_is_told_in_one_shape(
    client: httpx.Client, folder: Path, path: str, status: int, code: str, said: str
) -> None:
    found = client.get(f"/api/v1/sweeps/{path}")
    assert (found.status_code, found.json()["error"]["code"]) == (status, code)
    assert said in found.json()["error"]["message"]
    assert str(folder) not in found.text
