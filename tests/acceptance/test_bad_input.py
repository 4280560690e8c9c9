"""What a person gets wrong is told in a message that names the thing, what was expected and what to do."""

import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from services.store.store import Store
from tests.acceptance.conftest import EXECUTABLE, Basin

N = 40
RNG = np.random.default_rng(0)
X = [f"{value:.3f}" for value in RNG.standard_normal(N)]
Y = [f"{value:.3f}" for value in RNG.standard_normal(N)]
ONE_RUN = ("--splits", "1", "--seeds", "1")
CHEAP = ("--learners", "svm", *ONE_RUN, "--workers", "0")


def csv(columns: Mapping[str, Sequence[object]]) -> str:
    """A table as text."""
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))])


@pytest.fixture
def refused(command, tmp_path: Path):
    """`refused(*arguments)` is the message of a command that a person has to put right; nothing is left of it."""

    def run(*arguments: str | Path) -> str:
        before = {path.name for path in tmp_path.iterdir()}
        ended = command(*arguments)
        assert ended.status == 2
        assert ended.out == ""
        assert ended.err.startswith("error: ")
        assert "Traceback" not in ended.err
        assert "fault in Basin" not in ended.err
        assert {path.name for path in tmp_path.iterdir()} - before <= {"cache"}
        return ended.err

    return run


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digit"], ["no data set 'digit'", "'digits'", "openml:ID"]),
        (["iris", "--learners", "mlp-sdg"], ["unknown learner 'mlp-sdg'", "did you mean 'mlp-sgd'", ".yaml"]),
        (["iris", "--learners", "svm,svm"], ["learner 'svm' is named twice"]),
        (["iris", "--learners", "convnet"], ["learner 'convnet'", "images or sequences", "'mlp'"]),
        (["iris", "--target", "specis"], ["no column 'specis'", "did you mean 'species'"]),
        (["iris", "--task", "count"], ["'species' holds text", "use classes"]),
        (["iris", "--budget", "fast"], ["--budget", "'fast'", "'quick'", "basin compare --help"]),
        (["iris", "--splits", "0"], ["--splits", "greater than or equal to 1"]),
        (["iris", "--splits", "two"], ["--splits", "valid integer"]),
        (["iris", "--seeds", "0"], ["--seeds", "greater than or equal to 1"]),
        (["iris", "--learner", "svm"], ["no such option: --learner", "--learners"]),
        (["two-moons:sigma=1"], ["two-moons has no parameter 'sigma'", "'noise'"]),
        ([], ["DATASET", "name a dataset", "basin data list"]),
    ],
)
def test_what_is_not_known_is_told_with_what_is(arguments, words, refused):
    message = refused("compare", *arguments).lower()
    assert [word for word in words if word.lower() not in message] == []


def test_an_unknown_command_is_told_with_the_nearest(refused):
    assert "No such command 'comapre'. Did you mean 'compare'?" in refused("comapre", "iris")


# --- files ------------------------------------------------------------------------------------------------------------

