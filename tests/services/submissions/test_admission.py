"""What a sweep from the network may name, and how much it may ask for."""

import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.data.dataset import DataError
from models.spec.settings import SpecError
from services.submissions.admission import admit

SVM = {"name": "mine", "predictor": {"kind": "svm"}, "inference": {"method": "library"}}


def sweep(**stated: Any) -> dict[str, Any]:
    return {"name": "a", "datasets": ["iris"], "learners": ["svm"], "budget": "quick"} | stated


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that sweeps may name files of, beside one that they may not."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "table.csv").write_text("x,y\n1,2\n")
    (root / "mine.yaml").write_text(yaml.safe_dump(SVM))
    (tmp_path / "secret.csv").write_text("x,y\n1,2\n")
    (tmp_path / "secret.yaml").write_text(yaml.safe_dump(SVM))
    (root / "link.csv").symlink_to(tmp_path / "secret.csv")
    (root / "out").symlink_to(tmp_path)
    return root


def test_a_sweep_is_settled_and_its_runs_are_counted():
    settled, runs = admit(sweep(vary={"predictor.c": [1, 10, 100]}, splits=4, seeds=2), ())
    assert settled.learners is not None and [learner.name for learner in settled.learners] == ["svm"]
    assert runs == 3 * 4 * 2


@pytest.mark.parametrize("name", ["iris", "two-moons:n=50,noise=0.1", "random-labels:iris", "openml:61"])
def test_datasets_with_a_name_need_no_folder(name: str):
    assert admit(sweep(datasets=[name]), ()).sweep.datasets[0].data == name


def test_files_go_by_their_whole_paths_or_from_a_folder(root: Path):
    for name in ("inner/table.csv", str(root / "inner" / "table.csv"), "inner/../inner/table.csv"):
        (data,) = admit(sweep(datasets=[{"data": name, "target": "y"}]), (root,)).sweep.datasets
        assert data.data == str((root / "inner" / "table.csv").resolve())
    (learner,) = admit(sweep(learners=["mine.yaml"]), (root,)).sweep.learners or ()
    assert getattr(learner, "name", None) == "mine"


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"target": "z"}, "'table' has no column 'z' for a target: its columns are 'x', 'y'"),
        ({}, "inner/table.csv needs a target: name the column to predict (--target, or `target` in a sweep)"),
    ],
)
def test_a_file_without_the_target_is_refused_and_not_said_where_it_lies(root: Path, stated: dict[str, Any], said: str):
    with pytest.raises(DataError) as refused:
        admit(sweep(datasets=[{"data": "inner/table.csv"} | stated]), (root,))
    assert str(refused.value).startswith(said)
    assert str(root) not in str(refused.value)


