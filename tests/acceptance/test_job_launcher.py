"""A schedule whose occurrences are jobs of a real cluster: each run once, told of in plain words, replaced well."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from cluster.errors import ClusterError
from cluster.jobs import Jobs
from models.spec.settings import canonical_json
from services.errors import ServiceError
from services.launching.cluster import JobLauncher
from services.launching.launcher import LaunchState
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.scheduling.occurrences import Occurrence, history
from services.scheduling.scheduler import Scheduler
from services.scheduling.schedules import add, define
from services.settings import settings
from services.store.store import Store
from services.sweeps.definition import parse_sweep, settle
from tests.acceptance.conftest import BNN, PATIENCE, bundles, title, write_points
from tests.support import waiting
from tests.support.head import Head, free_ports

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
N_RUNS = 3
LEASE_SECONDS = 1.0


wait_until = partial(waiting.wait_until, patience=PATIENCE, every=0.1)


def sweep_on(data: str) -> str:
    """A settled sweep. The first run of a program travels alone, so that there is work left when it is finished."""
    learner = BNN | {"inference": BNN["inference"] | {"warmup": 50, "draws": 100}}
    given = {"name": "points", "datasets": [{"data": data, "target": "y"}], "learners": [learner], "splits": N_RUNS}
    return canonical_json(settle(parse_sweep({**given, "seeds": 1, "resources": {"workers": 1}})))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data."""
    folder = tmp_path_factory.mktemp("job-launcher")
    write_points(folder / "points.csv")
    return folder


# --- a schedule from its first time on --------------------------------------------------------------------------------

LAUNCH_AND_DIE = """
import os, signal, sys
from datetime import datetime
from services.launching.cluster import JobLauncher
from services.ledger.database import Ledger
from services.scheduling.scheduler import Scheduler

class Fatal(JobLauncher):
    def launch(self, *what):
        super().launch(*what)
        os.kill(os.getpid(), signal.SIGKILL)

url, address, now, lease_seconds = sys.argv[1:]
launcher = Fatal(address)
Scheduler(Ledger(url), lambda _: launcher, "", lease_seconds=float(lease_seconds)).tick(datetime.fromisoformat(now))
"""


@dataclass(frozen=True)
class Story:
    """What became of a schedule whose scheduler was killed at the first launch, and whose second time came early.

    Attributes:
        left: the occurrence that the killed scheduler left behind.
        seen: how the first one stood when another scheduler had taken over.
        jobs: of the cluster, the first one first.
        finished_when_stopped: runs that the store had when the first one had ended.
        logs: of the jobs.
    """

    left: Occurrence
    seen: Occurrence
    ended: tuple[Occurrence, ...]
    jobs: tuple[str, ...]
    finished_when_stopped: int
    logs: tuple[str, ...]


@pytest.fixture(scope="module")
def story(head: Head, place: Path) -> Iterator[Story]:
    """Made once, since starting and compiling take most of the time."""
    url = f"sqlite:///{place / 'ledger.sqlite'}"
    ledger, jobs = Ledger(url), Jobs(head.address)
    options = RunOptions(store=str(place / "store"), address=head.address)
    sweep = parse_sweep(json.loads(sweep_on(str(place / "points.csv"))))
    add(ledger, define(sweep, "* * * * *", options, BEGIN - MINUTE, name="hourly", overlap="replace"))
    arguments = [url, head.address, BEGIN.isoformat(), str(LEASE_SECONDS)]
    died = subprocess.run([sys.executable, "-c", LAUNCH_AND_DIE, *arguments], cwd=ROOT, check=False)
    assert died.returncode == -9
    (left,) = history(ledger)

    launcher = JobLauncher(head.address)
    scheduler = Scheduler(ledger, lambda _: launcher, "", lease_seconds=LEASE_SECONDS, retry_seconds=0.5)

    def come_to(now: datetime, *statuses: str) -> None:
        """Let the scheduler work at that time until the occurrences, the latest first, stand so."""

        def arrived() -> bool:
            scheduler.tick(now)
            return tuple(each.status for each in history(ledger)) == statuses

        wait_until(arrived)

    come_to(BEGIN, "running")
    (seen,) = history(ledger)
    wait_until(lambda: bundles(place / "store"))
    come_to(BEGIN + MINUTE, "queued", "stopped")
    finished = bundles(place / "store")
    come_to(BEGIN + MINUTE, "succeeded", "stopped")
    ended = tuple(reversed(history(ledger)))
    ids = tuple(job.id for job in reversed(jobs.list("basin-hourly-")))
    yield Story(left, seen, ended, ids, finished, tuple(log_of(jobs, job_id) for job_id in ids))
    ledger.close()


