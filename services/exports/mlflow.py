"""A sweep's runs in MLflow: one experiment for the sweep, one MLflow run for each run.

What a second export finds there it leaves alone, and what was measured since it adds: runs are known by their tag
`basin.run_key`. A run whose export was broken off, or that was fitted again since, is exported anew.
"""

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from services.errors import ServiceError
from services.store import archive, bundles, tables
from services.store.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as MlflowRun

RUN_KEY, BUNDLE = "basin.run_key", "basin.bundle"
ENDED = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED", "stopped": "KILLED"}
CURVES = ("train_loss", "validation_loss", "learning_rate", "gradient_norm")
_NUMBERS = ("n_parameters", "r_hat_max", "ess_min", "divergences", "wall_seconds", "compile_seconds", "device_seconds")
_FACTS = ("dataset", "fingerprint", "split", "split_seed", "validation_share", "test_share", "seed")
_CHUNK = 200  # runs whose rows are read at once
_METRICS, _PARAMS = 1000, 100  # that MLflow takes in one call
# A server that is not there is told of within seconds; nothing is reported to MLflow's makers; a folder is what was
# asked for; no line for each run on the output. What the environment says already stays.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Exported(NamedTuple):
    """How many runs were new to MLflow, how many got metrics that were missing, and how many were left alone."""

    added: int = 0
    completed: int = 0
    left: int = 0


class _Rows(NamedTuple):
    """What the tables have of some runs, by run key."""

    metrics: Mapping[str, dict[str, float]]
    curves: Mapping[str, pl.DataFrame]


def export_runs(store: Store, sweep: str, tracking: str, told: Callable[[int, int], None]) -> Exported:
    """Write every stored run of a sweep to MLflow.

    Args:
        store: where the runs are.
        sweep: its name, and the experiment's.
        tracking: URI of a tracking server or database, or a folder for MLflow's files.
        told: called with how many runs are done, and of how many, after each.

    Raises:
        ServiceError: MLflow is not installed, cannot be reached or refuses; there is no such sweep.
    """
    _prepare()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    runs = _stored(store, sweep)
    counts = dict.fromkeys(Exported._fields, 0)
    try:
        client = MlflowClient(tracking if ":" in tracking else Path(tracking).resolve().as_uri())
        experiment = _experiment(client, sweep)
        known = _known(client, experiment)
        for chunk in runs.iter_slices(_CHUNK):
            rows = _rows(store, chunk)
            for run in chunk.iter_rows(named=True):
                counts[_export(client, experiment, store, run, rows, known.get(run["run_key"]))] += 1
                told(sum(counts.values()), len(runs))
    except ModuleNotFoundError as error:
        raise ServiceError(
            f"cannot export to {tracking}: MLflow lacks {error.name!r} for this sort of tracking; `pip install mlflow` "
            "brings it, and a folder or a server's http:// address does without"
        ) from error
    except (MlflowException, OSError) as error:
        text = str(error).partition("\n")[0]
        raise ServiceError(f"cannot export to {tracking}: {text}; the same command goes on from here") from error
    return Exported(**counts)


def _prepare() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if find_spec("mlflow") is None:
        raise ServiceError(
            "MLflow is not installed here: `pip install mlflow-skinny`, which is Basin's extra `mlflow`, or `mlflow`"
        )


def _stored(store: Store, sweep: str) -> pl.DataFrame:
    """The sweep's runs, their last attempts, with the settings that were varied."""
    _, members = store.sweep(sweep)
    asked = members.lazy().select("run_key", "varied").unique("run_key")
    runs = store.runs().join(asked, on="run_key").sort("dataset", "learner", "varied", "split", "seed")
    return tables.evaluate(store.storage, "runs", runs)


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name)
    if found.lifecycle_stage != "active":
        raise ServiceError(f"MLflow's experiment {name!r} was deleted: restore it there, or remove it for good")
    return found.experiment_id


def _known(client: "MlflowClient", experiment: str) -> dict[str, "MlflowRun"]:
    """MLflow's runs that this module made, by run key. Of twins, as two exports at once could leave them, one."""
    found, token = {}, None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found |= {run.data.tags[RUN_KEY]: run for run in page if RUN_KEY in run.data.tags}
        if (token := page.token) is None:
            return found


def _export(
    client: "MlflowClient",
    experiment: str,
    store: Store,
    run: Mapping[str, Any],
    rows: _Rows,
    known: "MlflowRun | None",
) -> str:
    """Write one run, or what MLflow lacks of it. Returns which of the counts of `Exported` it belongs to."""
    metrics = {name: float(run[name]) for name in _NUMBERS if run[name] is not None} | rows.metrics.get(
        run["run_key"], {}
    )
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if known is not None:
        if known.data.tags.get(BUNDLE) == run["bundle"] and known.info.status != "RUNNING":
            missing = {name: value for name, value in metrics.items() if name not in known.data.metrics}
            _log(client, known.info.run_id, _points(missing, run))
            return "completed" if missing else "left"
        client.delete_run(known.info.run_id)
    ended = _milliseconds(run["stored_at"])
    seconds = run["wall_seconds"] if math.isfinite(run["wall_seconds"]) else 0.0
    made = client.create_run(experiment, ended - round(1000 * seconds), _tags(run), _title(run))
    run_id = made.info.run_id
    _log_dataset(client, run_id, run)
    for params in batched(_params(run).items(), _PARAMS):
        client.log_batch(run_id, params=[_param(*each) for each in params])
    curves = rows.curves.get(run["run_key"])
    _log(client, run_id, _points(metrics, run))
    _log(client, run_id, [] if curves is None else _steps(curves, ended))
    _log_parts(client, run_id, store, run["bundle"])
    # Last: until then the run counts as broken off.
    client.set_terminated(run_id, ENDED[run["status"]], ended)
    return "added"