TABLES = {
    "empty": ("", ["data.csv is empty", "a row per example"]),
    "a header only": ("x,y\n", ["data.csv has no rows"]),
    "no header": ("1,2\n3,4\n", ["data.csv has no header", "name the columns"]),
    "no table": ("It was a dark\nand stormy night\n", ["one column only", "needs a target"]),
    "bytes": ("\x00\x01,\x02\n", ["data.csv is no text", "zero bytes"]),
    "ragged": ("x,y\n1,2\n1,2,3\n", ["data.csv, line 3: 3 fields, expected 2", "quotation marks"]),
    "one column": (csv({"y": Y}), ["data.csv has one column only", "columns to learn from"]),
    "one row": (csv({"x": X[:1], "y": Y[:1]}), ["'data' has one row", "at least 20"]),
    "no such target": (csv({"x": X, "price": Y}), ["'data' has no column 'y'", "'price'"]),
    "a constant target": (csv({"x": X, "y": [3] * N}), ["target 'y' is '3' in every row", "choose another column"]),
    "no value of the target": (csv({"x": X, "y": [""] * N}), ["target 'y' is missing in every row"]),
    "no value of the only column": (csv({"x": [""] * N, "y": Y}), ["no column left", "'x'", "all values are missing"]),
    "infinity in the target": (csv({"x": X, "y": ["inf", *Y[1:]]}), ["target 'y' is infinite", "row 1", "correct"]),
    "infinity in a column": (csv({"x": ["-inf", *X[1:]], "y": Y}), ["column 'x' is infinite", "row 1"]),
    "one class in a split": (
        csv({"x": X, "y": ["a"] * (N - 3) + ["b"] * 3}),
        ["target 'y' has 1 class", "at least 5 rows", "add rows"],
    ),
    "a class per row": (
        csv({"x": X, "y": [f"c{i}" for i in range(N)]}),
        ["target 'y' has 40 different values in 40 rows", "too many classes", "merge classes"],
    ),
    "text among numbers": (
        csv({"x": [*X[:5], "heavy", *X[6:]], "y": Y}),
        ["column 'x' holds numbers", "row 6", "'heavy'", "write numbers alike there"],
    ),
    "columns of one name": ("x,y,x\n" + "1,2,3\n" * N, ["several columns named 'x'", "its own name"]),
    "ten thousand columns": (
        csv({f"x{j}": X for j in range(9_999)} | {"y": Y}),
        ["9,999 columns", "at most 2,000", "keep the ones that matter"],
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_file_that_cannot_be_compared_on_is_refused_with_the_reason(case, refused, tmp_path: Path):
    content, words = TABLES[case]
    (tmp_path / "data.csv").write_text(content)
    message = refused("compare", "data.csv", "--target", "y", *CHEAP)
    assert [word for word in words if word not in message] == []


def test_a_missing_file_is_told_with_the_nearest_and_a_table_asks_for_its_target(refused, tmp_path: Path):
    (tmp_path / "houses.csv").write_text(csv({"x": X, "y": Y}))
    assert "no file house.csv: did you mean 'houses.csv'?" in refused("compare", "house.csv", "--target", "y")
    assert "no folder nowhere" in refused("compare", "nowhere/data.csv", "--target", "y")
    assert "name the column to predict (--target, or `target` in a sweep), of 'x', 'y'" in refused(
        "compare", "houses.csv"
    )


def test_a_column_without_values_is_left_out_and_said(command, tmp_path: Path):
    (tmp_path / "data.csv").write_text(csv({"x": X, "void": [""] * N, "y": Y}))
    ended = command("compare", "data.csv", "--target", "y", *CHEAP)
    assert ended.status == 0
    assert "column 'void' was dropped: all values are missing" in ended.out


def test_without_a_network_openml_is_told_to_be_out_of_reach(refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    message = refused("compare", "openml:31", *CHEAP)
    assert "openml:31 is not in the cache, and cannot be fetched from OpenML" in message
    assert "check the network, or use a file" in message


# --- learner files ----------------------------------------------------------------------------------------------------

NET: dict[str, Any] = {
    "name": "net",
    "predictor": {"kind": "mlp", "widths": [4]},
    "inference": {"method": "optimise", "optimiser": "sgd", "epochs": 5},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"likelihood": {"kind": "gaussian"}}, ["learner 'net'", "'gaussian' does not fit", "'categorical'"]),
        ({"inferrence": {}}, ["net.yaml", "inferrence", "did you mean 'inference'"]),
        ({"inference": {"method": "optimise", "learning_rat": 1}}, ["inference.learning_rat", "'learning_rate'"]),
        ({"inference": {"method": "optimise", "epochs": "many"}}, ["net.yaml", "inference.epochs", "valid integer"]),
        ({"inference": {"method": "nuts"}}, ["net.yaml", "proper prior", "'normal'"]),
    ],
)
def test_a_fault_in_a_learner_file_is_told_with_its_path_and_the_remedy(change, words, refused, tmp_path: Path):
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(NET | change))
    message = refused("compare", "iris", "--learners", "net.yaml")
    assert [word for word in words if word not in message] == []


def test_a_learner_file_that_cannot_be_read_is_told_by_name(refused, tmp_path: Path):
    assert "no file 'nett.yaml'" in refused("compare", "iris", "--learners", "nett.yaml")
    (tmp_path / "net.yaml").write_text("name: [net")
    assert "'net.yaml' is not YAML" in refused("compare", "iris", "--learners", "net.yaml")
    (tmp_path / "net.yaml").write_text("")
    assert "net.yaml" in refused("compare", "iris", "--learners", "net.yaml")