def log_of(jobs: Jobs, job_id: str) -> str:
    """All of it, of a job that is over."""
    told: list[str] = []
    jobs.follow(job_id, told.append)
    return "".join(told)


def test_an_occurrence_whose_scheduler_died_before_it_noted_the_launch_is_run_once(story: Story):
    assert story.left.status == "claimed"
    assert (story.seen.launch_id, story.seen.status) == (story.left.launch_id, "running")
    assert story.jobs == tuple(f"basin-{each.launch_id}" for each in story.ended)


def test_one_that_is_replaced_ends_well_and_keeps_what_is_finished(story: Story):
    first, second = story.ended
    assert (first.status, first.reason) == ("stopped", "replaced by the one of 2026-03-01 12:01+00:00")
    assert (second.status, second.reason) == ("succeeded", "")
    assert 1 <= story.finished_when_stopped < N_RUNS
    assert "interrupted: finished runs are kept in" in story.logs[0]
    assert "Traceback" not in story.logs[0]


def test_its_replacement_goes_on_from_there_and_every_run_is_stored_once(story: Story, place: Path):
    fitted = N_RUNS - story.finished_when_stopped
    said = f"{fitted} run{'' if fitted == 1 else 's'} fitted by this command, {story.finished_when_stopped} reused"
    assert said in story.logs[1]
    runs = Store(place / "store").runs().collect()
    assert len(runs) == runs["run_key"].n_unique() == N_RUNS
    assert runs["status"].to_list() == ["finished"] * N_RUNS


# --- a launch ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def launch_id() -> str:
    return f"test-{uuid4().hex[:8]}"


@pytest.fixture
def launcher(head: Head) -> JobLauncher:
    return JobLauncher(head.address)


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`interpreter(script)` puts a shell script in the place of the cluster's interpreter."""

    def put(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("BASIN_CLUSTER_PYTHON", str(path))
        settings.cache_clear()

    yield put
    monkeypatch.undo()
    settings.cache_clear()


def supervisor_of(head: Head, script: Path) -> psutil.Process:
    """The process of Ray that started the script: the nearest above it that is one of Ray's."""
    at_work = [process for process in head.descendants() if str(script) in title(process)]
    return next(each for process in at_work for each in process.parents() if each.name().startswith("ray::"))


def ends(launcher: JobLauncher, launch_id: str) -> LaunchState:
    """What becomes of it in the end."""
    wait_until(lambda: (state := launcher.state(launch_id)) and state.status not in ("pending", "running"))
    found = launcher.state(launch_id)
    assert found is not None
    return found


def test_of_many_launches_of_one_id_one_begins(launcher: JobLauncher, launch_id: str, interpreter, tmp_path: Path):
    interpreter("echo begun >> begun; while [ ! -e go ]; do sleep 0.05; done")
    options = RunOptions(store=str(tmp_path / "store"))
    assert launcher.state(launch_id) is None
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: launcher.launch(launch_id, sweep_on("iris"), options), range(3)))
    wait_until(lambda: launcher.state(launch_id) == LaunchState("running"))
    (tmp_path / "go").touch()
    assert ends(launcher, launch_id) == LaunchState("succeeded")
    launcher.launch(launch_id, sweep_on("iris"), options)
    assert launcher.state(launch_id) == LaunchState("succeeded")
    assert (tmp_path / "begun").read_text() == "begun\n"


