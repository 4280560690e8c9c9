"""Measuring stored runs: what is missing, at which vectors, and what is kept."""

import shutil
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from cluster.executor import InProcessExecutor
from models.data.dataset import Partition
from models.data.preparation import prepare
from models.measuring.catalogue import ask
from models.runs.result import RunRequest
from models.runs.run import Run, rows_of
from models.spec.inference import NUTS, Library, Optimise
from models.spec.learner import Learner, resolve
from models.spec.predictors import MLP, BoostedTrees, Linear
from models.spec.priors import Normal
from services.errors import StoreError
from services.execution.measures import measure, plan, vectors
from services.execution.runner import run
from services.store.archive import DamagedError
from services.store.store import Store
from services.store.writer import writing
from tests.support.items import items_of
from tests.support.runs import table

DATASET = table("classes")
DATASETS = {DATASET.fingerprint: DATASET}
SHORT = Optimise(epochs=3, batch_size=16)
SAMPLE = NUTS(chains=2, warmup=20, draws=10, max_tree_depth=3, init=SHORT)
LEARNERS = (
    Learner(name="net", predictor=MLP(widths=(4,)), inference=SHORT),
    Learner(name="posterior", predictor=Linear(), prior=Normal(), inference=SAMPLE),
    Learner(
        name="forgotten",
        predictor=Linear(),
        prior=Normal(),
        inference=SAMPLE.model_copy(update={"keep_draws": False}),
    ),
    Learner(name="trees", predictor=BoostedTrees(max_rounds=5), inference=Library()),
    Learner(name="gone", predictor=MLP(widths=(4,)), inference=SHORT.model_copy(update={"learning_rate": 1e30})),
)
REQUESTS = [RunRequest(resolve(each, "classes", 3), Partition(), 0, DATASET.fingerprint) for each in LEARNERS]
KEYS = {request.learner.name: request.run_key for request in REQUESTS}
ASKS = (ask("hessian_trace", relative_error=0.3), ask("hessian_top_eigenvalue", max_products=50))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measuring") / "store"
    with writing(folder) as writer:
        run(items_of(REQUESTS), {DATASET.fingerprint: DATASET}, writer, InProcessExecutor())
        writer.put_sweep("all", "{}", pl.DataFrame({"run_key": list(KEYS.values())}))
    return folder


@pytest.fixture
def store(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "store"))


def measure_all(folder: Path, asks=ASKS, **options):
    with writing(folder) as writer:
        wanted = plan(writer, "all", asks, **options)
        return wanted, measure(wanted.requests, "all", DATASETS, writer, InProcessExecutor(), lambda event: None)


def rows(folder: Path, learner: str, measure: str = "hessian_trace") -> pl.DataFrame:
    later = Store(folder).scan("geometry").filter(pl.col("measurement") != pl.col("run_key"))
    return later.filter(run_key=KEYS[learner], measure=measure).sort("draw").collect()


def test_a_stored_net_is_measured_at_the_vector_that_was_stored(store):
    _, outcome = measure_all(store)
    assert (outcome.measured, outcome.failed) == (4, {})
    (found,) = rows(store, "net").iter_rows(named=True)
    theta = Store(store).bundle(KEYS["net"]).parameters()["theta"]
    of = Run(REQUESTS[0], prepare(DATASET, Partition()), lambda event: None)
    x, y = rows_of(of.split.train, np.float32)
    hessian = jax.hessian(lambda t: of.model.loss(t, x, y))(theta)
    assert found["value"] == pytest.approx(float(np.trace(hessian)), rel=1e-4)
    assert (found["draw"], found["status"], found["standard_error"]) == (-1, "converged", 0.0)


def test_a_posterior_is_measured_at_evenly_spaced_draws(store):
    measure_all(store, n_draws=5)
    found = rows(store, "posterior")
    assert found["draw"].to_list() == [0, 4, 9, 14, 19]
    draws = vectors(Store(store).bundle(KEYS["posterior"]), [0, 19])
    posterior = Store(store).bundle(KEYS["posterior"]).posterior()["posterior"]["theta"].to_numpy()
    np.testing.assert_array_equal(draws, [posterior[0, 0], posterior[1, 9]])
    of = Run(REQUESTS[1], prepare(DATASET, Partition()), lambda event: None)
    x, y = rows_of(of.split.train, np.float32)
    last = jax.hessian(lambda t: of.model.loss(t, x, y))(draws[1])
    assert found["value"][-1] == pytest.approx(float(np.trace(last)), rel=1e-4)


