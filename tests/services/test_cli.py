"""The command's help, and what it prints and writes when all is well; see `tests/acceptance` for what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from models.spec.learner import Learner
from services.comparison.document import Document
from services.sweeps.learners import presets

CHEAP = ("--learners", "svm,linear-map", "--splits", "2", "--seeds", "1", "--workers", "0")


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["compare"],
        ["results"],
        ["learners"],
        ["data"],
        ["data", "list"],
        ["data", "show"],
        ["store"],
        ["store", "rebuild"],
        ["schema"],
        ["schema", "compare"],
        ["schema", "learner"],
        ["schema", "sweep"],
        ["sweep"],
        ["sweep", "check"],
        ["sweep", "run"],
        ["sweep", "list"],
        ["measures"],
        ["measure"],
        ["geometry"],
        ["audit"],
    ],
)
def test_help_fits_80_columns(words, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = command(*words, "--help")
    assert ended.status == 0
    assert "Usage: basin" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["compare"],
        ["results"],
        ["learners"],
        ["data", "show"],
        ["sweep"],
        ["sweep", "check"],
        ["sweep", "run"],
        ["measure"],
        ["geometry"],
        ["audit"],
    ],
)
def test_help_teaches_by_example(words, command):
    lines = [line.rstrip() for line in command(*words, "--help").out.splitlines()]
    assert sum(line.startswith("   basin ") for line in lines) >= 2  # each on a line of its own, to be copied


@pytest.mark.parametrize("words", [[], ["data"], ["store"], ["schema"], ["sweep"]])
def test_without_a_command_there_is_help(words, command):
    ended = command(*words)
    assert (ended.status, ended.err) == (2, "")
    assert "Commands" in ended.out


def test_help_and_mistakes_wait_for_no_heavy_import():
    program = """
import sys
from services import cli

sys.argv = ["basin", "compare", "iris", "--learners", "mlp"]
try:
    cli.main()
except SystemExit:
    print(sorted({"jax", "polars", "sklearn", "pymc", "ray"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "unknown learner 'mlp'" in found.stderr
    assert found.stdout == "[]\n"


# --- compare ----------------------------------------------------------------------------------------------------------


def test_a_comparison_is_printed_and_written_and_not_made_twice(command, tmp_path: Path):
    first = command("compare", "iris", *CHEAP, "--json", "out.json", "--report", "out.html")
    assert first.status == 0
    assert "iris: 150 rows, target species (classes)" in first.out
    assert "Verdict" in first.out
    assert "4 runs fitted by this command, 0 reused" in first.out
    assert first.err.endswith("wrote out.json\nwrote out.html\n")
    document = Document.model_validate_json((tmp_path / "out.json").read_text())
    assert {learner.name for learner in document.learners} == {"svm", "linear-map"}
    assert document.verdict.split()[0] in first.out
    assert "<html" in (tmp_path / "out.html").read_text()

    second = command("compare", "iris", *CHEAP, "--json", "again.json")
    again = Document.model_validate_json((tmp_path / "again.json").read_text())
    assert (again.fitted, again.reused) == (0, 4)
    assert again.learners == document.learners
    assert again.comparisons == document.comparisons
    assert "0 runs fitted by this command, 4 reused" in second.out


def test_what_was_done_to_the_data_is_said(command, tmp_path: Path):
    rng = np.random.default_rng(0)
    n = 60
    frame = pl.DataFrame(
        {
            "id": [f"u{i}" for i in range(n)],
            "size": [None if i % 9 == 0 else v for i, v in enumerate(rng.standard_normal(n))],
            "colour": rng.choice(["red", "blue"], n),
            "fixed": [1] * n,
            "price": (price := rng.standard_normal(n)),
            "leak": 2 * price + 1,
        }
    )
    frame.write_csv(tmp_path / "houses.csv")
    said = " ".join(command("compare", "houses.csv", "--target", "price", *CHEAP).out.split())
    for words in (
        "target price (real)",
        "task 'real' inferred",
        "column 'id' was dropped: all values differ",
        "column 'fixed' was dropped: constant",
        "'size': missing values were filled from the training part (median, most frequent level), with an indicator",
        "! LEAK: column 'leak' is a copy of the target 'price' and was dropped",
    ):
        assert words in said


# --- the other commands -----------------------------------------------------------------------------------------------


def test_schemas_are_those_of_what_is_written_and_read(command):
    assert json.loads(command("schema", "compare").out) == Document.model_json_schema()
    assert json.loads(command("compare", "--schema").out) == Document.model_json_schema()
    assert json.loads(command("schema", "learner").out) == Learner.model_json_schema()


def test_every_learner_is_listed_and_its_settings_read_back_equal(command):
    listed = command("learners").out
    for name, learner in presets("standard").items():
        assert f"\n{name} " in listed
        assert Learner.model_validate(yaml.safe_load(command("learners", name).out)) == learner


def test_datasets_are_listed_with_a_way_to_more(command):
    listed = command("data", "list").out
    assert {"digits", "iris", "two-moons"} <= {line.split()[0] for line in listed.splitlines() if line}
    assert "basin data show NAME" in listed


def test_a_dataset_is_shown_with_shape_target_missing_licence_and_source(command):
    shown = command("data", "show", "digits").out
    for words in ("1,797 rows", "8 x 8 x 1", "digit (classes)", "missing", "none", "CC BY 4.0", "scikit-learn"):
        assert words in shown


def test_what_is_stated_of_a_file_holds_and_what_cannot_be_is_refused(command, tmp_path):
    rows = [f"{k % 7},5:{k * k},25:00{k % 3}:{'none' if k % 10 == 0 else k % 4}" for k in range(40)]
    (tmp_path / "odd.txt").write_text("\n".join(["a:y:zip:b", *rows]))
    stated = ("--separator", ":", "--decimal", ",", "--missing", "none", "--types", "zip=text")
    shown = command("data", "show", "odd.txt", "--target", "y", *stated).out
    for words in ("separated by ':'", "zip", "b: 4", "3 of 3 columns used"):
        assert words in shown
    for option, value, words in (
        ("--decimal", "x", "expected '.' or ','"),
        ("--separator", "ab", "expected one character"),
        ("--types", "zip=code", "'number', 'text' or 'date'"),
        ("--types", "zip", "expected COLUMN=KIND"),
        ("--types", "zap=text", "'zip'"),
    ):
        ended = command("data", "show", "odd.txt", "--target", "y", "--separator", ":", option, value)
        assert (ended.status, option in ended.err or "zap" in ended.err) == (2, True)
        assert words.split("expected ")[-1] in ended.err


def test_results_are_filtered_selected_and_written_in_each_format(command):
    command("compare", "iris", *CHEAP)
    asked = ("results", "runs", "--where", "learner=svm", "--select", "learner,split,status", "--sort", "-split")
    expected = [{"learner": "svm", "split": split, "status": "finished"} for split in (1, 0)]
    assert json.loads(command(*asked, "--format", "json").out) == expected
    assert command(*asked, "--format", "csv").out == "learner,split,status\nsvm,1,finished\nsvm,0,finished\n"
    assert "2 rows" in command(*asked).out
    assert "1 row\n" in command(*asked, "--limit", "1").out


def test_rebuilding_says_how_many_runs_there_are_and_makes_no_store(command, tmp_path: Path):
    none = command("store", "rebuild")
    assert none.status == 2
    assert "no store in store: `basin compare` makes one" in none.err
    assert not (tmp_path / "store").exists()
    command("compare", "iris", *CHEAP)
    assert command("store", "rebuild").out == "4 runs are in the tables again\n"
