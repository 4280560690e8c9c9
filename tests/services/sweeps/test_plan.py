"""From a sweep to its runs, in this process on small tables."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cluster.executor import WIDTH, InProcessExecutor
from cluster.resources import Resources
from models.data.dataset import DataError, Dataset, Partition
from models.fitting.dispatch import cost, program_key
from models.measuring.catalogue import ask
from models.runs.result import RunRequest
from models.spec.inference import NUTS, Library, Optimise, PyMC
from models.spec.learner import Learner, resolve
from models.spec.likelihoods import Categorical, Poisson
from models.spec.predictors import MLP, BoostedTrees, Formula
from models.spec.priors import Flat, Normal
from models.spec.settings import SpecError, canonical_json
from services.datasets.registry import load
from services.errors import StoreError
from services.execution.carry_out import carry_out
from services.execution.runner import Outcome
from services.execution.status import counts_by_learner
from services.store.store import Store
from services.store.writer import writing
from services.sweeps.definition import MEASURES, Data, Sweep, comparison, parse_sweep
from services.sweeps.learners import presets
from services.sweeps.plan import MEMBERS, datasets_of, load_datasets, n_packs, named_apart, outlook, plan
from services.sweeps.search_space import variants
from tests.support.runs import table

CLASSES, REAL = table("classes", n=90), table("real", n=90)
NET = Learner(name="net", predictor=MLP(widths=(3,)), inference=Optimise(epochs=2, batch_size=16))
TREES = Learner(name="trees", predictor=BoostedTrees(max_rounds=3), inference=Library())
VARY = {"inference.learning_rate": [0.01, 0.1], "inference.batch_size": [16, 32]}
PRESETS = presets("quick")


def planned(*datasets: Dataset, **changes):
    options = {"name": "small", "learners": [NET, TREES], "splits": 2, "seeds": 1, "measures": ["l2_norm"]} | changes
    return plan(Sweep(datasets=tuple(Data(data=each.name) for each in datasets), **options), datasets)


def carried_out(path: Path, wanted) -> Outcome:
    with writing(path) as writer:
        return carry_out(wanted, writer, InProcessExecutor(), lambda event: None, resources=Resources())


# --- planning ---------------------------------------------------------------------------------------------------------


def test_a_plan_crosses_datasets_learners_varied_settings_splits_and_seeds():
    found = planned(CLASSES, REAL, vary=VARY, splits=3, seeds=2)
    assert [part.learners for part in found.parts] == [("net", "trees")] * 2
    expected = [
        RunRequest(learner, Partition(index=split), seed, dataset.fingerprint)
        for dataset in (CLASSES, REAL)
        for learner in (
            *(resolve(v.learner, dataset.task, dataset.n_classes) for v in variants(NET, VARY)),
            TREES,
        )
        for split in range(3)
        for seed in range(2)
    ]
    assert found.run_keys == [request.run_key for request in expected]
    requests = {request.run_key: request for request in found.requests()}
    assert requests == {request.run_key: request for request in expected}
    assert len(found.run_keys) == len(set(found.run_keys)) == 2 * (4 + 1) * 3 * 2
    assert found.asks == (ask("l2_norm"),)


@pytest.mark.parametrize(
    ("predictor", "inference", "words"),
    [
        (MLP(widths=(20_000, 20_000)), Optimise(), "it would have 400,160,003 parameters"),
        (MLP(widths=(2000, 2000)), NUTS(draws=1000), "draws of 4,016,003 parameters would have"),
    ],
)
def test_what_no_worker_can_hold_is_not_planned(predictor, inference, words):
    prior = Normal() if isinstance(inference, NUTS) else Flat()
    with pytest.raises(SpecError, match=r"learner 'wide': .*") as refused:
        planned(CLASSES, learners=[Learner(name="wide", predictor=predictor, prior=prior, inference=inference)])
    assert words in str(refused.value)


def test_a_sweep_that_is_too_large_is_refused_before_any_of_it_is_planned():
    with pytest.raises(SpecError, match="200,000,000 runs"):
        planned(table("classes"), seeds=100_000_000, splits=1)


def test_runs_that_are_the_same_are_planned_once():
    same = planned(CLASSES, vary={"inference.learning_rate": [0.01, 0.010, "1e-2"]})
    assert len(same.run_keys) == 2 * 2
    twins = planned(CLASSES, replace(CLASSES, name="twin"))
    assert len(twins.runs) == 4
    assert set(twins.members()["dataset"]) == {CLASSES.name}


def test_nothing_varied_is_what_the_learners_are():
    found = planned(CLASSES)
    learners = {request.learner for request in found.requests()}
    assert learners == {resolve(NET, "classes", 3), TREES}
    assert [configuration.varied for configuration in found.configurations] == [{}, {}]
    assert next(iter(learners - {TREES})).likelihood == Categorical()


def test_measures_that_are_not_stated_are_known():
    assert [each.measure for each in planned(CLASSES, measures=MEASURES).asks] == list(MEASURES)


def test_learners_that_are_not_stated_are_those_that_suit_each_dataset():
    digits = load("digits", cache=Path())
    table_part, image_part = planned(CLASSES, digits, learners=None, budget="quick").parts
    assert set(image_part.learners) - set(table_part.learners) == {"convnet"}


def test_runs_are_told_apart_in_words():
    found = planned(CLASSES, REAL, vary=VARY)
    words = found.words(found.runs)
    assert list(words) == found.run_keys
    assert len(set(words.values())) == len(words)
    assert "made-up-real, net, learning_rate 0.1, batch_size 32, split 1, seed 0" in words.values()
    single = planned(CLASSES)
    assert "net, split 0, seed 0" in single.words(single.runs).values()


def test_the_most_expensive_runs_come_first_and_go_where_they_belong():
    found = planned(CLASSES, vary=VARY)
    items = list(found.items(found.runs, Resources(cpus=1, gpus=0.5)))
    assert [item.cost for item in items] == sorted((item.cost for item in items), reverse=True)
    assert {item.payload.learner.name: item.resources.gpus for item in items} == {"net": 0.5, "trees": 0}
    for item in items:
        assert item.run_key == item.payload.run_key
        assert item.program == program_key(item.payload, CLASSES)
        assert item.cost == cost(item.payload, CLASSES)


def test_members_say_what_was_varied():
    members = planned(CLASSES, REAL, vary=VARY).members()
    assert dict(members.schema) == MEMBERS
    assert len(members) == members["run_key"].n_unique() == 20
    assert set(members.select("dataset", "fingerprint").iter_rows()) == {
        (each.name, each.fingerprint) for each in (CLASSES, REAL)
    }
    nets = members.filter(learner="net", dataset="made-up-real", split=0)
    assert nets["varied"].to_list() == [
        json.dumps({"inference.batch_size": size, "inference.learning_rate": rate}, separators=(",", ":"))
        for rate in (0.01, 0.1)
        for size in (16, 32)
    ]
    assert set(members.filter(learner="trees")["varied"]) == {"{}"}


def test_what_would_fail_on_every_split_is_refused_at_once():
    with pytest.raises(
        SpecError, match=r"'made-up-classes': learner 'convnet': .* this dataset is a table: use an 'mlp'"
    ):
        planned(CLASSES, learners=[PRESETS["convnet"]])
    counting = NET.model_copy(update={"likelihood": Poisson()})
    with pytest.raises(
        SpecError, match=r"'made-up-real': .*likelihood 'poisson' does not fit a target of real numbers"
    ):
        planned(REAL, learners=[counting])
    with pytest.raises(DataError, match="9 rows, which leaves 2 for the validation part"):
        planned(table("classes", n=9))
    with pytest.raises(SpecError, match=r"vary\.predictor\.channels: no learner of the sweep has this setting"):
        planned(CLASSES, learners=None, vary={"predictor.channels": [[4]]})
    with pytest.raises(SpecError, match="unknown measure 'hessian_trase': did you mean 'hessian_trace'"):
        planned(CLASSES, measures=["hessian_trase"])


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("x1 + x9", "has an unknown column 'x9'"),
        ("log(x1)", "not finite in all training rows"),
        ("T(x1 > 1000)", "is the same in all training rows"),
        ("sigma", "has an unknown column 'sigma'"),
    ],
)
def test_a_formula_that_its_fit_would_refuse_is_not_planned(formula, words):
    stated = Learner(name="stated", predictor=Formula(formula=formula), inference=PyMC())
    with pytest.raises(SpecError, match=f"learner 'stated': formula .*{words}"):
        planned(REAL, learners=[stated])
    good = stated.model_copy(update={"predictor": Formula(formula="x1 + T(x2 > 0)")})
    assert len(planned(REAL, learners=[good]).run_keys) == 2


def test_the_outlook_counts_runs_stored_and_programs():
    wanted = planned(CLASSES, REAL, vary=VARY)
    counts = [
        (row.dataset.name, row.learner.name, row.runs, row.stored, len(row.programs))
        for row in outlook(wanted, wanted.runs)
    ]
    assert counts == [
        (name, learner, *rest)
        for name in ("made-up-classes", "made-up-real")
        # The learning rate is an argument of the program, the batch size is not.
        for learner, *rest in (("net", 8, 0, 2), ("trees", 2, 0, 1))
    ]
    small = [i for i, c in enumerate(wanted.configurations) if c.varied.get("inference.batch_size") == 16]
    net, *_ = outlook(wanted, wanted.runs.filter(~pl.col("configuration").is_in(small)))
    assert (net.stored, list(net.programs.values())) == (4, [4])
    assert net.cost == 4 * wanted.configurations[0].cost
    assert [row.programs for row in outlook(wanted, wanted.runs.clear())] == [{}] * 4


def test_packs_are_of_one_program_on_one_dataset_and_of_a_limited_width():
    wanted = planned(CLASSES, REAL, vary=VARY)
    assert n_packs(outlook(wanted, wanted.runs)) == 6
    wanted = planned(CLASSES, learners=[NET], seeds=WIDTH)
    assert n_packs(outlook(wanted, wanted.runs)) == 2
    assert n_packs(outlook(wanted, wanted.runs.clear())) == 0


# --- carrying out -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory):
    """A store, a plan, and what two calls made of it."""
    path = tmp_path_factory.mktemp("sweep") / "store"
    wild = {"inference.learning_rate": [0.01, 1e30]}
    wanted = planned(CLASSES, REAL, vary=wild)
    return path, wanted, carried_out(path, wanted), carried_out(path, wanted)


def test_what_is_missing_is_fitted_under_the_name_of_the_sweep(twice):
    path, wanted, first, second = twice
    assert first == Outcome(fitted=12, reused=0, failed={})
    assert second == Outcome(fitted=0, reused=12, failed={})
    runs = Store(path).runs().collect()
    assert set(runs["run_key"]) == set(wanted.run_keys)
    assert set(runs["sweep"]) == {"small"}
    assert set(runs["dataset"]) == {"made-up-classes", "made-up-real"}


def test_the_sweep_is_kept_with_its_runs(twice):
    path, wanted, *_ = twice
    definition, members = Store(path).sweep("small")
    assert parse_sweep(json.loads(definition)) == wanted.sweep
    assert members.equals(wanted.members())


def test_the_standing_counts_what_became_of_the_runs(twice):
    path, wanted, *_ = twice
    found = counts_by_learner(Store(path), wanted.members())
    assert found.rows() == [("net", 8, 4, 4, 0, 0), ("trees", 4, 4, 0, 0, 0)]
    more = planned(CLASSES, REAL, splits=3, vary={"inference.learning_rate": [0.01, 1e30]}).members()
    assert counts_by_learner(Store(path), more).rows() == [("net", 12, 4, 4, 0, 0), ("trees", 6, 4, 0, 0, 0)]


def test_the_sweep_is_recorded_before_anything_is_fitted(tmp_path: Path):
    def break_off(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), writing(tmp_path) as writer:
        carry_out(planned(CLASSES), writer, InProcessExecutor(), break_off, resources=Resources())
    assert Store(tmp_path).sweeps() == ["small"]
    assert counts_by_learner(Store(tmp_path), Store(tmp_path).sweep("small")[1])["finished"].sum() < 4


# --- reading the datasets again ---------------------------------------------------------------------------------------


def kept(folder: Path, *data: Data) -> tuple[Sweep, list[Dataset]]:
    """A sweep on these, recorded and not fitted."""
    sweep = Sweep(name="kept", datasets=data, learners=(TREES,), splits=1, seeds=1)
    datasets = load_datasets(sweep, folder)
    wanted = plan(sweep, datasets)
    with writing(folder / "store") as writer:
        writer.put_sweep("kept", sweep.model_dump_json(), wanted.members())
    return sweep, datasets


def write(path: Path, n: int = 60, first: float = 0.0) -> None:
    x = [first, *range(1, n)]
    pl.DataFrame({"x": x, "price": [v * 0.5 + 0.25 for v in x], "rooms": [i % 7 for i in range(n)]}).write_csv(path)


def test_the_datasets_of_a_stored_sweep_are_read_again(tmp_path: Path):
    write(houses := tmp_path / "houses.csv")
    twice = [Data(data=str(houses), target=target) for target in ("price", "rooms")]
    _, datasets = kept(tmp_path, Data(data="two-moons:n=90"), *twice)
    found = datasets_of(Store(tmp_path / "store"), "kept", tmp_path)
    assert list(found) == [each.fingerprint for each in datasets]
    assert [each.target_name for each in found.values()] == [each.target_name for each in datasets]


def test_a_file_that_has_changed_since_is_told(tmp_path: Path):
    write(houses := tmp_path / "houses.csv")
    kept(tmp_path, Data(data="two-moons:n=90"), Data(data=str(houses), target="price"))
    write(houses, first=0.125)
    with pytest.raises(DataError, match="the data of sweep 'kept' changed since it was run: 'houses'; put them back"):
        datasets_of(Store(tmp_path / "store"), "kept", tmp_path)
    houses.unlink()
    with pytest.raises(DataError, match=r"no file .*houses\.csv"):
        datasets_of(Store(tmp_path / "store"), "kept", tmp_path)


def test_an_unknown_sweep_is_told_with_the_nearest(tmp_path: Path):
    kept(tmp_path, Data(data="two-moons:n=90"))
    with pytest.raises(StoreError, match=r"no sweep 'kep' .*did you mean 'kept'"):
        datasets_of(Store(tmp_path / "store"), "kep", tmp_path)


def test_a_comparison_of_other_data_is_no_sweep_of_the_same_name(tmp_path: Path):
    asked = {}
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "wine.csv").write_text("x,y\n1,a\n2,b\n")
        asked[folder] = comparison(Data(data=str(tmp_path / folder / "wine.csv")), ["svm"], "quick")
    with writing(tmp_path / "store") as writer:
        for sweep, expected in (
            (asked["one"], "compare-wine-quick"),
            (asked["other"], "compare-wine-quick-2"),
            (asked["one"], "compare-wine-quick"),
            (asked["other"], "compare-wine-quick-2"),
        ):
            named = named_apart(sweep, writer)
            assert named.name == expected
            writer.put_sweep(named.name, canonical_json(named), pl.DataFrame(schema=MEMBERS))