@pytest.mark.parametrize(
    ("learner", "said"), [("trees", "boosted-trees is a black box"), ("forgotten", "the draws were not kept")]
)
def test_what_has_no_landscape_has_a_row_that_says_so(store, learner, said):
    measure_all(store)
    for asked in ASKS:
        (found,) = rows(store, learner, asked.measure).iter_rows(named=True)
        assert (found["draw"], found["value"], found["status"]) == (-1, None, "not_applicable")
        assert said in found["reason"]


def test_runs_that_did_not_finish_are_counted_and_left_out(store):
    wanted, _ = measure_all(store)
    assert wanted.unfinished == 1
    assert rows(store, "gone").is_empty()


def test_what_is_measured_is_not_measured_again(store):
    first, _ = measure_all(store)
    again, outcome = measure_all(store)
    assert (len(first.requests), first.reused) == (4, 0)
    assert (len(again.requests), outcome.measured) == (0, 0)
    assert again.reused == 2 * (1 + 12 + 1 + 1)
    more, outcome = measure_all(store, (*ASKS, ask("hessian_trace", relative_error=0.5)))
    assert [[each.settings.model_dump()["relative_error"] for each in r.asks] for r in more.requests] == [[0.5]] * 4
    assert outcome.measured == 4


def test_what_was_measured_with_the_fit_is_not_measured_again(store):
    wanted, _ = measure_all(store, (ask("hessian_trace"), ask("hessian_top_eigenvalue")))
    assert {request.run.learner.name for request in wanted.requests} == {"forgotten", "trees"}


def test_the_numbers_do_not_depend_on_company(store, tmp_path):
    other = Path(shutil.copytree(store, tmp_path / "other"))
    measure_all(store)
    for asked in reversed(ASKS):
        measure_all(other, (asked,))
    columns = ["draw", "component", "value", "standard_error", "n_products"]
    for learner in ("net", "posterior"):
        for asked in ASKS:
            a, b = (rows(folder, learner, asked.measure).select(columns) for folder in (store, other))
            assert a.equals(b)


def test_an_unknown_sweep_is_named_with_the_nearest(store):
    with pytest.raises(StoreError, match=r"no sweep 'al' in .*: did you mean 'all'"):
        plan(Store(store), "al", ASKS)
    with pytest.raises(StoreError, match="`basin sweep list` lists them"):
        plan(Store(store), "zzz", ASKS)


def test_the_tables_are_rebuilt_from_measurements_too(store):
    measure_all(store)
    before = Store(store).scan("geometry").sort(pl.all()).collect()
    index = Store(store).scan("measurements").sort("measurement").collect()
    with writing(store) as writer:
        assert writer.rebuild() == 5
    assert Store(store).scan("geometry").sort(pl.all()).collect().equals(before)
    assert Store(store).scan("measurements").sort("measurement").collect().equals(index)


def test_a_damaged_measurement_is_set_aside_and_measured_again(store):
    measure_all(store)
    one = next((store / "measurements").iterdir())
    content = bytearray(one.read_bytes())
    content[90] ^= 1
    one.write_bytes(content)
    with writing(store) as writer:
        assert writer.rebuild() == 5
        assert writer.set_aside == [one.stem]
    assert (store / "damaged" / one.name).exists()
    again, outcome = measure_all(store)
    assert (len(again.requests), outcome.measured) == (1, 1)
    assert {path.name for path in (store / "measurements").iterdir()} >= {one.name}


def test_a_damaged_bundle_is_an_error_that_says_what_to_do(store):
    bundle = store / "bundles" / f"{KEYS['net']}.zip"
    bundle.write_bytes(bundle.read_bytes()[:-9])
    with pytest.raises(DamagedError, match="`basin store rebuild`"):
        measure_all(store)
