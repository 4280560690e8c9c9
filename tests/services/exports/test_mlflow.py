"""Runs in MLflow's files, read back by MLflow's own client."""

import math
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import arviz as az
import pytest

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

from services.errors import ServiceError
from services.exports import mlflow as exports
from services.exports.mlflow import RUN_KEY, Exported, export_runs
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.sweeps import Member, put_sweep

ASKED = [factories.request(seed) for seed in range(2)]
SAMPLED = factories.request(2, bayesian=True)
LOST = factories.request(3)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What the export sets goes with the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two finished runs, a sampled one, and one that failed."""
    return put_sweep(
        tmp_path / "store",
        "s",
        [
            *(Member(each, factories.result(each), varied={"inference.learning_rate": 0.1}) for each in ASKED),
            Member(SAMPLED, factories.sampled(SAMPLED)),
            Member(LOST, factories.failed(LOST)),
        ],
    )


def export(store: Store, tracking: Path) -> Exported:
    return export_runs(store, "s", str(tracking), lambda done, of: None)


def client(tracking: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking.as_uri())


def runs_of(tracking: Path) -> dict:
    """MLflow's runs by run key."""
    there = client(tracking)
    experiment = there.get_experiment_by_name("s")
    assert experiment is not None
    found = there.search_runs([experiment.experiment_id])
    assert len({run.data.tags[RUN_KEY] for run in found}) == len(found)
    return {run.data.tags[RUN_KEY]: run for run in found}


def test_settings_scores_measures_and_curves_are_what_was_stored(store: Store, tmp_path: Path) -> None:
    assert export(store, tmp_path / "mlruns") == Exported(added=4)
    run = runs_of(tmp_path / "mlruns")[ASKED[0].run_key]
    result = factories.result(ASKED[0])
    assert run.info.run_name == "mlp-sgd, learning_rate 0.1, split 0, seed 0"
    assert run.info.status == "FINISHED"
    assert run.info.end_time == round(1000 * factories.STORED_AT.timestamp())
    assert run.info.end_time - run.info.start_time == 1500
    params = run.data.params
    assert params["inference.learning_rate"] == "0.1"
    assert params["predictor.widths"] == "[4]"
    assert params["likelihood.kind"] == "categorical"
    assert (params["learner"], params["seed"], params["fingerprint"]) == ("mlp-sgd", "0", "f" * 32)
    metrics = run.data.metrics
    assert metrics["test/accuracy"] == result.metrics[1].value
    assert metrics["geometry/hessian_trace probes 3 α 0.5"] == result.geometry[0].value
    assert metrics["wall_seconds"] == 1.5
    assert all(math.isfinite(value) for value in metrics.values())
    assert "train/log_score" not in metrics  # it is infinite
    there = client(tmp_path / "mlruns")
    losses = there.get_metric_history(run.info.run_id, "train_loss")
    assert [(each.step, each.value) for each in losses] == list(enumerate(map(float, result.curves["train_loss"])))
    rates = there.get_metric_history(run.info.run_id, "learning_rate")
    assert [(each.step, each.value) for each in rates] == [(0, 0.1), (3, 0.0)]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("made-up", "f" * 32)
    assert run.data.tags["mlflow.source.git.commit"] == factories.PROVENANCE.git_commit
    assert "Vorsicht: β ≠ 0" in run.data.tags["mlflow.note.content"]


def test_the_posterior_is_an_artifact_that_arviz_reads(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "mlruns")
    run, there = runs_of(tmp_path / "mlruns")[SAMPLED.run_key], client(tmp_path / "mlruns")
    assert {each.path for each in there.list_artifacts(run.info.run_id)} == {"run.json", "posterior.nc"}
    path = there.download_artifacts(run.info.run_id, "posterior.nc")
    assert az.from_netcdf(path).equals(factories.sampled(SAMPLED).posterior)
    assert run.data.metrics["ess_min"] == 4.0
    assert run.data.metrics["divergences"] == 0.0


def test_a_run_that_failed_is_there_with_its_reason(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "mlruns")
    run = runs_of(tmp_path / "mlruns")[LOST.run_key]
    assert run.info.status == "FAILED"
    assert run.data.tags["mlflow.note.content"] == "failed: its worker was lost"
    assert run.data.metrics == {"n_parameters": 0.0}


def test_a_second_export_adds_nothing(store: Store, tmp_path: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "mlruns").rglob("*") if path.is_file()}

    export(store, tmp_path / "mlruns")
    before = files()
    assert export(store, tmp_path / "mlruns") == Exported(left=4)
    assert files() == before


def test_what_was_measured_since_is_added_to_the_run(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "mlruns")
    before = runs_of(tmp_path / "mlruns")[SAMPLED.run_key]
    with writing(store.location) as writer:
        writer.put_measurement(factories.measurement(SAMPLED.run_key, value=7.0))
    assert export(Store(store.location), tmp_path / "mlruns") == Exported(completed=1, left=3)
    after = runs_of(tmp_path / "mlruns")[SAMPLED.run_key]
    assert after.info.run_id == before.info.run_id
    added = {name: after.data.metrics[name] for name in after.data.metrics.keys() - before.data.metrics.keys()}
    assert list(added.values()) == [7.0]


def test_a_run_whose_export_was_broken_off_is_exported_anew(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "mlruns")
    broken = runs_of(tmp_path / "mlruns")[ASKED[0].run_key]
    client(tmp_path / "mlruns").update_run(broken.info.run_id, status="RUNNING")
    assert export(store, tmp_path / "mlruns") == Exported(added=1, left=3)
    again = runs_of(tmp_path / "mlruns")[ASKED[0].run_key]
    assert again.info.run_id != broken.info.run_id
    assert again.data.metrics == broken.data.metrics


def test_a_run_that_was_fitted_again_takes_the_place_of_the_failed_one(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "mlruns")
    with writing(store.location) as writer:
        writer.put(factories.record(LOST))
    assert export(Store(store.location), tmp_path / "mlruns") == Exported(added=1, left=3)
    assert runs_of(tmp_path / "mlruns")[LOST.run_key].info.status == "FINISHED"


def test_what_stands_in_the_way_is_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match=r"cannot export to .*file"):
        export(store, tmp_path / "file")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError, match=r"cannot export to http://127\.0\.0\.1:9: .*; the same command goes on"):
        export_runs(store, "s", "http://127.0.0.1:9", lambda done, of: None)
    with pytest.raises(ServiceError, match="no sweep 't'"):
        export_runs(store, "t", str(tmp_path / "mlruns"), lambda done, of: None)
    monkeypatch.setattr(exports, "find_spec", lambda name: None)
    with pytest.raises(ServiceError, match="MLflow is not installed here: `pip install mlflow-skinny`"):
        export(store, tmp_path / "mlruns")


def test_an_experiment_that_was_deleted_is_not_written_to(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "mlruns")
    there = client(tmp_path / "mlruns")
    experiment = there.get_experiment_by_name("s")
    assert experiment is not None
    there.delete_experiment(experiment.experiment_id)
    with pytest.raises(ServiceError, match="MLflow's experiment 's' was deleted: restore it there"):
        export(store, tmp_path / "mlruns")


@pytest.mark.skipif(find_spec("alembic") is not None, reason="MLflow's database migrations are installed")
def test_a_database_that_this_mlflow_cannot_open_is_told_of(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"MLflow lacks 'alembic' .*`pip install mlflow` brings it"):
        export_runs(store, "s", f"sqlite:///{tmp_path}/mlflow.db", lambda done, of: None)
