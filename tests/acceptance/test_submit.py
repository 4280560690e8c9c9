"""Sweeps as jobs of a real cluster: run once, followed, stopped clean, and gone on with."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.jobs import Job, Jobs
from services.launching.sweep_job import submit_once, sweep_job
from services.store.store import Store
from services.sweeps.definition import read_sweep
from tests.acceptance.conftest import BNN, LINEAR, NET, Basin, Ended, bundles, write_points
from tests.support.head import Head

pytestmark = pytest.mark.slow

SECRET = "hush-hush-hush"
SPLITS = 2
# The last one takes longer than it takes to stop a job.
LEARNERS = [NET, LINEAR, BNN | {"inference": BNN["inference"] | {"draws": 5_000, "keep_draws": False}}]
N_RUNS = SPLITS * len(LEARNERS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep, and the data that it names."""
    folder = tmp_path_factory.mktemp("submit")
    write_points(folder / "points.csv")
    sweep = {
        "name": "points",
        "datasets": [{"data": str(folder / "points.csv"), "target": "y"}],
        "learners": LEARNERS,
        "splits": SPLITS,
        "seeds": 1,
        "measures": [],
        "resources": {"workers": 2},
    }
    (folder / "points.yaml").write_text(yaml.safe_dump(sweep))
    return folder


@dataclass(frozen=True)
class History:
    """What became of a sweep that was submitted, left, stopped, and submitted twice again.

    Attributes:
        jobs: as they ended, the first one first.
        details: what the dashboard tells of the first one.
        finished_when_stopped: runs that the store had then.
    """

    left: Ended
    stopped: Ended
    status: Ended
    log: Ended
    again: Ended
    once_more: Ended
    jobs: tuple[Job, ...]
    details: str
    finished_when_stopped: int


@pytest.fixture(scope="module")
def history(basin: Basin, head: Head, place: Path) -> History:
    """Made once, since starting and compiling take most of the time."""
    submit = ("submit", place / "points.yaml", "--address", head.address, "--store", place / "store")
    jobs = Jobs(head.address)
    command = basin.start(*submit, AWS_SECRET_ACCESS_KEY=SECRET, AWS_ACCESS_KEY_ID=SECRET)
    command.wait_until(lambda: bool(bundles(place / "store")))
    (first,) = jobs.list("basin-points-")
    command.interrupt()
    jobs.stop(first.id)  # at once: a command takes a second to start, in which the sweep may end
    left = command.wait()
    details = head.get(f"/api/jobs/{first.id}").text
    stopped = basin.run("jobs", "stop", first.id, "--address", head.address)
    finished = bundles(place / "store")
    status = basin.run("jobs", "status", first.id, "--address", head.address, "--json")
    log = basin.run("jobs", "logs", first.id, "--address", head.address)
    again = basin.run(*submit, "--json")
    once_more = basin.run(*submit)
    ended = tuple(reversed(jobs.list("basin-points-")))
    return History(left, stopped, status, log, again, once_more, ended, details, finished)


def test_ctrl_c_leaves_the_job_alone_and_tells_how_to_go_on(history: History, head: Head):
    job_id = history.jobs[0].id
    assert history.left.status == 130
    assert f"{job_id} is submitted; its runs are kept in" in history.left.stderr
    assert f"basin jobs logs {job_id} --address {head.address}" in history.left.stderr
    assert f"basin jobs stop {job_id} --address {head.address}" in history.left.stderr
    assert "detached: the job goes on" in history.left.stderr
    assert "Running entrypoint" in history.left.stdout


def test_a_stopped_job_keeps_what_is_finished(history: History):
    assert history.stopped.status == 0
    assert f"{history.jobs[0].id} " in history.stopped.stderr
    assert "was stopped" in history.stopped.stderr
    assert 1 <= history.finished_when_stopped < N_RUNS
    assert history.jobs[0].state == "stopped"
    assert json.loads(history.status.stdout)["state"] == "stopped"
    assert (history.status.status, history.log.status) == (1, 1)
    assert "interrupted: finished runs are kept in" in history.log.stdout
    assert "Traceback" not in history.log.stdout