def _milliseconds(moment: Any) -> int:
    return round(1000 * moment.timestamp())


def _title(run: Mapping[str, Any]) -> str:
    settings = (f"{path.rpartition('.')[2]} {json.dumps(value)}" for path, value in json.loads(run["varied"]).items())
    return ", ".join([run["learner"], *settings, f"split {run['split']}", f"seed {run['seed']}"])


def _tags(run: Mapping[str, Any]) -> dict[str, str]:
    told = [*([] if run["error"] is None else [f"{run['status']}: {run['error']}"]), *(run["warnings"] or [])]
    tags = {
        RUN_KEY: run["run_key"],
        BUNDLE: run["bundle"],
        "basin.status": run["status"],
        "basin.kind": run["kind"],
        "basin.device": run["device"],
        "basin.python": run["python"],
        "basin.versions": run["versions"],
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "basin",
        "mlflow.source.git.commit": run["git_commit"],
        "mlflow.source.git.dirty": None if run["git_dirty"] is None else str(run["git_dirty"]).lower(),
        "mlflow.note.content": "\n\n".join(told),
    }
    return {name: value for name, value in tags.items() if value}


def _params(run: Mapping[str, Any]) -> dict[str, str]:
    """The learner's settings by their dotted paths, and what it was fitted to."""
    facts = {name: run[name] for name in _FACTS}
    return {name: str(value) for name, value in ({"learner": run["learner"]} | facts | _flat(run["spec"])).items()}


def _flat(spec: str) -> dict[str, Any]:
    def settings(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from settings(inner, f"{path}.{key}" if path else key)
        else:
            yield path, value if isinstance(value, str) else json.dumps(value)

    return dict(settings({key: value for key, value in json.loads(spec).items() if key != "name"}, ""))


def _param(key: str, value: str) -> Any:
    from mlflow.entities import Param

    return Param(key, value)


def _rows(store: Store, runs: pl.DataFrame) -> _Rows:
    keys = runs.lazy().select("run_key")

    def read(table: str) -> pl.DataFrame:
        return tables.evaluate(store.storage, table, store.scan(table).join(keys, on="run_key", how="semi"))

    found: dict[str, dict[str, float]] = {}
    for run_key, part, metric, value, error in (
        read("metrics").select("run_key", "part", "metric", "value", "standard_error").iter_rows()
    ):
        _put(found.setdefault(run_key, {}), f"{part}/{metric}", value, error)
    measured = read("geometry").filter(status="converged")
    names = ["run_key", "measure", "component", "settings"]
    for run_key, measure, component, settings, value, error in (
        measured.group_by(names).agg(pl.col("value", "standard_error").median()).iter_rows()
    ):
        _put(found.setdefault(run_key, {}), _measure(measure, component, settings), value, error)
    curves = read("curves").sort("step").partition_by("run_key", as_dict=True)
    return _Rows(found, {str(key): frame for (key,), frame in curves.items()})


def _put(metrics: dict[str, float], name: str, value: float | None, error: float | None) -> None:
    if value is not None:
        metrics[name] = value
        if error:
            metrics[f"{name}_standard_error"] = error


def _measure(measure: str, component: str, settings: str) -> str:
    """A measure's name with those settings that are not its defaults; MLflow allows few signs in names."""
    from models.measuring.catalogue import CATALOGUE

    default = CATALOGUE[measure].settings().model_dump(mode="json") if measure in CATALOGUE else {}
    other = [f"{name} {value}" for name, value in json.loads(settings).items() if default.get(name) != value]
    return "geometry/" + re.sub(r"[^\w.\- :]", "_", " ".join(filter(None, [measure, component, *other])))


def _points(metrics: Mapping[str, float], run: Mapping[str, Any]) -> Iterator["Metric"]:
    from mlflow.entities import Metric

    moment = _milliseconds(run["stored_at"])
    return (Metric(name, value, moment, 0) for name, value in metrics.items())


def _steps(curves: pl.DataFrame, moment: int) -> Iterator["Metric"]:
    from mlflow.entities import Metric

    for name in CURVES:
        known = curves.select("step", name).filter(pl.col(name).is_finite())
        yield from (Metric(name, value, moment, step) for step, value in known.iter_rows())


def _log(client: "MlflowClient", run_id: str, metrics: "Iterable[Metric]") -> None:
    for batch in batched(metrics, _METRICS):
        client.log_batch(run_id, metrics=batch)


def _log_dataset(client: "MlflowClient", run_id: str, run: Mapping[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    client.log_inputs(run_id, [DatasetInput(Dataset(run["dataset"], run["fingerprint"], "basin", run["dataset"]))])


def _log_parts(client: "MlflowClient", run_id: str, store: Store, bundle: str) -> None:
    """The bundle's parts but its rows: settings and provenance, parameters, predictions, and the posterior."""
    found = archive.read(store.storage, bundles.FOLDER, bundle)
    with tempfile.TemporaryDirectory(prefix="basin-") as folder:
        for name in found.names:
            if name != bundles.ROWS:
                (Path(folder) / name).write_bytes(found.read(name))
        client.log_artifacts(run_id, folder)
