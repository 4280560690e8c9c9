"""Launches on this machine, in real processes: once for each id, whoever is killed."""

import json
import os
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from services.errors import ServiceError
from services.launching import local
from services.launching.launcher import LaunchState
from services.launching.local import LocalLauncher
from services.launching.options import RunOptions
from tests.support.waiting import wait_until

OPTIONS = RunOptions(store="/store")


class Launches:
    """A launcher whose command is a line of shell, in the folder of the test."""

    def __init__(self, folder: Path):
        self.folder = folder

    def make(self, script: str) -> LocalLauncher:
        line = f"cd {shlex.quote(str(self.folder))}; echo begun >> begun; {script}"
        return LocalLauncher(self.folder / "launches", ("/bin/sh", "-c", line, "sh"))

    def begun(self) -> int:
        """How many times the command was run."""
        path = self.folder / "begun"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def of(self, launch_id: str) -> Path:
        """The folder of a launch."""
        return self.folder / "launches" / launch_id

    def supervisor(self, launch_id: str) -> psutil.Process:
        return psutil.Process(json.loads((self.of(launch_id) / "process.json").read_text())["pid"])

    def clean_up(self) -> None:
        """End what a failed test left running."""
        for path in self.folder.glob("launches/*/process.json"):
            if local._alive(path.parent):
                os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def launches(tmp_path: Path):
    found = Launches(tmp_path)
    yield found
    found.clean_up()


def ends(launcher: LocalLauncher, launch_id: str) -> LaunchState:
    """What becomes of it in the end."""
    wait_until(lambda: launcher.state(launch_id) != LaunchState("running"))
    found = launcher.state(launch_id)
    assert found is not None
    return found


def test_a_launch_runs_the_sweep_and_leaves_its_log_and_status(launches: Launches):
    launcher = launches.make('printf "%s\n" "$@"; cat "$3"')
    options = RunOptions(store="s3://b/s", address="h:1", workers=2, gpus=0.5)
    assert launcher.state("one") is None
    launcher.launch("one", '{"name": "tiny"}', options)
    assert ends(launcher, "one") == LaunchState("succeeded")
    sweep = str(launches.of("one") / "sweep.json")
    expected = ["sweep", "run", sweep, "--store", "s3://b/s", "--address", "h:1", "--workers", "2", "--gpus", "0.5"]
    assert (launches.of("one") / "log").read_text().splitlines() == [*expected, '{"name": "tiny"}']


def test_a_launch_is_a_session_of_its_own_and_takes_no_input(launches: Launches):
    launcher = launches.make("cat; ps -o sid= -p $$")
    launcher.launch("one", "", OPTIONS)
    assert ends(launcher, "one") == LaunchState("succeeded")
    session = int((launches.of("one") / "log").read_text())
    assert session == json.loads((launches.of("one") / "process.json").read_text())["pid"] != os.getsid(0)


def test_a_launch_of_the_same_id_does_nothing_while_it_runs_and_after(launches: Launches):
    launcher = launches.make("while [ ! -e go ]; do sleep 0.01; done")
    launcher.launch("one", "", OPTIONS)
    launcher.launch("one", "", OPTIONS)
    assert launcher.state("one") == LaunchState("running")
    (launches.folder / "go").touch()
    assert ends(launcher, "one") == LaunchState("succeeded")
    launcher.launch("one", "", OPTIONS)
    launches.make("").launch("one", "", OPTIONS)
    assert (launcher.state("one"), launches.begun()) == (LaunchState("succeeded"), 1)


def test_of_many_launches_of_one_id_at_once_one_begins(launches: Launches):
    launcher = launches.make("while [ ! -e go ]; do sleep 0.01; done")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: launcher.launch("one", "", OPTIONS), range(8)))
    wait_until(launches.begun)
    assert launcher.state("one") == LaunchState("running")
    (launches.folder / "go").touch()
    assert ends(launcher, "one") == LaunchState("succeeded")
    assert launches.begun() == 1
    assert sorted(p.name for p in launches.of("one").iterdir()) == [
        "command.json", "log", "process.json", "status", "sweep.json",
    ]  # fmt: skip


def test_a_launch_that_was_prepared_and_never_begun_begins(launches: Launches):
    launches.of("one").mkdir(parents=True)
    (launches.of("one") / "sweep.json").write_text("half")
    launcher = launches.make('cat "$3"')
    assert launcher.state("one") is None
    launcher.launch("one", "whole", OPTIONS)
    assert ends(launcher, "one") == LaunchState("succeeded")
    assert (launches.of("one") / "log").read_text() == "whole"


