"""A run's result is the same to the last bit alone, in a pack of 3 or of 16, on 1 or 2 actors, in-process or on Ray."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.executor import Executor, InProcessExecutor
from cluster.packing import Item
from cluster.resources import Resources
from cluster.work import Arrays, Lost
from models.data.dataset import Dataset, Partition
from models.fitting.dispatch import cost, fit, program_key
from models.runs.events import Checkpoint, Result
from models.runs.result import RunRequest, RunResult
from models.spec.learner import resolve
from models.spec.parsing import parse_learner
from services.datasets.registry import load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PER_LEARNER = 16  # runs of each learner: eight splits, two seeds each

MLP = {"kind": "mlp", "widths": [4]}
NORMAL = {"kind": "normal", "scale": 2.0}
SAMPLED = {"chains": 2, "warmup": 15, "draws": 30, "chunk": 7, "init": {"epochs": 3}}
LEARNERS: Mapping[str, dict[str, Any]] = {
    "dropout": {"predictor": MLP, "inference": {"method": "optimise", "epochs": 4, "dropout": 0.2}},
    "patience": {
        "predictor": MLP,
        "inference": {
            "method": "optimise",
            "optimiser": "sgd",
            "learning_rate": 0.3,
            "epochs": 60,
            "patience": 4,
            "schedule": {"kind": "plateau", "patience": 2},
        },
    },
    "linear-map": {
        "predictor": {"kind": "linear"},
        "prior": NORMAL,
        "inference": {"method": "optimise", "optimiser": "lbfgs", "batch_size": None},
    },
    "bnn-nuts": {"predictor": MLP, "prior": NORMAL, "inference": {"method": "nuts", "max_tree_depth": 3, **SAMPLED}},
    "bnn-hmc": {"predictor": MLP, "prior": NORMAL, "inference": {"method": "hmc", "steps": 5, **SAMPLED}},
    "glm-bayes": {
        "predictor": {"kind": "formula"},
        "prior": NORMAL,
        "inference": {"method": "pymc", "chains": 2, "warmup": 30, "draws": 30},
    },
    "svm": {"predictor": {"kind": "svm"}, "inference": {"method": "library"}},
    "boosted-trees": {"predictor": {"kind": "boosted-trees", "max_rounds": 5}, "inference": {"method": "library"}},
}
COSTLY = {"glm-bayes": 3}  # a second each, where the others take a tenth


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load("iris", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def requests_of(dataset: Dataset) -> dict[str, list[RunRequest]]:
    """The runs of each learner."""
    learners = [resolve(parse_learner({"name": n, **s}), dataset.task, dataset.n_classes) for n, s in LEARNERS.items()]
    return {
        learner.name: [
            RunRequest(learner, Partition(index=i // 2), i % 2, dataset.fingerprint)
            for i in range(COSTLY.get(learner.name, PER_LEARNER))
        ]
        for learner in learners
    }


def execute(
    executor: Executor, requests: Sequence[RunRequest], dataset: Dataset, checkpoints: Mapping[str, Arrays]
) -> tuple[dict[str, RunResult], dict[str, list[Arrays]]]:
    """The results by run key, and the checkpoints on the way."""
    items = [Item(r.run_key, r, program_key(r, dataset), "data", cost(r, dataset), Resources()) for r in requests]
    results, saved = {}, {}
    for event in executor.execute(items, fit, {"data": dataset}, checkpoints):
        assert not isinstance(event, Lost), event
        if isinstance(event, Result):
            results[event.run_key] = event.value
        elif isinstance(event, Checkpoint):
            saved.setdefault(event.run_key, []).append(event.arrays)
    return results, saved


def bits(result: RunResult) -> dict[str, Any]:
    """All that a run leaves but its seconds, so that equal means equal in every bit."""
    left: dict[str, Any] = {
        name: getattr(result, name) for name in ("run_key", "status", "error", "n_parameters", "device", "warnings")
    }
    for name in ("metrics", "diagnostics", "geometry"):
        left[name] = [[_exact(value) for value in record] for record in getattr(result, name)]
    for name in ("curves", "pointwise", "parameters", "predictions"):
        left |= {f"{name}/{key}": _array(values) for key, values in getattr(result, name).items()}
    left["summary"] = {key: _exact(value) for key, value in (result.summary or {}).items()}
    if result.posterior is not None:
        for node in result.posterior.subtree:
            for key, values in node.to_dataset(inherit=False).variables.items():
                left[f"posterior{node.path}/{key}"] = _array(values.to_numpy())
    return left


def _array(values: Any) -> tuple[str, tuple[int, ...], bytes]:
    array = np.asarray(values)
    return str(array.dtype), array.shape, array.tobytes()


def _exact(value: Any) -> Any:
    return np.float64(value).tobytes() if isinstance(value, float | np.floating) else value


def assert_same_bits(found: Mapping[str, RunResult], expected: Mapping[str, RunResult]) -> None:
    """Of the same runs."""
    assert found.keys() == expected.keys()
    for key, result in expected.items():
        assert (found[key].status, found[key].error) == (result.status, result.error), f"run {key}"
        a, b = bits(found[key]), bits(result)
        assert a.keys() == b.keys()
        assert [name for name in b if a[name] != b[name]] == [], f"run {key}"


@pytest.fixture(scope="module")
def alone(dataset: Dataset, requests_of: dict[str, list[RunRequest]]) -> tuple[dict, dict]:
    """Every run in a pack of its own, in this process: results and checkpoints."""
    requests = [request for requests in requests_of.values() for request in requests]
    return execute(InProcessExecutor(width=1), requests, dataset, {})


@pytest.fixture(scope="module")
def ray_cluster(starts_ray: None) -> Iterator[None]:
    """Ray on this machine with two CPUs."""
    import ray

    from cluster.runtime import connect

    connect("local", num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def ray_executor(request: pytest.FixtureRequest, ray_cluster: None, cache: Path) -> Iterator[Executor]:
    """Ray with as many actors, and packs as wide, as the test asks for."""
    from cluster.ray_executor import RayExecutor

    n_workers, width = request.param
    with RayExecutor(n_workers, cache=cache, env={"PYTHONPATH": str(ROOT)}, width=width) as executor:
        yield executor


def test_every_kind_of_run_ends_well_and_leaves_all_that_is_compared(requests_of, alone):
    results, checkpoints = alone
    for name, requests in requests_of.items():
        for request in requests:
            result = results[request.run_key]
            assert result.status == "finished", (name, result.error)
            assert {metric.part for metric in result.metrics} == {"train", "validation", "test"}
            assert len(result.pointwise["log_score"]) == 30
            sampled = name in ("bnn-nuts", "bnn-hmc", "glm-bayes")
            assert (result.posterior is not None) == bool(result.diagnostics) == sampled
            assert bool(result.geometry) == (name not in ("svm", "boosted-trees"))
            assert (request.run_key in checkpoints) == sampled
    stopped = [len(results[request.run_key].curves["step"]) for request in requests_of["patience"]]
    assert min(stopped) < 60, "no run was stopped early"


def test_runs_of_different_seeds_and_splits_differ(requests_of, alone):
    """Else the other tests could not tell runs that are mixed up in a pack."""
    for name, requests in requests_of.items():
        scores = {alone[0][request.run_key].pointwise["log_score"].tobytes() for request in requests}
        deterministic = name in ("linear-map", "svm", "boosted-trees")
        assert len(scores) >= len({r.partition for r in requests}) if deterministic else len(scores) == len(requests)


def test_in_packs_in_this_process(dataset, requests_of, alone):
    backwards = [request for requests in requests_of.values() for request in requests[::-1]]
    assert_same_bits(execute(InProcessExecutor(width=3), backwards, dataset, {})[0], alone[0])


@pytest.mark.parametrize("ray_executor", [(2, 3), (1, 16)], indirect=True)
def test_on_ray(dataset, requests_of, alone, ray_executor):
    requests = [request for requests in requests_of.values() for request in requests]
    assert_same_bits(execute(ray_executor, requests, dataset, {})[0], alone[0])


@pytest.mark.parametrize("name", ["bnn-nuts", "bnn-hmc"])
def test_resumed_from_any_checkpoint(dataset, requests_of, alone, name):
    results, saved = alone
    request = requests_of[name][1]
    checkpoints = saved[request.run_key]
    assert [int(arrays["done"]) for arrays in checkpoints] == [7, 14, 21, 28, 35, 42]
    for arrays in checkpoints:
        found = execute(InProcessExecutor(), [request], dataset, {request.run_key: arrays})[0]
        assert_same_bits(found, {request.run_key: results[request.run_key]})


@pytest.mark.parametrize("ray_executor", [(1, 16)], indirect=True)
def test_resumed_on_ray_in_a_pack_with_others(dataset, requests_of, alone, ray_executor):
    results, saved = alone
    requests = requests_of["bnn-nuts"][:3]
    middle = {requests[1].run_key: saved[requests[1].run_key][3]}
    found = execute(ray_executor, requests, dataset, middle)[0]
    assert_same_bits(found, {request.run_key: results[request.run_key] for request in requests})
