"""`basin export`: what it writes, prints and refuses, on a comparison that was really fitted."""

from pathlib import Path

import arviz as az
import polars as pl
import pytest

from services.store.store import Store

LEARNERS = "linear-map,svm"


@pytest.fixture
def name(command) -> str:
    """Of a stored comparison."""
    options = ("--learners", LEARNERS, "--splits", "1", "--seeds", "1", "--workers", "0", "--name", "tiny")
    assert command("compare", "iris", *options).status == 0
    return "tiny"


def test_a_comparison_is_written_in_every_form(command, name: str, tmp_path: Path) -> None:
    printed = command("export", "table", name)
    assert (printed.status, printed.err) == (0, "")
    assert printed.out.startswith("**tiny**: iris\n\n| learner | test log score ↑ |")
    assert {line.split()[1] for line in printed.out.splitlines() if line.startswith("| ")} == {
        "learner",
        *LEARNERS.split(","),
    } | {"---"}
    written = command("export", "table", name, "--format", "latex", "--to", "t.tex")
    assert (written.out, written.err) == ("", "wrote t.tex\n")
    assert "\\label{tab:tiny}" in (tmp_path / "t.tex").read_text()
    tables = command("export", "tables", name, "--to", "tables", "--format", "csv")
    assert "wrote tables/metrics.csv\n" in tables.err
    assert set(pl.read_csv(tmp_path / "tables" / "metrics.csv")["learner"]) == set(LEARNERS.split(","))
    added = command("export", "mlflow", name, "--tracking", "mlruns")
    assert added.err.endswith("2 runs added to MLflow's experiment 'tiny', 0 completed, 0 there before\n")
    again = command("export", "mlflow", name, "--tracking", "mlruns")
    assert again.err.endswith("0 runs added to MLflow's experiment 'tiny', 0 completed, 2 there before\n")


def test_what_cannot_be_written_is_told(command, name: str, tmp_path: Path) -> None:
    key = Store(tmp_path / "store").runs().collect()["run_key"][0]
    ended = command("export", "netcdf", key, "--to", "p.nc")
    assert (ended.status, ended.out) == (2, "")
    assert "has no posterior" in ended.err
    ended = command("export", "table", name, "--to", "nowhere/t.md")
    assert (ended.status, ended.err) == (
        2,
        "error: cannot write nowhere/t.md: there is no folder nowhere; make it first\n",
    )
    ended = command("export", "table", "tyni")
    assert ended.err.startswith("error: no sweep 'tyni' in")
    assert "did you mean 'tiny'?" in ended.err


def test_a_posterior_is_written(command, tmp_path: Path) -> None:
    from services.store.writer import writing
    from tests.support import factories

    asked = factories.request(bayesian=True)
    with writing(tmp_path / "store") as writer:
        writer.put(factories.record(asked, factories.sampled(asked)))
    assert command("export", "netcdf", asked.run_key, "--to", "p.nc").err == "wrote p.nc\n"
    assert az.from_netcdf(tmp_path / "p.nc").posterior["theta"].shape == (2, 6, 5)
