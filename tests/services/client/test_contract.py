"""What holds of the client over a store and over a server alike."""

import json
from pathlib import Path

import altair as alt
import arviz as az
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services.client import Basin, BasinError, remote
from services.store.schemas import SCHEMAS
from services.store.store import Store
from tests.services.client.conftest import Served
from tests.support.stored import TREES, request
from tests.support.stored_sweep import BNN, DEFINITION, HOSTILE, LOST, NAME, NETS, RATES

POSTERIOR = request(BNN).run_key
MEASURED = request(NETS[0]).run_key


def fails(call, code: str) -> BasinError:
    """The error of a call, which must have this code."""
    with pytest.raises(BasinError) as told:
        call()
    assert told.value.code == code
    assert told.value.message
    return told.value


# --- tables -----------------------------------------------------------------------------------------------------------


def test_runs_are_all_runs_with_every_column_as_the_store_has_them(b: Basin, served: Served):
    expected = Store(served.store).runs().sort("run_key").collect()
    assert_frame_equal(b.runs(sort="run_key"), expected)


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_table_is_had_whole_and_exact(b: Basin, served: Served, table: str):
    found, expected = b.table(table), Store(served.store).scan(table).collect()
    assert dict(found.schema) == dict(SCHEMAS[table])
    columns = [name for name, dtype in SCHEMAS[table].items() if not isinstance(dtype, pl.List)]
    assert_frame_equal(found.sort(columns), expected.sort(columns))


def test_pages_make_up_the_whole(b: Basin, served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "PAGE", 4)
    expected = Store(served.store).scan("metrics").collect().sort("run_key", "part", "metric")
    assert_frame_equal(b.metrics(sort=["run_key", "part", "metric"]), expected)
    assert_frame_equal(b.metrics(sort=["run_key", "part", "metric"], limit=10), expected.head(10))
    assert b.scan("metrics").select(pl.len()).collect().item() == len(expected)


def test_runs_are_narrowed_selected_sorted_and_limited(b: Basin):
    found = b.runs(
        sweep=NAME,
        learner=["net", "bnn"],
        status="finished",
        where={"split": 1},
        select=["learner", "learning_rate"],
        sort=["-learning_rate", "learner"],
        limit=2,
    )
    assert found.rows() == [("net", 0.1), ("net", 0.05)]
    assert len(b.runs(where="wall_seconds:gt:1.5")) == 8
    assert len(b.runs(where=["learner:contains:boost", "split:le:0"])) == 1
    assert b.runs(dataset="another").is_empty()
    assert set(b.runs(where={"error": None})["learner"]) == {"net", "bnn", "boosted-trees"}


@pytest.mark.parametrize("limit", [0, 1, 3, 1000])
def test_no_more_rows_come_than_are_asked_for(b: Basin, limit: int):
    every = b.runs(select="run_key", sort="run_key")
    assert_frame_equal(b.runs(select="run_key", sort="run_key", limit=limit), every.head(limit))


def test_tables_have_names_of_their_own(b: Basin):
    assert set(b.metrics(run_key=MEASURED)["run_key"]) == {MEASURED}
    assert b.curves(run_key=MEASURED, sort="step")["step"].to_list() == [0, 1, 2, 3, 4]
    assert b.diagnostics(sweep=NAME).is_empty()
    assert len(b.geometry(sweep=NAME, where={"measure": "l2_norm"})) == 4
    assert len(b.pointwise(run_key=[MEASURED, POSTERIOR])) == 40
    assert b.comparisons().is_empty()


