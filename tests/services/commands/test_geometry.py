"""`basin measures`, `measure`, `geometry` and `audit`: what they print, store and refuse."""

import json
from pathlib import Path

import polars as pl
import pytest
import typer
import yaml

from services.commands.geometry import parse_measures
from services.geometry.document import AuditDocument, GeometryDocument
from services.store.store import Store

SWEEP = {
    "name": "tiny",
    "datasets": ["two-moons:n=120"],
    "learners": [
        {
            "name": "net",
            "predictor": {"kind": "mlp", "widths": [3]},
            "inference": {"method": "optimise", "epochs": 2, "batch_size": 32},
        },
        "svm",
    ],
    "budget": "quick",
    "splits": 2,
    "seeds": 1,
    "vary": {"inference.learning_rate": [0.01, 0.1]},
    "measures": ["l2_norm", {"measure": "sharpness_sam", "rho": 0.1}],
}
HERE = ("--workers", "0")


@pytest.fixture
def fitted(command, tmp_path: Path):
    """The command, in a folder whose store has the sweep fitted."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    assert command("sweep", "run", "tiny.yaml", *HERE).status == 0
    return command


def test_a_sweep_is_measured_told_and_audited(fitted, tmp_path: Path):
    first = fitted("measure", "tiny", "--paths", *HERE)
    assert first.status == 0, first.err
    assert "Next: basin geometry tiny" in first.err
    rows = Store(tmp_path / "store").scan("geometry").collect()
    later = rows.filter(pl.col("measurement") != pl.col("run_key"))
    assert sorted(later["measure"].unique()) == ["l2_norm", "sharpness_sam"]
    assert later.filter(measure="sharpness_sam")["settings"].str.json_path_match("$.rho").unique().to_list() == ["0.1"]
    assert dict(later["status"].value_counts().iter_rows()) == {"converged": 8, "not_applicable": 4}
    connections = Store(tmp_path / "store").scan("connections").collect()
    assert sorted(connections["method"].unique()) == ["aligned", "bezier", "linear"]

    again = fitted("measure", "tiny", "--paths", *HERE)
    assert again.status == 0 and "0 of 0 requests measured" in again.err
    assert Store(tmp_path / "store").scan("geometry").collect().equals(rows)

    told = fitted("geometry", "tiny", "--json", "tiny.json")
    assert told.status == 0, told.err
    for words in ("sharpness_sam", "svm is a black box", "Kendall's rank correlation", "Verdict", "Barriers"):
        assert words in " ".join(told.out.split())
    document = GeometryDocument.model_validate_json((tmp_path / "tiny.json").read_text())
    assert document.n_runs == 6 and document.varied == ("inference.learning_rate",)

    audited = fitted("audit", "tiny", "--json", "audit.json")
    assert audited.status == 0, audited.err
    assert "Audit of net on two-moons:n=120" in audited.out
    rows = AuditDocument.model_validate_json((tmp_path / "audit.json").read_text()).rows
    assert all(row.agrees for row in rows if row.moved is not None)
    assert {row.measure for row in rows if row.moved} == {"l2_norm", "sharpness_sam"}


def test_an_audit_starts_from_what_the_runs_stored(command, tmp_path: Path):
    """Also where training began; and each of a measure's components has one line."""
    measures = ["distance_from_initialisation", "hessian_trace", "normalised_margin", "l2_norm"]
    spec = {**SWEEP, "learners": SWEEP["learners"][:1], "measures": measures, "splits": 1}
    del spec["vary"]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(spec))
    fitted = command("sweep", "run", "tiny.yaml", *HERE)
    assert fitted.status == 0, fitted.err
    audited = command("audit", "tiny", "--json", "audit.json")
    assert audited.status == 0, audited.err
    stored = {
        (row["run_key"], row["measure"], row["component"]): row
        for row in Store(tmp_path / "store").scan("geometry").collect().iter_rows(named=True)
    }
    rows = AuditDocument.model_validate_json((tmp_path / "audit.json").read_text()).rows
    held = set()
    for row in rows:
        if row.before is not None:
            kept = stored[row.run_key, row.measure, row.component]
            assert row.before == pytest.approx(kept["value"], rel=2e-3, abs=1e-6 + 4 * kept["standard_error"]), row
            held.add(row.measure)
    assert held == set(measures)
    assert audited.out.count("normalised_margin") == 4


