"""Whatever is killed or interrupted, the next command ends with the same numbers, and fits nothing twice."""

from pathlib import Path

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal

from services.store.schemas import RUN_TABLES
from services.store.store import Store
from tests.acceptance.conftest import N_RUNS, Basin, Comparison, Undisturbed, figures, gone, title

pytestmark = pytest.mark.slow

# What may differ between two commands that fit alike.
OF_THE_COMMAND = ("stored_at", "wall_seconds", "compile_seconds", "device_seconds", "git_commit", "git_dirty")


def table(store: Path, name: str) -> pl.DataFrame:
    """All rows of a table, in one order."""
    frame = Store(store).scan(name).drop(OF_THE_COMMAND, strict=False).collect()
    return frame.sort([column for column, dtype in frame.schema.items() if dtype != pl.List])


def assert_same(comparison: Comparison, undisturbed: Undisturbed) -> None:
    """The same figures, and to the last bit the same rows: none lost, none doubled."""
    assert figures(comparison.document()) == figures(undisturbed.document)
    for name in (*RUN_TABLES, "comparisons"):
        assert_frame_equal(table(comparison.store, name), table(undisturbed.comparison.store, name), check_exact=True)
    assert comparison.bundles() == N_RUNS
    assert not comparison.has_checkpoint()


def assert_goes_on(basin: Basin, comparison: Comparison) -> None:
    """The same command again ends well, and fits only what was not finished."""
    ended = basin.run(*comparison.arguments)
    assert ended.status == 0, ended.stderr
    document = comparison.document()
    assert document["fitted"] + document["reused"] == N_RUNS
    assert document["reused"] >= 1
    assert document["fitted"] >= 1


@pytest.fixture(scope="module")
def agents(starts_ray: None) -> list[psutil.Process]:
    """Those of Ray's that a killed driver left behind, and that end by themselves before this file's tests do."""
    return []


def test_a_killed_driver_leaves_no_process_and_its_command_goes_on(
    basin: Basin, comparison: Comparison, undisturbed: Undisturbed, agents: list[psutil.Process]
):
    command = basin.start(*comparison.arguments)
    command.wait_until(lambda: comparison.bundles() >= 1)
    orphans = command.descendants()
    assert orphans
    # Ray's two agents try for a minute to tell its dead server that the rest is dead, and end then.
    agents += [orphan for orphan in orphans if title(orphan).endswith("Agent")]
    command.kill()
    assert gone([orphan for orphan in orphans if orphan not in agents], seconds=20)
    assert_goes_on(basin, comparison)
    assert_same(comparison, undisturbed)


def test_the_tables_of_an_undisturbed_comparison_have_each_run_once(undisturbed: Undisturbed):
    store = undisturbed.comparison.store
    assert undisturbed.document["fitted"] == N_RUNS
    assert table(store, "runs")["run_key"].n_unique() == len(table(store, "runs")) == N_RUNS
    for name, keys in {
        "metrics": ["run_key", "part", "metric"],
        "curves": ["run_key", "step"],
        "geometry": ["run_key", "draw", "measure", "component"],
        "pointwise": ["run_key", "row"],
        "comparisons": ["a", "b", "metric"],
    }.items():
        rows = table(store, name)
        assert len(rows) == rows.select(keys).n_unique() > 0, name


def test_killed_actors_cost_time_only(basin: Basin, comparison: Comparison, undisturbed: Undisturbed):
    command = basin.start(*comparison.arguments)
    command.wait_until(comparison.has_checkpoint)
    victims = command.busy_actors()
    assert victims
    for victim in victims:
        victim.kill()
    ended = command.wait()
    assert ended.status == 0, ended.stderr
    assert comparison.document()["fitted"] == N_RUNS
    assert_same(comparison, undisturbed)


def test_an_interrupted_command_keeps_what_is_finished_and_goes_on(
    basin: Basin, comparison: Comparison, undisturbed: Undisturbed
):
    command = basin.start(*comparison.arguments)
    command.wait_until(lambda: comparison.bundles() >= 1)
    started = command.descendants()
    command.interrupt()
    ended = command.wait()
    assert ended.status == 130
    assert f"finished runs are kept in {comparison.store}; the same command goes on from here" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert gone(started)
    assert_goes_on(basin, comparison)
    assert_same(comparison, undisturbed)


@pytest.mark.parametrize("workers", ["2", "0"])
def test_the_same_command_again_fits_nothing_and_says_so(basin: Basin, undisturbed: Undisturbed, workers: str):
    comparison = undisturbed.comparison
    ended = basin.run(*comparison.arguments, "--workers", workers)
    assert ended.status == 0, ended.stderr
    assert (comparison.document()["fitted"], comparison.document()["reused"]) == (0, N_RUNS)
    assert f"0 runs fitted by this command, {N_RUNS} reused from the store" in ended.stdout
    assert_same(comparison, undisturbed)


def test_the_agents_that_a_killed_driver_left_behind_end_by_themselves(agents: list[psutil.Process]):
    assert gone(agents, seconds=120)