def test_a_scan_is_lazy_and_gives_what_its_query_asks_for(b: Basin, served: Served):
    lazy = b.scan("metrics")
    assert isinstance(lazy, pl.LazyFrame)
    query = (pl.col("part") == "test") & (pl.col("metric") == "accuracy")
    found = lazy.filter(query).group_by("run_key").agg(pl.col("value").mean()).sort("run_key").collect()
    expected = Store(served.store).scan("metrics").filter(query).sort("run_key").select("run_key", "value").collect()
    assert_frame_equal(found, expected)
    assert b.scan("runs", sweep=NAME, where={"learner": "net"}).select(pl.len()).collect().item() == 4
    assert len(b.scan("runs").head(2).collect()) == 2


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda b: b.runs(where="learnr:eq:net"), "learner"),
        (lambda b: b.runs(where="split:eq:one"), "whole number"),
        (lambda b: b.runs(where="split:about:1"), "about"),
        (lambda b: b.runs(select=["sede"]), "seed"),
        (lambda b: b.runs(sort="-wall_second"), "wall_seconds"),
        (lambda b: b.runs(limit=-1), "-1"),
        (lambda b: b.table("metric"), "metrics"),
        (lambda b: b.runs(learner=["a,b"]), "comma"),
        (lambda b: b.scan("runs", where="learnr:eq:net").collect(), "learner"),
    ],
)
def test_a_question_that_cannot_be_put_names_what_is_wrong_with_it(b: Basin, ask, named: str):
    if "scan" in ask.__code__.co_names:  # polars tells it in its own way where the query is carried out
        with pytest.raises((BasinError, pl.exceptions.ComputeError), match=named):
            ask(b)
    else:
        assert named in fails(lambda: ask(b), "invalid_query").message


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_says_what_it_asks_for_and_what_became_of_its_runs(b: Basin):
    assert NAME in b.sweeps()["name"]
    found = b.sweep(NAME)
    assert found.definition == DEFINITION
    assert (found.state, found.standing, found.active) == ("unknown", None, False)
    counts = {learner: (runs, finished) for learner, runs, finished in found.learners.select(
        "learner", "runs", "finished").iter_rows()}  # fmt: skip
    assert counts == {"net": (4, 4), "bnn": (2, 2), "boosted-trees": (2, 2), "lost": (1, 0)}


@pytest.mark.parametrize(
    "ask", [lambda b: b.sweep("flat-or-shrap"), lambda b: b.runs(sweep="flat-or-shrap"), lambda b: b.watch(
        "flat-or-shrap"), lambda b: b.stop("flat-or-shrap"), lambda b: b.resume("flat-or-shrap"), lambda b: b.compare(
        "flat-or-shrap"), lambda b: b.ranking("flat-or-shrap")],
)  # fmt: skip
def test_an_unknown_sweep_is_told_with_the_nearest_name(b: Basin, ask):
    assert NAME in fails(lambda: ask(b), "not_found").message


@pytest.mark.parametrize("name", ["", "../store", "a b", "a\n", "ä", "x" * 65])
def test_what_no_sweep_can_be_called_is_not_found(b: Basin, name: str):
    for ask in (b.sweep, b.stop, b.resume, b.watch, b.compare, b.ranking, b.schedules.get, b.schedules.pause):
        fails(lambda ask=ask: ask(name), "not_found")
    fails(lambda: b.runs(sweep=name), "not_found")


def test_a_sweep_that_was_never_run_cannot_be_watched(b: Basin):
    assert "never run" in fails(lambda: b.watch(NAME), "not_found").message


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "new", "datasets": []},
        {"name": "a b", "datasets": ["iris"]},
        {"name": "new", "datasets": ["iris"], "learners": ["smv"]},
        {"name": "new", "datasets": [object()]},
        {"name": "new", "datasets": ["iris"], "splits": float("nan")},
        [],
    ],
)
def test_a_sweep_that_is_wrong_is_refused_and_nothing_is_kept(b: Basin, spec):
    fails(lambda: b.submit(spec), "invalid_sweep")
    assert "new" not in b.sweeps()["name"]


@pytest.mark.parametrize("key", ["", "a b", "ä", "a\r\nX-Evil: 1", "x" * 201])
def test_a_key_that_no_header_can_carry_is_refused(b: Basin, key: str):
    fails(lambda: b.submit({"name": "new", "datasets": ["iris"]}, idempotency_key=key), "invalid_request")