# --- where things go --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_a_file_that_could_not_be_written_is_refused_before_anything_is_fitted(option, refused, tmp_path: Path):
    assert "there is no folder nowhere; make it first" in refused("compare", "iris", *CHEAP, option, "nowhere/out")
    (tmp_path / "out").mkdir()
    assert "cannot write out: it is a folder" in refused("compare", "iris", *CHEAP, option, "out")


def test_a_file_is_no_store_and_nothing_fits_below_it(refused, tmp_path: Path):
    (tmp_path / "thesis").write_text("")
    assert "thesis is a file: name a folder for the store" in refused("compare", "iris", *CHEAP, "--store", "thesis")
    message = refused("compare", "iris", *CHEAP, "--store", "thesis/store")
    assert "cannot write to the store in thesis/store: Not a directory" in message
    assert "--store or BASIN_STORE" in message


def test_a_file_is_no_cache(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "thesis").write_text("")
    monkeypatch.setenv("BASIN_CACHE", "thesis")
    assert "BASIN_CACHE" in refused("compare", "iris", *CHEAP)


def test_a_store_of_another_schema_version_is_refused_and_left_alone(refused, tmp_path: Path):
    (store := tmp_path / "old").mkdir()
    (store / "store.json").write_text('{"schema_version": 999}')
    for arguments in (["compare", "iris", *CHEAP], ["results"], ["store", "rebuild"]):
        message = refused(*arguments, "--store", "old")
        assert "schema version 999" in message
        assert "name another store" in message
    assert {path.name for path in store.iterdir()} == {"store.json"}
    assert (store / "store.json").read_text() == '{"schema_version": 999}'


def test_a_full_store_is_told_to_be_full_and_goes_on_when_there_is_room(command, tmp_path: Path):
    arguments = ["compare", "iris", *CHEAP]
    small_files = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh"]  # as on a full disk, no file can grow beyond 8 KiB
    ended = subprocess.run(
        [*small_files, EXECUTABLE, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    message = ended.stderr.splitlines()[-1]
    assert message.startswith("error: cannot ")
    assert "in store" in message
    assert "free some space" in message
    assert "Traceback" not in ended.stderr
    again = command(*arguments)
    assert again.status == 0
    assert "0 runs fitted by this command, 1 reused from the store" in again.out  # its bundle is a small file
    assert [path.name for path in (tmp_path / "store" / "bundles").iterdir() if not path.name.endswith(".zip")] == []


def test_an_address_where_nobody_answers_is_told_so(command, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    ended = command("compare", "iris", "--learners", "svm", *ONE_RUN, "--address", address)
    assert ended.status == 2
    assert f"error: nothing answers at '{address}'" in ended.err
    assert "check that the cluster runs" in ended.err
    assert Store(tmp_path / "store").runs().collect().is_empty()


def test_no_cluster_is_asked_for_work_in_this_process(refused):
    assert "--workers 0" in refused("compare", "iris", *CHEAP, "--address", "127.0.0.1:6379")


# --- learners that fail -----------------------------------------------------------------------------------------------


def test_a_learner_that_diverges_is_a_row_and_a_warning_and_the_others_are_unharmed(command, tmp_path: Path):
    wild = NET | {"name": "wild", "inference": NET["inference"] | {"learning_rate": 1e9}}
    (tmp_path / "wild.yaml").write_text(yaml.safe_dump(wild))
    both = command("compare", "diabetes", *CHEAP, "--learners", "svm,wild.yaml")
    assert both.status == 0
    assert "wild: diverged: " in " ".join(both.out.split())
    runs = Store(tmp_path / "store").runs().select("learner", "status").collect()
    assert dict(runs.iter_rows()) == {"svm": "finished", "wild": "diverged"}
    alone = command("compare", "diabetes", *CHEAP, "--learners", "wild.yaml")
    assert alone.status == 1
    assert "0 runs fitted by this command, 1 reused" in alone.out
    assert "no finished run" in alone.out
    assert "Traceback" not in both.err + alone.err


# --- --debug ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
def test_with_debug_anywhere_there_is_a_trace(place, basin: Basin):
    arguments = ["compare", "digit"]
    arguments.insert(place, "--debug")
    ended = basin.run(*arguments)
    assert ended.status == 1
    assert "Traceback" in ended.stderr
    assert "DataError: no data set 'digit'" in ended.stderr


def test_without_debug_there_is_none(basin: Basin):
    ended = basin.run("compare", "digit")
    assert ended.status == 2
    assert ended.stderr.count("\n") == 1