def test_a_failure_says_the_last_words_of_its_log_and_where_the_rest_is(
    launcher: JobLauncher, launch_id: str, head: Head, tmp_path: Path
):
    # A file that is on no machine.
    launcher.launch(launch_id, sweep_on("/nowhere/points.csv"), RunOptions(store=str(tmp_path / "store")))
    status, reason = ends(launcher, launch_id)
    assert status == "failed"
    assert reason.startswith("exit status 2: error: dataset '/nowhere/points.csv': '/nowhere/points.csv' may not be")
    assert reason.endswith(f"; log: basin jobs logs basin-{launch_id} --address {head.address}")
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 130", LaunchState("stopped", "it was asked to end")),  # as after `basin sweep stop`
        ("kill -TERM $$", LaunchState("stopped", "it was asked to end")),
    ],
)
def test_a_command_that_ends_because_it_was_asked_to_is_stopped_and_has_not_failed(
    launcher: JobLauncher, launch_id: str, interpreter, tmp_path: Path, script: str, expected: LaunchState
):
    interpreter(script)
    launcher.launch(launch_id, sweep_on("iris"), RunOptions(store=str(tmp_path / "store")))
    assert ends(launcher, launch_id) == expected


def test_an_interpreter_that_the_cluster_lacks_is_told_with_what_to_do(
    launcher: JobLauncher, launch_id: str, interpreter, tmp_path: Path
):
    interpreter("")
    (tmp_path / "python").unlink()
    launcher.launch(launch_id, sweep_on("iris"), RunOptions(store=str(tmp_path / "store")))
    status, reason = ends(launcher, launch_id)
    assert status == "failed"
    assert (
        reason == "the cluster's head cannot execute the interpreter: let BASIN_CLUSTER_PYTHON name the one that it has"
    )


def test_one_whose_machine_or_ray_fails_says_so_in_a_line(
    launcher: JobLauncher, launch_id: str, head: Head, interpreter, tmp_path: Path
):
    interpreter("touch up; while [ ! -e go ]; do sleep 0.05; done")
    launcher.launch(launch_id, sweep_on("iris"), RunOptions(store=str(tmp_path / "store")))
    wait_until((tmp_path / "up").exists)
    supervisor_of(head, tmp_path / "python").kill()
    status, reason = ends(launcher, launch_id)
    (tmp_path / "go").touch()
    assert status == "failed"
    assert reason.startswith(("Job supervisor actor died", "Unexpected error occurred"))  # by when Ray looks
    assert "\n" not in reason


def test_a_stop_that_is_asked_for_again_and_again_lets_it_end_well(
    launcher: JobLauncher, launch_id: str, interpreter, tmp_path: Path
):
    interpreter("trap 'echo term >> terms' TERM; touch up; while [ ! -e go ]; do sleep 0.05; done; exit 130")
    launcher.launch(launch_id, sweep_on("iris"), RunOptions(store=str(tmp_path / "store")))
    wait_until((tmp_path / "up").exists)
    for _ in range(3):
        launcher.stop(launch_id)
    wait_until((tmp_path / "terms").exists)
    assert launcher.state(launch_id) == LaunchState("running")
    (tmp_path / "go").touch()
    assert ends(launcher, launch_id) == LaunchState("stopped", "it was asked to end")
    assert (tmp_path / "terms").read_text() == "term\n"
    launcher.stop(launch_id)  # which changes nothing


def test_what_cannot_be_launched_now_is_told_and_leaves_no_job(launcher: JobLauncher, launch_id: str, tmp_path: Path):
    options = RunOptions(store=str(tmp_path / "store"))
    nowhere = JobLauncher(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(ClusterError, match="nothing answers at"):
        nowhere.launch(launch_id, sweep_on("iris"), options)
    with pytest.raises(ServiceError, match="a job needs a worker"):
        launcher.launch(launch_id, sweep_on("iris"), options.model_copy(update={"workers": 0}))
    assert launcher.state(launch_id) is None