LAUNCH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from services.launching.local import LocalLauncher
from services.launching.options import RunOptions
folder, *command = sys.argv[1:]
LocalLauncher(Path(folder), tuple(command)).launch("one", "", RunOptions(store="/store"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_launch_outlives_the_process_that_made_it(launches: Launches):
    launcher = launches.make("while [ ! -e go ]; do sleep 0.01; done")
    died = subprocess.run([sys.executable, "-c", LAUNCH_AND_DIE, launcher._folder, *launcher._command], check=False)
    assert died.returncode == -signal.SIGKILL
    assert launcher.state("one") == LaunchState("running")
    launcher.launch("one", "", OPTIONS)
    (launches.folder / "go").touch()
    assert ends(launcher, "one") == LaunchState("succeeded")
    assert launches.begun() == 1


def test_a_failure_says_its_last_words_and_where_the_rest_is(launches: Launches):
    launcher = launches.make("echo a; echo 'error: no such dataset' >&2; exit 2")
    launcher.launch("one", "", OPTIONS)
    log = launches.of("one") / "log"
    assert ends(launcher, "one") == LaunchState("failed", f"exit status 2: error: no such dataset; log: {log}")


def test_a_command_that_there_is_not_is_a_failure(launches: Launches):
    launcher = LocalLauncher(launches.folder / "launches", ("/no/such/command",))
    launcher.launch("one", "", OPTIONS)
    found = ends(launcher, "one")
    assert found.status == "failed"
    assert "cannot start /no/such/command" in found.reason


def test_a_supervisor_that_cannot_begin_is_told_of_and_may_be_tried_again(launches: Launches):
    launcher = launches.make("true")
    launches.of("one").mkdir(parents=True)
    (launches.of("one") / "log").mkdir()
    with pytest.raises(ServiceError, match="cannot start one: "):
        launcher.launch("one", "", OPTIONS)
    assert launcher.state("one") is None
    (launches.of("one") / "log").rmdir()
    launcher.launch("one", "", OPTIONS)
    assert ends(launcher, "one") == LaunchState("succeeded")


def test_one_whose_processes_are_killed_is_lost(launches: Launches):
    launcher = launches.make("while [ ! -e go ]; do sleep 0.01; done")
    launcher.launch("one", "", OPTIONS)
    os.killpg(launches.supervisor("one").pid, signal.SIGKILL)
    found = ends(launcher, "one")
    assert found.status == "lost"
    assert str(launches.of("one") / "log") in found.reason
    launcher.launch("one", "", OPTIONS)
    assert launcher.state("one") == found


def test_one_whose_supervisor_alone_is_killed_runs_for_as_long_as_its_command_does(launches: Launches):
    launcher = launches.make("while [ ! -e go ]; do sleep 0.01; done; echo end > end")
    launcher.launch("one", "", OPTIONS)
    wait_until(launches.begun)
    supervisor = launches.supervisor("one")
    supervisor.kill()
    wait_until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
    assert launcher.state("one") == LaunchState("running")
    (launches.folder / "go").touch()
    assert ends(launcher, "one").status == "lost"
    assert (launches.folder / "end").exists()


def test_a_stop_interrupts_it_once_and_lets_it_end_well(launches: Launches):
    launcher = launches.make(
        "trap 'echo int >> ints' INT; trap '' TERM; touch ready; "
        "while [ ! -e go ]; do sleep 0.01; done; exit 130"
    )  # fmt: skip
    launcher.launch("one", "", OPTIONS)
    wait_until((launches.folder / "ready").exists)
    for _ in range(3):
        launcher.stop("one")
    wait_until((launches.folder / "ints").exists)
    assert launcher.state("one") == LaunchState("running")
    (launches.folder / "go").touch()
    assert ends(launcher, "one") == LaunchState("stopped", "it was asked to end")
    assert (launches.folder / "ints").read_text() == "int\n"
    launcher.stop("one")
    launcher.stop("never launched")
    assert launcher.state("never launched") is None


def test_one_that_does_not_end_when_asked_to_is_killed_at_last(launches: Launches, monkeypatch: pytest.MonkeyPatch):
    launcher = launches.make("trap '' INT; touch ready; while true; do sleep 0.01; done")
    launcher.launch("one", "", OPTIONS)
    wait_until((launches.folder / "ready").exists)
    launcher.stop("one")
    launcher.stop("one")
    assert launcher.state("one") == LaunchState("running")
    monkeypatch.setattr(local, "STOP_SECONDS", 0.0)
    launcher.stop("one")
    found = ends(launcher, "one")
    assert found == LaunchState("stopped", "killed, for it did not end when it was asked to")


def test_a_command_is_interrupted_even_where_the_scheduler_ignores_interrupts(launches: Launches):
    """As one does that a shell without job control started in the background."""
    launcher = launches.make("touch ready; while true; do sleep 0.01; done")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        launcher.launch("one", "", OPTIONS)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until((launches.folder / "ready").exists)
    launcher.stop("one")
    assert ends(launcher, "one").status == "stopped"


def test_the_place_tells_hosts_and_folders_apart(tmp_path: Path):
    places = {LocalLauncher(tmp_path / name).place for name in ("a", "b")}
    assert len(places) == 2
    assert all(place and str(tmp_path) in place for place in places)
