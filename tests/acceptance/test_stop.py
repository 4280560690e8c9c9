"""A sweep that is being run can be watched from outside, and stopped: by request, and by SIGTERM."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import BNN, LINEAR, Basin

LONG = BNN | {"inference": BNN["inference"] | {"draws": 20_000, "keep_draws": False}}
SWEEP = {"name": "watched", "datasets": ["iris"], "learners": [LINEAR, LONG], "splits": 1, "seeds": 1}


class Watched:
    """Commands about one sweep in one store."""

    def __init__(self, basin: Basin, folder: Path):
        self._basin, self._folder = basin, folder
        self._store = folder / "store"
        (folder / "watched.yaml").write_text(yaml.safe_dump(SWEEP))

    def start(self, *arguments: str, workers: int):
        """Start a command, and wait until it says that it is running and has stored a checkpoint."""
        command = self._basin.start("sweep", *arguments, "--workers", str(workers), "--store", self._store)
        command.wait_until(self._is_at_work)
        return command

    def _is_at_work(self) -> bool:
        file = self._store / "sweeps" / "watched.state.json"
        runs = file.exists() and '"state": "running"' in file.read_text()
        return runs and any((self._store / "checkpoints").glob("[!.]*"))

    def run(self, *arguments: str):
        return self._basin.run("sweep", *arguments, "--store", self._store)

    def standing(self) -> dict[str, Any]:
        return json.loads(self.run("status", "watched", "--json").stdout)["standing"]

    @property
    def file(self) -> str:
        return str(self._folder / "watched.yaml")


@pytest.fixture
def watched(basin: Basin, tmp_path: Path) -> Watched:
    return Watched(basin, tmp_path)


@pytest.mark.ray
def test_a_running_sweep_is_seen_and_stopped_from_outside_and_goes_on(watched: Watched):
    command = watched.start("run", watched.file, workers=2)
    running = watched.standing()
    assert (running["state"], running["alive"], running["runs"]) == ("running", True, 2)
    second = watched.run("run", watched.file)
    assert second.status == 2
    assert "sweep 'watched' is being run by process" in second.stderr
    assert "asked process" in watched.run("stop", "watched").stderr
    ended = command.wait()
    assert ended.status == 130, ended.stderr
    assert "was stopped on request: finished runs are kept; `basin sweep resume watched` goes on" in ended.stderr
    assert "Traceback" not in ended.stderr
    stopped = watched.standing()
    assert (stopped["state"], stopped["alive"]) == ("stopped", False)
    assert sum(stopped["ended"].values()) < 2

    command = watched.start("resume", "watched", workers=0)
    command.kill()
    broken_off = watched.run("status", "watched")
    assert "broken off: `basin sweep resume` goes on" in " ".join(broken_off.stdout.split())


def test_sigterm_keeps_what_is_finished(watched: Watched):
    command = watched.start("run", watched.file, workers=0)
    command.terminate()
    ended = command.wait()
    assert ended.status == 130
    assert "finished runs are kept" in ended.stderr
    assert watched.standing()["state"] == "interrupted"