OUTSIDE = [
    "../secret.csv",
    "out/secret.csv",
    "link.csv",
    "/etc/passwd",
    "//etc/passwd.csv",
    "nothing.csv",
    "inner",
    "random-labels:../secret.csv",
    "http://169.254.169.254/latest/meta-data.csv",
    "https://example.org/table.csv",
    "file:///etc/passwd",
    "s3://bucket/table.parquet",
    "\\\\server\\share.csv",
    "./inner/table.csv\0.npz",
    "~/table.csv",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_else_is_read_or_fetched(root: Path, name: str):
    for roots in ((root,), ()):
        with pytest.raises((SpecError, DataError)):
            admit(sweep(datasets=[{"data": name, "target": "y"}]), roots)


@pytest.mark.parametrize("name", ["../secret.yaml", "out/secret.yaml", "/etc/hosts.json", "http://example.org/a.yaml"])
def test_no_learner_file_from_elsewhere_is_read(root: Path, name: str, tmp_path: Path):
    for roots in ((root,), ()):
        with pytest.raises(SpecError, match=r"there is no such file|lets sweeps name no files|nothing is fetched"):
            admit(sweep(learners=[name]), roots)
    with pytest.raises(SpecError, match="lets sweeps name no files"):
        admit(sweep(learners=[str(tmp_path / "secret.yaml")]), ())


def test_whether_there_is_a_file_elsewhere_cannot_be_found_out(root: Path, tmp_path: Path):
    told = set()
    for name in ("secret.csv", "absent.csv"):
        with pytest.raises(SpecError) as refused:
            admit(sweep(datasets=[f"../{name}"]), (root,))
        told.add(str(refused.value).replace(name, "NAME"))
    assert len(told) == 1


def test_a_file_in_the_folder_where_the_server_runs_is_not_meant(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root.parent)
    with pytest.raises(SpecError, match="no such file"):
        admit(sweep(datasets=["secret.csv"]), (root,))
    assert os.path.exists("secret.csv")  # noqa: PTH110


def test_an_unknown_dataset_is_refused_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'iris'"):
        admit(sweep(datasets=["irsi"]), ())
    with pytest.raises(DataError, match="neither an id nor a name"):
        admit(sweep(datasets=["openml:../../etc"]), ())


@pytest.mark.parametrize(
    "stated",
    [
        {"splits": 10**9},
        {"seeds": 10**6, "splits": 10},
        {"vary": {"predictor.c": {"low": 1, "high": 2, "count": 1000}, "predictor.gamma": list(range(1, 1000))}},
        {"draws": 10**9, "vary": {"predictor.c": {"draw": "uniform", "low": 1, "high": 2}}},
    ],
)
def test_more_than_a_server_plans_is_refused_before_it_is_worked_out(stated: dict[str, Any]):
    with pytest.raises(SpecError, match=r"and a server (plans|accepts) at most"):
        admit(sweep(**stated), ())


@pytest.mark.parametrize(
    "stated",
    [
        {"name": "../../up"},
        {"name": "<script>alert(1)</script>"},
        {"name": "a\r\nSet-Cookie: x"},
        {"name": ""},
        {"datasets": []},
        {"datasets": ["a\nb"]},
        {"datasets": ["x" * 100_000]},
        {"datasets": ["random-labels:" * 100_000 + "iris"]},
        {"learners": ["\x1b[31m.yaml"]},
        {"learners": ["\ud800"]},
        {"unknown": 1},
        {"vary": {"predictor.c": [float("inf")]}},
        {"vary": {"predictor.c": ["\ud800"]}},
        {"vary": {"__class__": [1]}},
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused(stated: dict[str, Any]):
    with pytest.raises((SpecError, DataError)) as refused:
        admit(sweep(**stated), ())
    assert len(str(refused.value)) < 2_000


@pytest.mark.parametrize("given", [None, [], "iris", 3, True])
def test_what_is_no_mapping_is_refused(given: Any):
    with pytest.raises(SpecError, match="expected a mapping"):
        admit(given, ())


LONG, SHORT = "x" * 4_000_000, "x" * 400
BOMBS = {
    "empty lists": {"datasets": [[]] * 9_900},
    "more of them than values are taken": {"datasets": [[]] * 20_000},
    "empty learners": {"learners": [{}] * 9_900},
    "learners": {"learners": [f"{SHORT}{i}" for i in range(9_900)]},
    "settings": {"vary": {f"k{i}": [1] for i in range(4_900)}},
    "a long path": {"vary": {"a." * 2_000_000: [1]}},
    "long values": {"vary": {"predictor.c": [SHORT] * 9_900}},
    "a long name": {"name": LONG},
    "a long dataset": {"datasets": [LONG]},
    "a long learner": {"learners": [LONG]},
    "a long learner file": {"learners": [f"{LONG}.yaml"]},
    "a long key": {LONG: 1},
    "unknown keys": {f"k{i}": 1 for i in range(9_900)},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_is_enormous_is_refused_in_little_time_memory_and_words(bomb: str):
    admit(sweep(), ())  # what is imported when it is first needed
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises((SpecError, DataError)) as refused:
            admit(sweep(**BOMBS[bomb]), ())
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 3  # several times as long as without counting memory
    assert len(str(refused.value)) < 6_000


def test_configurations_are_checked_one_by_one():
    asked = {"low": 0.1, "high": 0.2, "count": 40}
    varied = sweep(learners=["mlp-sgd"], vary={"inference.learning_rate": asked, "inference.momentum": asked})
    admit(sweep(learners=["mlp-sgd"]), ())  # what is imported when it is first needed
    tracemalloc.start()
    try:
        assert admit(varied, ()).runs == 40 * 40 * 3
        assert tracemalloc.get_traced_memory()[1] < 1.5e6
    finally:
        tracemalloc.stop()


def formula(text: str) -> dict[str, Any]:
    return {"name": "g", "predictor": {"kind": "formula", "formula": text}, "inference": {"method": "pymc"}}


@pytest.mark.parametrize(
    "hostile",
    ["__import__('os')", 'pd.io.common.os.system["x"]("touch PWNED")', "I(10**(10**9))", "a %in% b", "x.values", "{x}"],
)
def test_a_hostile_formula_is_refused_wherever_a_sweep_may_state_one(hostile: str, root: Path):
    for stated in (
        {"learners": [formula(hostile)]},
        {"learners": [formula("x")], "vary": {"predictor.formula": ["x", hostile]}},
        {"learners": [formula("x")], "vary": {"predictor": [formula(hostile)["predictor"]]}},
        {"learners": [formula("x")], "vary": {"predictor.formula": {"draw": "choice", "values": [hostile]}}},
    ):
        with pytest.raises(SpecError, match="formula"):
            admit(sweep(**stated), ())
    (root / "mine.yaml").write_text(yaml.safe_dump(formula(hostile)))
    with pytest.raises(SpecError, match="formula"):
        admit(sweep(learners=["mine.yaml"]), (root,))


def test_a_formula_may_name_what_a_file_has(root: Path):
    (root / "table.csv").write_text("my age,colour,y\n1,red,2\n")
    data = {"datasets": [{"data": "table.csv", "target": "y"}]}
    for known in ("my_age + (1|colour)", "colour__red:my_age", "my_age__missing", "colour_2"):
        admit(sweep(learners=[formula(known)], **data), (root,))
    for unknown, said in (
        ("my_ag", "did you mean 'my_age'"),
        ("y", "has an unknown column 'y'"),
        ("zzz", "the columns"),
    ):
        with pytest.raises(SpecError) as caught:
            admit(sweep(learners=[formula("colour")], vary={"predictor.formula": [unknown]}, **data), (root,))
        assert said in str(caught.value) and str(root) not in str(caught.value)