def test_lines_fit_the_terminal(fitted, monkeypatch):
    fitted("measure", "tiny", "--paths", *HERE)
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        for words in (("geometry", "tiny"), ("audit", "tiny"), ("measures",), ("measures", "sharpness_l2")):
            assert max(map(len, fitted(*words).out.splitlines())) <= width


def test_a_comparison_can_be_measured_too(command):
    learners = ("--learners", "linear-map,svm", "--splits", "1", "--seeds", "1")
    assert command("compare", "iris", "--name", "first", *learners, *HERE).status == 0
    assert command("measure", "first", "--measures", "l2_norm", *HERE).status == 0
    assert "l2_norm" in command("geometry", "first").out


def test_a_sweep_without_measures_says_what_to_do(fitted):
    told = fitted("geometry", "tiny")
    assert told.status == 0
    assert "hessian_trace" in told.out  # measured with the fits


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("measure", "tiny", "--measures", "sharpnes_l2"),
            "unknown measure 'sharpnes_l2': did you mean 'sharpness_l2'",
        ),
        (("measure", "tiny", "--measures", "sharpness_l2:rh=1"), "sharpness_l2.rh: unknown setting; it has rho"),
        (("measure", "tiny", "--measures", "sharpness_l2:rho=-1"), "sharpness_l2.rho: Input should be greater than 0"),
        (("measure", "tiny", "--measures", "sharpness_l2:rho"), "expected a setting as in sharpness_l2:key=value"),
        (("measure", "tny"), "no sweep 'tny' in store: did you mean 'tiny'"),
        (("geometry", "tny"), "no sweep 'tny' in store: did you mean 'tiny'"),
        (("audit", "tny"), "no sweep 'tny' in store: did you mean 'tiny'"),
        (("geometry", "tiny", "--json", "no/such/file.json"), "there is no folder no/such"),
        (("measures", "hesian_trace"), "did you mean 'hessian_trace'"),
        (("measure", "tiny", "--draws", "0"), "--draws"),
    ],
)
def test_a_mistake_is_one_message(fitted, words, said):
    extra = HERE if words[0] == "measure" else ()
    ended = fitted(*words, *extra)
    assert ended.status == 2
    assert said in ended.err and "Traceback" not in ended.err


def test_data_that_changed_is_refused(command, tmp_path: Path):
    lines = [f"{i},{i % 7},{i % 2}" for i in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,y", *lines]))
    learners = ("--learners", "linear-map", "--splits", "1", "--seeds", "1", "--name", "csv")
    fitted = command("compare", "table.csv", "--target", "y", *learners, *HERE)
    assert fitted.status == 0, fitted.err
    (tmp_path / "table.csv").write_text("\n".join(["a,b,y", *lines[::-1][:-1]]))
    ended = command("measure", "csv", "--measures", "l2_norm", *HERE)
    assert ended.status == 2
    assert "the data of sweep 'csv' changed since it was run" in ended.err


def test_measures_are_named_with_settings():
    found = parse_measures("l2_norm, sharpness_l2:rho=0.1:steps=20")
    assert [ask.measure for ask in found] == ["l2_norm", "sharpness_l2"]
    assert json.loads(found[1].settings.model_dump_json()) | {"rho": 0.1, "steps": 20} == found[1].settings.model_dump()
    assert len(parse_measures("all")) > 30


def test_a_setting_that_is_stated_twice_is_refused():
    with pytest.raises(typer.BadParameter, match="'rho=2': sharpness_l2 has this setting already: keep one"):
        parse_measures("sharpness_l2:rho=1:rho=2")
