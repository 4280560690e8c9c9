"""Schedules in real processes: several schedulers that are killed fire each occurrence once, and the command works."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from services.launching.options import RunOptions
from services.ledger.database import Ledger, default_url
from services.scheduling.occurrences import Occurrence, history
from services.scheduling.scheduler import LEASE_SECONDS
from services.scheduling.schedules import add, define
from services.store.store import Store
from services.sweeps.definition import parse_sweep, settle
from tests.acceptance.conftest import PATIENCE, Basin
from tests.support import postgres, scheduled
from tests.support.scheduling import Fate

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
SCHEDULERS = 3
SWEEP = {"name": "tiny", "datasets": ["iris"], "learners": ["svm"], "budget": "quick", "splits": 1, "measures": []}


class Size(NamedTuple):
    """Of a story: schedules of a minute each, minutes, how many processes die, and launches between two kills."""

    schedules: int
    minutes: int
    kills: int
    between: int


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
        return
    with postgres.server() as server:
        yield server.new_url()


class Schedulers:
    """Processes of one ledger, of which some die by themselves, and some are killed."""

    def __init__(self, fate: Fate, size: Size, folder: Path):
        self._fate, self._size, self._folder = fate, size, folder
        self._random = random.Random(20260105)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.killed = 0
        self._kill_at = 0

    def begun(self) -> list[str]:
        """The sweep file of every launch that has begun, in the folder of its launch."""
        path = self._folder / "begun"
        return path.read_text().splitlines() if path.exists() else []

    def keep_alive(self) -> None:
        """Start those that are missing. Kill one each time that some more launches have begun."""
        for process in [process for process in self._processes if process.poll() is not None]:
            assert process.returncode == -9, (self._folder / "said").read_text()
            self.killed += 1
            self._processes.remove(process)
        while len(self._processes) < SCHEDULERS:
            self._processes.append(self._start())
        if self.killed < self._size.kills and len(self.begun()) >= self._kill_at:
            self._kill_at = len(self.begun()) + self._size.between
            self._random.choice(self._processes).kill()

    def end(self) -> None:
        """End them as a person does."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            assert process.wait(PATIENCE) in (0, -9)

    def _start(self) -> subprocess.Popen[bytes]:
        fate = self._fate
        if self.killed < self._size.kills:
            fate = replace(fate, dies_at=self._random.randint(1, 20), after=self._random.random() < 0.5)
        with (self._folder / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.support.scheduling", fate.text()], cwd=ROOT, stdout=said, stderr=said
            )


@pytest.mark.parametrize(
    "size", [Size(3, 10, 4, 7), pytest.param(Size(8, 25, 10, 15), marks=pytest.mark.soak)], ids=str
)
def test_no_occurrence_is_lost_or_doubled_while_three_schedulers_are_killed(url: str, size: Size, tmp_path: Path):
    end = BEGIN + timedelta(minutes=size.minutes)
    names = [f"s{number}" for number in range(size.schedules)]
    expected = [(name, BEGIN + timedelta(minutes=minute)) for name in names for minute in range(1, size.minutes + 1)]
    ledger = Ledger(url)
    for name in names:
        options = RunOptions(store=str(tmp_path / "store"))
        settings = {"name": name, "overlap": "queue", "coalesce": False, "misfire_grace": timedelta(days=1)}
        add(ledger, define(settle(parse_sweep(SWEEP)), "* * * * *", options, BEGIN, **settings))
    fate = Fate(url, str(tmp_path), BEGIN.isoformat(), end.isoformat(), started=time.time(), speed=200.0)
    schedulers = Schedulers(fate, size, tmp_path)
    until = time.monotonic() + 2 * PATIENCE
    try:
        while (counts := Counter(each.status for each in history(ledger, limit=1000))) != {"succeeded": len(expected)}:
            assert time.monotonic() < until, counts
            assert not counts.keys() & {"failed", "stopped", "lost", "skipped"}, history(ledger, limit=1000)
            schedulers.keep_alive()
            time.sleep(0.2)
    finally:
        schedulers.end()
    assert schedulers.killed >= size.kills
    found = history(ledger, limit=1000)
    assert sorted((each.schedule, each.planned) for each in found) == expected
    begun = Counter(Path(sweep).parent.name for sweep in schedulers.begun())
    assert begun == Counter(each.launch_id for each in found)
    assert set(begun.values()) == {1}
    assert_one_at_a_time(found)
    ledger.close()


def assert_one_at_a_time(found: list[Occurrence]) -> None:
    """Those of one schedule were claimed in order, each when the one before had ended."""
    by_time = sorted(found, key=lambda each: (each.schedule, each.planned))
    for earlier, later in pairwise(by_time):
        if earlier.schedule == later.schedule:
            assert earlier.ended is not None
            assert later.claimed is not None
            assert earlier.ended <= later.claimed


def test_a_scheduled_sweep_survives_its_scheduler_and_is_seen_through_by_the_next(basin: Basin, tmp_path: Path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    store = ("--store", tmp_path / "store")
    added = basin.run("schedule", "add", tmp_path / "tiny.yaml", "--cron", "0 0 29 2 *", "--workers", "0", *store)
    assert added.status == 0, added.stderr
    assert basin.run("schedule", "run-now", "tiny", *store).status == 0
    ledger = Ledger(default_url(tmp_path / "store", tmp_path), create=False)

    def status() -> str:
        (only,) = history(ledger)
        return only.status

    first = basin.start("scheduler", *store)
    first.wait_until(lambda: status() == "running")
    first.kill()
    scheduled.let_pass(ledger, LEASE_SECONDS)
    second = basin.start("scheduler", *store)
    second.wait_until(lambda: status() != "running")
    second.interrupt()
    ended = second.wait()
    assert (ended.status, status()) == (0, "succeeded"), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "UTC: succeeded" in ended.stderr
    ledger.close()
    stored = Store(tmp_path / "store")
    assert stored.sweeps() == ["tiny"]
    assert stored.runs().collect()["status"].to_list() == ["finished"]
