"""`basin sweep`: what it prints, stores and refuses."""

import json
from pathlib import Path

import pytest
import yaml

from models.runs.events import Event, Result
from services.commands.progress import ProgressView
from services.store.store import Store
from services.sweeps.definition import Sweep

SWEEP = {
    "name": "tiny",
    "datasets": ["two-moons:n=120", "iris"],
    "learners": [
        {
            "name": "net",
            "predictor": {"kind": "mlp", "widths": [3]},
            "inference": {"method": "optimise", "epochs": 2, "batch_size": 32},
        },
        "svm",
    ],
    "budget": "quick",
    "splits": 1,
    "vary": {"inference.learning_rate": [0.01, 0.1]},
}
HERE = ("--workers", "0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    return Path("tiny.yaml")


def rows(text: str) -> list[list[str]]:
    """The lines below a table's rule, up to an empty one, as words."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith("──"))
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append(line.split())
    return found


def test_a_check_tells_what_would_be_fitted_and_makes_nothing(command, file, tmp_path: Path):
    ended = command("sweep", "check", file)
    assert (ended.status, ended.err) == (0, "")
    assert [row[:5] for row in rows(ended.out)] == [
        ["two-moons:n=120", "net", "2", "0", "1"],
        ["two-moons:n=120", "svm", "1", "0", "1"],
        ["iris", "net", "2", "0", "1"],
        ["iris", "svm", "1", "0", "1"],
    ]
    assert all(row[5].startswith("~") and row[-1] == "MiB" for row in rows(ended.out))  # by rule of thumb
    said = " ".join(ended.out.split())
    assert "tiny: 6 runs on 1 split with 1 seed each, 0 stored already; 4 programs to compile, 4 packs or more." in said
    assert "inference.learning_rate varies net; svm without it." in said
    assert "Nothing is measured after the fits." in said
    assert "Next: basin sweep run tiny.yaml" in said
    assert not (tmp_path / "store").exists()


def test_what_the_file_says_is_measured_after_the_fits_and_once(command, tmp_path: Path):
    asked = SWEEP | {"measures": ["l2_norm"], "connections": {"points": 3, "bezier_steps": 0}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(asked))
    ahead = command("sweep", "check", "tiny.yaml")
    assert "Then to be measured: l2_norm, the loss along paths between runs." in " ".join(ahead.out.split())
    first = command("sweep", "run", "tiny.yaml", *HERE)
    assert first.status == 0
    assert "8 of 8 requests measured; 0 values were there before" in first.err
    assert "Next: basin geometry tiny" in first.out
    assert "finished: 8 of 8 requests measured" in " ".join(command("sweep", "status", "tiny").out.split())
    again = command("sweep", "run", "tiny.yaml", *HERE)
    assert "0 of 0 requests measured; 6 values were there before" in again.err


def test_a_sweep_is_run_once_and_listed(command, file, tmp_path: Path):
    first = command("sweep", "run", file, *HERE)
    assert first.status == 0
    assert rows(first.out) == [["net", "4", "4", "0", "0", "0"], ["svm", "2", "2", "0", "0", "0"]]
    assert "6 runs fitted by this command, 0 reused" in first.out
    assert "Next: basin measure tiny, then: basin geometry tiny" in first.out
    again = command("sweep", "run", file, *HERE)
    assert "0 runs fitted by this command, 6 reused" in again.out
    assert (
        "tiny: 6 runs on 1 split with 1 seed each, 6 stored already; 0 programs" in command("sweep", "check", file).out
    )

    store = Store(tmp_path / "store")
    assert store.sweeps() == ["tiny"]
    assert set(store.sweep("tiny")[1]["run_key"]) == set(store.runs().collect()["run_key"])
    command("compare", "iris", "--learners", "svm", "--splits", "2", "--seeds", "1", *HERE, "--name", "mine")
    command("compare", "iris", "--learners", "svm", "--splits", "1", "--seeds", "1", *HERE)
    assert rows(command("sweep", "list").out) == [
        ["compare-iris-standard", "1", "1", "1", "1", "finished"],
        ["mine", "1", "1", "2", "2", "finished"],
        ["tiny", "2", "2", "6", "6", "finished"],
    ]


def test_a_check_goes_by_runs_like_these_once_there_are_some(command, file):
    command("compare", "iris", "--learners", "svm", "--budget", "quick", "--splits", "1", *HERE)
    document = json.loads(command("sweep", "check", file, "--json").out)
    assert (document["runs"], document["stored"], document["programs"]) == (6, 1, 3)
    known = {(row["dataset"], row["learner"]): row for row in document["learners"]}
    assert [known["iris", name]["runs_like_it"] for name in ("net", "svm")] == [0, 1]
    assert known["iris", "svm"]["cpu_hours"] == 0
    assert all(row["worker_bytes"] > 1e8 for row in known.values())


def test_the_status_says_what_became_of_the_runs(command, file):
    command("sweep", "run", file, *HERE)
    said = command("sweep", "status", "tiny")
    assert rows(said.out) == [["net", "4", "4", "0", "0", "0"], ["svm", "2", "2", "0", "0", "0"]]
    assert "finished: 6 of 6 runs done (0 stored before)" in " ".join(said.out.split())
    document = json.loads(command("sweep", "status", "tiny", "--json").out)
    assert document["standing"]["state"] == "finished"
    assert document["standing"]["ended"] == {"finished": 6}
    assert not document["standing"]["alive"]
    assert "no sweep 'tony'" in command("sweep", "status", "tony").err


def test_a_sweep_is_resumed_without_its_file(command, file, tmp_path: Path):
    command("sweep", "run", file, *HERE)
    (tmp_path / file).unlink()
    assert "0 runs fitted by this command, 6 reused" in command("sweep", "resume", "tiny", *HERE).out


def test_only_failed_runs_are_tried_again_where_that_is_asked(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BASIN_RUN_HOURS", "1e-9")  # the net fails by its first word; the SVM says none on its way
    net = SWEEP["learners"][0]
    (tmp_path / "f.yaml").write_text(
        yaml.safe_dump(SWEEP | {"datasets": ["two-moons:n=120"], "learners": [net], "vary": {}})
    )
    assert "1 run failed" in command("sweep", "run", "f.yaml", *HERE).out
    (tmp_path / "f.yaml").write_text(
        yaml.safe_dump(SWEEP | {"datasets": ["two-moons:n=120"], "learners": [net, "svm"], "vary": {}})
    )
    again = command("sweep", "run", "f.yaml", "--only-failed", *HERE)
    assert "! 1 run failed" in again.out
    assert rows(again.out) == [["net", "1", "0", "0", "1", "0"], ["svm", "1", "0", "0", "0", "0"]]


def test_what_is_not_being_run_cannot_be_stopped(command, file):
    command("sweep", "run", file, *HERE)
    assert "is not being run: there is nothing to stop" in command("sweep", "stop", "tiny").err


def test_runs_that_a_comparison_has_are_not_fitted_again(command, file):
    command("compare", "iris", "--learners", "svm", "--budget", "quick", "--splits", "1", *HERE)
    assert "5 runs fitted by this command, 1 reused" in command("sweep", "run", file, *HERE).out


def test_an_interrupt_keeps_what_is_finished(command, file, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[Event] = []
    consume = ProgressView.consume

    def interrupt(self: ProgressView, event: Event) -> None:
        consume(self, event)
        seen.append(event)
        if sum(isinstance(each, Result) for each in seen) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ProgressView, "consume", interrupt)
        ended = command("sweep", "run", file, *HERE)
    assert ended.status == 130
    assert "interrupted: finished runs are kept in store; the same command goes on from here" in ended.err
    assert "Traceback" not in ended.err
    assert Store(tmp_path / "store").sweeps() == ["tiny"]
    assert "4 runs fitted by this command, 2 reused" in command("sweep", "run", file, *HERE).out


def test_a_sweep_of_which_nothing_is_finished_ends_badly_and_says_why(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BASIN_RUN_HOURS", "1e-9")
    net = SWEEP["learners"][0]
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(SWEEP | {"learners": [net], "datasets": ["iris"], "vary": {}}))
    ended = command("sweep", "run", "bad.yaml", *HERE)
    assert ended.status == 1
    assert rows(ended.out) == [["net", "1", "0", "0", "1", "0"]]
    assert "! 1 run failed: " in ended.out
    assert "BASIN_RUN_HOURS" in ended.out


def test_a_formula_that_the_data_cannot_have_is_refused_before_anything_is_fitted(command, tmp_path: Path):
    typo = {"name": "typo", "predictor": {"kind": "formula", "formula": "x9"}, "inference": {"method": "pymc"}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(SWEEP | {"learners": [typo], "datasets": ["iris"], "vary": {}}))
    ended = command("sweep", "run", "bad.yaml", *HERE)
    assert ended.status == 2
    assert "learner 'typo': formula 'x9' has an unknown column 'x9'; the columns are" in ended.err


def test_the_schema_is_that_of_a_sweep_file(command):
    assert json.loads(command("schema", "sweep").out) == Sweep.model_json_schema()


WRONG = {
    "a path that no learner has": ({"vary": {"learning_rate": [1]}}, ["did you mean 'inference.learning_rate'"]),
    "a value that cannot be": ({"vary": {"inference.epochs": [0]}}, ["'net' cannot have inference.epochs = 0"]),
    "an unknown key": ({"dataset": "iris"}, ["bad.yaml.dataset: unknown key; did you mean 'datasets'"]),
    "an unknown dataset": ({"datasets": ["iriss"]}, ["no data set 'iriss': did you mean 'iris'"]),
    "a missing file": ({"datasets": ["none.csv"]}, ["no file none.csv"]),
    "a target that is not there": ({"datasets": [{"data": "iris", "target": "x"}]}, ["no column 'x'"]),
    "an unknown measure": ({"measures": ["l2_nom"]}, ["unknown measure 'l2_nom': did you mean 'l2_norm'"]),
    "a setting that a measure has not": (
        {"measures": [{"measure": "l2_norm", "p": 1}]},
        ["l2_norm.p: unknown setting"],
    ),
    "a likelihood that does not fit": (
        {"learners": [SWEEP["learners"][0] | {"likelihood": {"kind": "poisson"}}]},
        ["learner 'net'", "'poisson' does not fit"],
    ),
}


@pytest.mark.parametrize("action", [("check",), ("run", *HERE)], ids=["check", "run"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_message_and_nothing_is_made(case, action, command, tmp_path: Path):
    change, words = WRONG[case]
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(SWEEP | change))
    ended = command("sweep", action[0], "bad.yaml", *action[1:])
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert "fault in Basin" not in ended.err
    assert [word for word in words if word not in ended.err] == []
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check"], ["missing argument", "file"]),
        (["check", "none.yaml"], ["no file 'none.yaml': give the path of a sweep file"]),
        (["check", "."], ["cannot read '.'"]),
        (["run", "tiny.yaml", "--workers", "0", "--address", "x:1"], ["--workers 0", "no cluster is asked"]),
        (["run", "tiny.yaml", "--gpus", "1.5"], ["--gpus", "1.5"]),
        (["list"], ["no store in store"]),
        (["chek"], ["no such command 'chek'", "'check'"]),
    ],
)
@pytest.mark.usefixtures("file")
def test_a_wrong_command_is_one_message(arguments, words, command):
    ended = command("sweep", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert [word for word in words if word not in ended.err.lower()] == []


def test_a_comparison_refuses_a_name_that_is_none(command, tmp_path: Path):
    ended = command("compare", "iris", "--learners", "svm", *HERE, "--name", "../up")
    assert ended.status == 2
    assert "--name" in ended.err
    assert "'../up': expected letters, digits" in ended.err
    assert not (tmp_path / "store").exists()