def test_a_sweep_file_that_is_wrong_is_refused(b: Basin, tmp_path: Path):
    fails(lambda: b.submit(tmp_path / "absent.yaml"), "invalid_sweep")
    (tmp_path / "wrong.yaml").write_text("name: [")
    fails(lambda: b.submit(tmp_path / "wrong.yaml"), "invalid_sweep")


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_comparison_has_tables_a_verdict_and_charts(b: Basin):
    found = b.compare(NAME)
    assert found.document.dataset.name == "made-up"
    assert found.table()["learner"].to_list() == ["net", "bnn", "boosted-trees", "lost"]
    assert found.table().row(by_predicate=pl.col("learner") == "lost", named=True)["log_score"] is None
    assert set(found.pairs()["metric"]) == {"log_score", "accuracy"}
    assert isinstance(found.plot(), alt.TopLevelMixin)
    assert {"scores", "reliability", "measures", "losses"} <= set(found.figures)
    assert json.dumps(found.plot("reliability").to_dict())
    assert "scores" in fails(lambda: found.plot("score"), "not_found").message
    fails(lambda: b.compare(NAME, "another"), "not_found")
    assert b.compare(NAME, "made-up").document == found.document


def test_a_ranking_has_a_table_and_charts(b: Basin):
    found = b.ranking(NAME)
    assert found.document.n_runs == 8
    assert {"l2_norm", "hessian_trace"} <= set(found.table()["measure"])
    assert isinstance(found.plot(), alt.TopLevelMixin)
    assert {"ranking", "gaps", "slices", "surfaces", "densities"} <= set(found.figures())
    assert "made-up" in fails(lambda: found.plot(dataset="another"), "not_found").message


def drawn(chart: alt.TopLevelMixin) -> list[list[str]]:
    """The rows of the data of a chart, in no order."""
    return sorted(sorted(json.dumps(row) for row in rows) for rows in chart.to_dict()["datasets"].values())


def test_charts_are_the_same_from_a_store_and_from_a_server(both):
    local, server = both
    for charts in (lambda b: b.compare(NAME).figures, lambda b: b.ranking(NAME).figures("made-up")):
        here, there = charts(local), charts(server)
        assert list(here) == list(there)
        for name in here:
            assert drawn(here[name]) == drawn(there[name]), name


def test_documents_are_the_same_from_a_store_and_from_a_server(both):
    local, server = both
    assert local.compare(NAME).document == server.compare(NAME).document
    assert local.ranking(NAME).document == server.ranking(NAME).document


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_has_its_row_its_manifest_its_parts_and_the_command_that_repeats_it(b: Basin):
    run = b.run(MEASURED)
    assert run.row == b.runs(where={"run_key": MEASURED}).row(0, named=True)
    assert run.manifest.learner.inference.learning_rate == RATES[0]
    assert {"run.json", "params.npz", "predictions.npz"} <= set(run.parts)
    assert run.reproduce.startswith(f"basin reproduce {MEASURED}")
    np.testing.assert_array_equal(run.parameters()["theta"], np.arange(3.0))
    assert run.predictions()["probabilities"].shape == (20, 3)
    assert len(run.curves()) == 5
    assert not run.metrics().is_empty()
    assert run.diagnostics().is_empty()


def test_a_run_that_failed_is_had_too(b: Basin):
    run = b.run(LOST.run_key)
    assert (run.row["status"], run.row["error"]) == ("failed", HOSTILE)
    assert "failed" in fails(run.predictions, "not_found").message


def test_a_posterior_is_a_tree_that_arviz_reads(b: Basin):
    tree = b.posterior(POSTERIOR)
    assert dict(tree["posterior"].sizes) == {"chain": 2, "draw": 20, "theta_dim_0": 3}
    assert np.isfinite(az.rhat(tree)["theta"].values).all()
    assert "boosted-trees" in fails(lambda: b.posterior(request(TREES).run_key), "not_found").message


