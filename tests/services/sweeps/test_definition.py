"""The sweep file: what it means, and what is said of a wrong one."""

import json
import re
import time
from datetime import date
from pathlib import Path

import pytest
import yaml

from models.spec.settings import SpecError, canonical_json
from services.sweeps.definition import NAME, Data, Sweep, comparison, name_of, parse_sweep, read_sweep, settle
from services.sweeps.learners import EFFORTS, choose, default_names, presets

SMALL = {"name": "small", "datasets": ["iris"], "learners": ["mlp-sgd", "svm"]}
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def test_what_is_left_out_has_its_default():
    sweep = parse_sweep({"name": "all", "datasets": ["iris", {"data": "houses.csv", "target": "price"}]})
    assert sweep.datasets == (Data(data="iris"), Data(data="houses.csv", target="price"))
    assert (sweep.learners, sweep.vary, sweep.measures, sweep.connections) == (None, {}, None, False)
    assert (sweep.n_splits, sweep.n_seeds) == (EFFORTS["standard"].splits, EFFORTS["standard"].seeds)
    assert sweep.learners_for(has_shape=False) == choose(default_names(False), "standard")
    assert [each.name for each in sweep.learners_for(has_shape=True)] == default_names(True)


def test_what_is_stated_holds():
    sweep = parse_sweep(SMALL | {"budget": "quick", "splits": 7, "connections": {"points": 5}})
    assert (sweep.n_splits, sweep.n_seeds) == (7, EFFORTS["quick"].seeds)
    assert sweep.learners_for(has_shape=True) == choose(["mlp-sgd", "svm"], "quick")
    assert sweep.connections == {"points": 5}


def test_learners_come_by_name_by_file_and_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    mine = presets("quick")["mlp-adam"].model_copy(update={"name": "mine"})
    written = mine.model_dump(mode="json")
    Path("mine.yaml").write_text(yaml.safe_dump(written))
    sweep = settle(
        parse_sweep(SMALL | {"learners": ["svm", "mine.yaml", written | {"name": "other"}], "budget": "quick"})
    )
    other = mine.model_copy(update={"name": "other"})
    assert sweep.learners == (presets("quick")["svm"], mine, other)


def test_a_settled_sweep_means_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("houses.csv").write_text("x,price\n")
    asked = parse_sweep(SMALL | {"datasets": ["iris", "houses.csv", "two-moons:n=90,noise=0.1"], "budget": "quick"})
    sweep = settle(asked)
    assert [each.data for each in sweep.datasets] == ["iris", str(tmp_path / "houses.csv"), "two-moons:n=90,noise=0.1"]
    assert (sweep.splits, sweep.seeds) == (EFFORTS["quick"].splits, EFFORTS["quick"].seeds)
    assert settle(sweep) == sweep
    again = parse_sweep(json.loads(canonical_json(sweep)))
    assert again == sweep
    assert canonical_json(again) == canonical_json(sweep)


def test_json_is_read_as_yaml_is(tmp_path: Path):
    for name, text in (("a.yaml", yaml.safe_dump(SMALL)), ("a.json", json.dumps(SMALL))):
        (tmp_path / name).write_text(text)
    assert read_sweep(tmp_path / "a.yaml") == read_sweep(tmp_path / "a.json") == settle(parse_sweep(SMALL))


def test_a_comparison_is_a_sweep_on_one_dataset():
    sweep = comparison(Data(data="iris"), ["svm"], "quick", splits=2)
    assert (sweep.name, sweep.datasets, sweep.vary) == ("compare-iris-quick", (Data(data="iris"),), {})
    assert (sweep.n_splits, sweep.n_seeds) == (2, EFFORTS["quick"].seeds)
    assert comparison(Data(data="iris"), [], "quick").learners is None
    assert comparison(Data(data="iris"), [], "quick", name="mine").name == "mine"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("iris", "compare-iris-quick"),
        ("two-moons:n=300,noise=0.1", "compare-two-moons-n-300-noise-0.1-quick"),
        ("openml:31", "compare-openml-31-quick"),
        ("Größe; rm -rf/../x", "compare-Gr-e-rm-rf-..-x-quick"),
        ("x" * 300, f"compare-{'x' * 45}-quick"),
    ],
)
def test_a_comparison_is_named_by_its_data(data, name):
    assert name_of(data, "quick") == name
    assert re.fullmatch(NAME, name)
    assert re.fullmatch(NAME, name_of(data, "standard"))


def test_a_file_gives_its_stem(tmp_path: Path):
    (tmp_path / "my houses.csv").write_text("")
    assert name_of(str(tmp_path / "my houses.csv"), "thorough") == "compare-my-houses-thorough"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_can_be_run(path):
    assert read_sweep(path).name == path.stem


def test_the_schema_tells_an_editor_what_a_file_may_have():
    properties = Sweep.model_json_schema()["properties"]
    assert {"type": "string"} in properties["datasets"]["items"]["anyOf"]
    assert all("description" in properties[name] for name in ("name", "learners", "vary", "measures"))