def test_submitted_again_it_goes_on_and_fits_nothing_twice(history: History, place: Path):
    assert history.again.status == 0, history.again.stderr
    document: Mapping[str, Any] = json.loads(history.again.stdout)
    assert (document["new"], document["state"], document["id"]) == (True, "succeeded", history.jobs[1].id)
    fitted = N_RUNS - history.finished_when_stopped
    # Its log goes to stderr, so that stdout holds the document alone.
    said = f"{fitted} run{'' if fitted == 1 else 's'} fitted by this command, {history.finished_when_stopped} reused"
    assert said in history.again.stderr
    runs = Store(place / "store").runs().collect()
    assert len(runs) == runs["run_key"].n_unique() == N_RUNS
    assert runs["status"].to_list() == ["finished"] * N_RUNS


def test_submitted_once_more_it_is_found_and_not_run(history: History):
    assert history.once_more.status == 0
    assert f"{history.jobs[1].id} has succeeded already, so nothing is run" in history.once_more.stderr
    assert "fitted by this command" in history.once_more.stdout
    assert [job.id[-2:] for job in history.jobs] == ["-1", "-2"]


def test_no_secret_of_this_environment_can_be_seen_on_the_dashboard(history: History, head: Head):
    assert "AWS" not in history.details
    assert SECRET not in history.details
    variables = set(json.loads(history.details)["runtime_env"]["env_vars"])
    assert variables - {"BASIN_COMMIT"} == {"BASIN_JOB", "BASIN_FILES", "RAY_JOB_STOP_WAIT_TIME_S"}


def test_the_sweep_is_known_by_the_paths_that_it_was_submitted_with(history: History, place: Path):
    definition, _ = Store(place / "store").sweep("points")
    assert json.loads(definition)["datasets"][0]["data"] == str(place / "points.csv")


def test_a_job_reads_no_file_outside_the_folders_that_its_cluster_allows(basin: Basin, head: Head, place: Path):
    shared = ("--shared", place, "--store", place / "other")
    ended = basin.run("submit", place / "points.yaml", "--address", head.address, *shared)
    assert ended.status == 1
    assert f"'{place}/points.csv' may not be read, for it is not in {head.allowed}" in " ".join(ended.stdout.split())
    assert "failed with exit status 2, as its log says" in ended.stderr
    assert not (place / "other").exists()


def test_an_interpreter_that_the_cluster_lacks_is_named(basin: Basin, head: Head, place: Path):
    elsewhere = ("--python", "/no/python", "--store", place / "third")
    ended = basin.run("submit", place / "points.yaml", "--address", head.address, *elsewhere)
    assert ended.status == 1
    assert "the cluster's head cannot execute /no/python: name its own by --python" in ended.stderr


def test_of_several_who_submit_at_the_same_time_one_does_and_the_next_attempt_follows_a_failure(
    head: Head, place: Path, tmp_path: Path
):
    # In the interpreter's place: it fails or succeeds when it is told to.
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nwhile [ ! -e {tmp_path}/status ]; do sleep 0.05; done; exit `cat {tmp_path}/status`")
    script.chmod(0o755)
    job = sweep_job(read_sweep(place / "points.yaml"), str(tmp_path / "store"), python=str(script))
    jobs = Jobs(head.address)

    def submit(*, again: bool = False) -> str:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: submit_once(jobs, job, again=again), range(3)))
        assert sorted(each.is_new for each in found) == [False, False, True]
        (job_id,) = {each.job.id for each in found}
        return job_id

    assert submit() == f"{job.key}-1"
    (tmp_path / "status").write_text("1")
    assert jobs.follow(f"{job.key}-1", print).state == "failed"
    (tmp_path / "status").unlink()
    assert submit() == f"{job.key}-2"
    (tmp_path / "status").write_text("0")
    assert jobs.follow(f"{job.key}-2", print).state == "succeeded"
    assert submit_once(jobs, job) == (jobs.get(f"{job.key}-2"), False)
    (tmp_path / "status").unlink()
    assert submit(again=True) == f"{job.key}-3"
    jobs.stop(f"{job.key}-3")
    assert jobs.follow(f"{job.key}-3", print).state == "stopped"