def test_a_landscape_has_measures_curves_and_charts(b: Basin):
    found = b.landscape(MEASURED)
    assert {"l2_norm", "hessian_trace"} <= set(found.measures["measure"])
    assert (len(found.slices), len(found.surfaces), len(found.spectrum)) == (5, 25, 5)
    assert set(found.figures) == {"slices", "surfaces", "spectrum"}
    for name in (None, "surfaces", "spectrum"):
        assert found.plot(name).to_dict()
    unmeasured = b.landscape(POSTERIOR)
    assert unmeasured.slices.is_empty()
    assert "basin measure" in fails(unmeasured.plot, "not_found").message


@pytest.mark.parametrize("key", ["0" * 32, "../../etc/passwd", ""])
def test_a_run_that_is_not_stored_is_not_found(b: Basin, key: str):
    fails(lambda: b.run(key), "not_found")
    fails(lambda: b.posterior(key), "not_found")


# --- schedules --------------------------------------------------------------------------------------------------------


SPEC = {"name": "planned", "datasets": ["iris"], "learners": ["svm"], "budget": "quick"}


def test_a_schedule_is_added_listed_paused_resumed_asked_for_and_removed(b: Basin):
    kept = b.schedules.add(SPEC, "0 2 * * *", name="nightly", timezone="Europe/Paris", misfire_grace="1h30m")
    assert (kept["state"], kept["misfire_grace_seconds"], len(kept["upcoming"])) == ("active", 5400, 5)
    listed = b.schedules.list().filter(name="nightly").row(0, named=True)
    assert (listed["cron"], listed["timezone"], listed["state"]) == ("0 2 * * *", "Europe/Paris", "active")
    assert listed["next"].tzinfo is not None
    b.schedules.pause("nightly")
    assert (b.schedules.get("nightly")["state"], b.schedules.get("nightly")["next"]) == ("paused", None)
    b.schedules.resume("nightly")
    assert b.schedules.get("nightly")["state"] == "active"
    b.schedules.run_now("nightly")
    assert b.schedules.history("nightly", limit=1)["trigger"].to_list() == ["manual"]
    assert "nightly" in repr(b.schedules) and "nightly" in b.schedules._repr_html_()
    b.schedules.remove("nightly")
    assert "nightly" not in b.schedules.list()["name"]
    assert not b.schedules.history("nightly").is_empty()


def test_a_schedule_that_means_nothing_is_refused(b: Basin):
    fails(lambda: b.schedules.add(SPEC, "at noon"), "invalid_request")
    fails(lambda: b.schedules.add(SPEC, "0 0 31 2 *"), "invalid_request")
    fails(lambda: b.schedules.add(SPEC, "0 2 * * *", timezone="Paris"), "invalid_request")
    fails(lambda: b.schedules.add(SPEC, "0 2 * * *", misfire_grace="soon"), "invalid_request")
    fails(lambda: b.schedules.add({"name": "planned"}, "0 2 * * *"), "invalid_sweep")
    assert "planned" not in b.schedules.list()["name"]


@pytest.mark.parametrize("change", ["pause", "resume", "remove", "run_now", "get", "history"])
def test_a_schedule_that_there_is_not_is_not_found(b: Basin, change: str):
    assert "nihgtly" in fails(lambda: getattr(b.schedules, change)("nihgtly"), "not_found").message


# --- how it shows itself ----------------------------------------------------------------------------------------------


def test_what_is_shown_in_a_notebook_or_on_a_terminal_is_harmless(b: Basin):
    comparison, run = b.compare(NAME), b.run(LOST.run_key)
    for shown in (comparison, b.ranking(NAME), run, b.landscape(MEASURED), b.sweep(NAME), b.schedules):
        html, text = shown._repr_html_(), repr(shown)
        assert "<script" not in html and "alert" not in html.replace("&lt;script&gt;alert", "")
        assert "\x1b" not in text and text
    assert "&lt;script&gt;" in comparison._repr_html_() and "&lt;script&gt;" in run._repr_html_()


def test_the_token_is_shown_nowhere(b: Basin, served: Served):
    assert served.token not in repr(b) + repr(vars(b))