# --- what is wrong ----------------------------------------------------------------------------------------------------

WRONG = {
    "an unknown key": ({"learner": ["svm"]}, ["s.yaml.learner: unknown key", "did you mean 'learners'"]),
    "a key like no other": ({"zzzz": 1}, ["s.yaml.zzzz: unknown key", "known keys: name, datasets"]),
    "an unknown key of a dataset": (
        {"datasets": [{"data": "a.csv", "traget": "y"}]},
        ["s.yaml.datasets.0.traget: unknown key", "did you mean 'target'"],
    ),
    "an unknown key of a learner": (
        {"learners": [{"name": "a", "predictor": {"kind": "mlp", "width": [3]}, "inference": {"method": "optimise"}}]},
        ["s.yaml.learners.0.predictor.width: unknown key", "did you mean 'widths'"],
    ),
    "a name with a path": ({"name": "../up"}, ["s.yaml.name is '../up'", "letters, digits"]),
    "no dataset": ({"datasets": []}, ["s.yaml.datasets: expected at least one entry"]),
    "a dataset that is no list": ({"datasets": "iris"}, ["s.yaml.datasets: expected a list"]),
    "a dataset that is a number": ({"datasets": [3]}, ["s.yaml.datasets.0: expected a dataset's name, or a mapping"]),
    "a dataset without a name": ({"datasets": [{"target": "y"}]}, ["s.yaml.datasets.0.data: Field required"]),
    "a task that there is not": (
        {"datasets": [{"data": "iris", "task": "guess"}]},
        ["s.yaml.datasets.0.task", "'classes', 'real' or 'count'"],
    ),
    "a dataset twice": ({"datasets": ["iris", "iris"]}, ["dataset 'iris' is named twice"]),
    "an unknown learner": ({"learners": ["mlp-sdg"]}, ["unknown learner 'mlp-sdg'", "did you mean 'mlp-sgd'"]),
    "a learner that is a number": ({"learners": [3]}, ["s.yaml.learners.0: expected a learner's name"]),
    "a learner twice": ({"learners": ["svm", "svm"]}, ["learner 'svm' is named twice"]),
    "no learner": ({"learners": []}, ["s.yaml.learners: expected at least one entry"]),
    "a learner file that is not there": ({"learners": ["mine.yaml"]}, ["no file 'mine.yaml'"]),
    "a budget that there is not": ({"budget": "fast"}, ["s.yaml.budget", "'quick', 'standard' or 'thorough'"]),
    "no split": ({"splits": 0}, ["s.yaml.splits", "greater than or equal to 1"]),
    "an answer for a number": ({"splits": True}, ["s.yaml.splits: expected a number, and this is yes, on or true"]),
    "an answer for a share": (
        {"vary": {"inference.momentum": [False]}},
        ["'mlp-sgd' cannot have inference.momentum = false", "expected a number, and this is no, off or false"],
    ),
    "an answer for an end": (
        {"vary": {"inference.momentum": {"low": False, "high": 0.9, "count": 3}}},
        ["s.yaml.vary.inference.momentum.low: expected a number"],
    ),
    "an answer for a width": (
        {"vary": {"predictor.widths": [[True, 8]]}},
        ["predictor.widths.0: expected a number, and this is yes"],
    ),
    "an answer for a name": (
        {"datasets": [{"data": "a.csv", "target": False}]},
        ["s.yaml.datasets.0.target: expected text, and YAML reads no, off and false as", "put it in quotation marks"],
    ),
    "a number for a name": (
        {"datasets": [{"data": "a.csv", "target": 2021}]},
        ["s.yaml.datasets.0.target: expected text, and this is read as a number", "put it in quotation marks"],
    ),
    "a number for its name": ({"name": 2024}, ["s.yaml.name: expected text, and this is read as a number"]),
    "a date for a name": (
        {"datasets": [{"data": "a.csv", "target": date(2021, 1, 1)}]},
        ["s.yaml.datasets.0.target: expected text, and this is read as a date", "put it in quotation marks"],
    ),
    "an answer for a dataset": (
        {"datasets": [True]},
        ["s.yaml.datasets.0: expected a dataset's name", "quotation marks"],
    ),
    "a number for a learner": ({"learners": [7]}, ["s.yaml.learners.0: expected a learner's name", "quotation marks"]),
    "more than anybody counts": ({"splits": 10**10}, ["s.yaml.splits", "less than or equal to 1000000000"]),
    "a very wide net": ({"vary": {"predictor.widths": [[10**6]]}}, ["widths.0", "less than or equal to 100000"]),
    "a very deep net": ({"vary": {"predictor.widths": [[2] * 101]}}, ["widths", "at most 100 items"]),
    "half a seed": ({"seeds": 1.5}, ["s.yaml.seeds", "valid integer"]),
    "nothing to vary": ({"vary": ["inference.learning_rate"]}, ["s.yaml.vary: expected a mapping"]),
    "a value that is no list": (
        {"vary": {"inference.learning_rate": 0.1}},
        ["s.yaml.vary.inference.learning_rate: expected a list of values, a range"],
    ),
    "a range without its end": (
        {"vary": {"inference.learning_rate": {"low": 0.1, "count": 3}}},
        ["s.yaml.vary.inference.learning_rate.high: Field required"],
    ),
    "a range the wrong way round": (
        {"vary": {"inference.learning_rate": {"low": 0.1, "high": 0.01, "count": 3}}},
        ["s.yaml.vary.inference.learning_rate: `low` is 0.1 and `high` is 0.01: expected a smaller and a larger"],
    ),
    "a logarithm of zero": (
        {"vary": {"inference.learning_rate": {"draw": "log-uniform", "low": 0, "high": 1}}},
        ["`low` is 0: a logarithmic scale needs numbers above 0"],
    ),
    "a choice of nothing": (
        {"vary": {"inference.learning_rate": {"draw": "choice", "low": 0}}},
        ["a choice has `values`, and neither `low` nor `high`"],
    ),
    "a typo in a draw": (
        {"vary": {"inference.learning_rate": {"draw": "uniform", "low": 0, "hihg": 1}}},
        ["s.yaml.vary.inference.learning_rate.hihg: unknown key; did you mean 'high'?"],
    ),
    "a typo in the resources": (
        {"resources": {"gpu": 1}},
        ["s.yaml.resources.gpu: unknown key; did you mean 'gpus'?"],
    ),
    "no value": (
        {"vary": {"inference.learning_rate": []}},
        ["s.yaml.vary.inference.learning_rate: expected at least one entry"],
    ),
    "not a number": ({"vary": {"inference.learning_rate": [float("nan")]}}, ["learning_rate.0", "finite number"]),
    "an impossible value": (
        {"vary": {"inference.learning_rate": [0.1, -1]}},
        ["'mlp-sgd' cannot have inference.learning_rate = -1", "greater than 0"],
    ),
    "a setting that no learner has": (
        {"vary": {"weight_decay": [0, 1]}},
        ["vary.weight_decay: no learner of the sweep has", "'inference.weight_decay'"],
    ),
    "a setting within another": (
        {"vary": {"inference.schedule": [{"kind": "constant"}], "inference.schedule.kind": ["cosine"]}},
        ["'inference.schedule.kind' is a part of 'inference.schedule': vary one of them"],
    ),
    "a measure without its name": ({"measures": [{"settings": 1}]}, ["s.yaml.measures.0: expected a measure's name"]),
    "measures that are no list": ({"measures": "hessian_trace"}, ["s.yaml.measures: expected a list"]),
    "connections that are a word": ({"connections": "all"}, ["s.yaml.connections: expected true, false"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_told_with_its_path_and_the_remedy(case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    change, words = WRONG[case]
    Path("s.yaml").write_text(yaml.safe_dump(SMALL | change))
    with pytest.raises(SpecError) as refused:
        read_sweep(Path("s.yaml"))
    message = str(refused.value)
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["s.yaml: expected a mapping with `name`, `datasets` and more", "basin schema sweep"]),
        ("- iris", ["s.yaml: expected a mapping"]),
        ("name: [a", ["'s.yaml' is not YAML"]),
        ("name: 2026-13-01", ["'s.yaml' is not YAML", "month"]),
        ("!!python/object/apply:os.getcwd []", ["'s.yaml' is not YAML", "python/object"]),
        ("name: a", ["s.yaml.datasets: Field required"]),
    ],
)
def test_what_is_no_sweep_is_told_so(text, words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(text)
    with pytest.raises(SpecError) as refused:
        read_sweep(Path("s.yaml"))
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path):
    with pytest.raises(SpecError, match=r"no file .*none\.yaml': give the path of a sweep file"):
        read_sweep(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="cannot read"):
        read_sweep(tmp_path)
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot read"):
        read_sweep(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"seeds": 100_000_000, "splits": 1}, "1 split with 100,000,000 seeds: that is 200,000,000 runs"),
        (
            {
                "learners": ["mlp-sgd", "svm"],
                "vary": {
                    "inference.batch_size": {"low": 8, "high": 80, "count": 60, "whole": True},
                    "inference.momentum": {"low": 0.1, "high": 0.9, "count": 60},
                    "inference.learning_rate": {"low": 0.001, "high": 0.3, "count": 60, "scale": "log"},
                },
                "splits": 5,
                "seeds": 20,
            },
            "216,001 configurations, each on 5 splits with 20 seeds: that is 21,600,100 runs",
        ),
        (
            {"draws": 1_000_000, "vary": {"inference.momentum": {"draw": "uniform", "low": 0.1, "high": 0.9}}},
            "1,000,001 configurations",
        ),
    ],
)
def test_more_runs_than_are_planned_are_refused_before_they_are_made(stated, words):
    start = time.process_time()
    with pytest.raises(SpecError) as refused:
        settle(parse_sweep(SMALL | stated))
    assert time.process_time() - start < 1
    assert words in str(refused.value)
    assert re.search("Basin (plans at most 20,000 configurations|accepts at most 1,000,000 runs): ", str(refused.value))
