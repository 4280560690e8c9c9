"""The real command, in processes of its own, and one undisturbed comparison that the tests share."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

EXECUTABLE = Path(sys.executable).with_name("basin")
PATIENCE = 240.0  # seconds for what takes about fifteen on an idle machine

NET = {
    "name": "net",
    "predictor": {"kind": "mlp", "widths": [3]},
    "inference": {"method": "optimise", "epochs": 5, "dropout": 0.1, "learning_rate": 0.01},
}
LINEAR = {
    "name": "linear",
    "predictor": {"kind": "linear"},
    "prior": {"kind": "normal", "scale": 2.5},
    "inference": {"method": "optimise", "optimiser": "lbfgs", "batch_size": None},
}
# So many small chunks that a checkpoint is seen long before the last draw.
BNN = {
    "name": "bnn",
    "predictor": {"kind": "mlp", "widths": [3]},
    "prior": {"kind": "normal"},
    "inference": {
        "method": "nuts",
        "chains": 2,
        "warmup": 200,
        "draws": 800,
        "chunk": 10,
        "max_tree_depth": 4,
        "init": {"epochs": 5, "learning_rate": 0.01},
    },
}
LEARNERS = [NET, LINEAR, BNN]
SPLITS = 2
N_RUNS = SPLITS * len(LEARNERS)


def write_points(path: Path) -> None:
    """A small table of two classes, y, by x and z."""
    points = [(random.Random(i).random(), random.Random(-i).random()) for i in range(1, 81)]
    rows = [f"{x:.3f},{z:.3f},{'ab'[x + z > 1]}" for x, z in points]
    path.write_text("\n".join(["x,z,y", *rows]))


def bundles(store: Path) -> int:
    """How many runs are stored, without bundles that are being written (`KEY.zip#1`)."""
    return len(list((store / "bundles").glob("*.zip")))


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    status: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """The output as text."""
        return self.output.decode()


class Command:
    """One command at work, the leader of a process group, as a shell with job control starts it."""

    def __init__(self, arguments: list[str], folder: Path, environment: Mapping[str, str]):
        self._out, self._err = folder / "stdout", folder / "stderr"  # not pipes, which Ray's processes would hold open
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [EXECUTABLE, *arguments], cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True
            )
        self._pid = self._process.pid

    def wait(self) -> Ended:
        """What it leaves when it ends."""
        status = self._process.wait(PATIENCE)
        return Ended(status, self._out.read_bytes(), self.errors)

    @property
    def errors(self) -> str:
        """What it said so far."""
        return self._err.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait while it works; fails if it ends first."""
        until = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None, f"it ended first:\n{self.errors}"
            assert time.monotonic() < until, self.errors
            time.sleep(0.01)

    def descendants(self) -> list[psutil.Process]:
        """The processes that it started, and theirs."""
        return psutil.Process(self._pid).children(recursive=True)

    def busy_actors(self) -> list[psutil.Process]:
        """Its Ray actors that are fitting a pack now, by the title that Ray gives them."""
        return [process for process in self.descendants() if title(process) == "ray::Worker.run"]

    def kill(self) -> None:
        """As `kill -9` does: this one process, which cannot help it."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def terminate(self) -> None:
        """As a cluster does before it kills: SIGTERM to the process."""
        self._process.terminate()

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal does: SIGINT to all of the group."""
        os.killpg(self._pid, signal.SIGINT)

    def clean_up(self) -> None:
        """End what a failed test left running."""
        if self._process.poll() is None:
            left = [*self.descendants(), psutil.Process(self._pid)]
            for process in left:
                process.kill()
            self._process.wait(PATIENCE)


def title(process: psutil.Process) -> str:
    """What a process calls itself: Ray's Python processes by what they do, others by their command line."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def gone(processes: list[psutil.Process], seconds: float = 60.0) -> bool:
    """Whether all of them end by themselves in time."""
    until = time.monotonic() + seconds
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < until:
        time.sleep(0.05)
    for process in left:
        process.kill()
    return not left


def _runs(process: psutil.Process) -> bool:
    """A zombie has ended: its parent, or what adopted it, has not asked yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Basin:
    """Starts commands with the tests' own cache."""

    def __init__(self, folder: Path, cache: Path):
        self._folder = folder
        self._started: list[Command] = []
        # Without what the tests' own process was given: the command sets its threads itself.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BASIN_", "RAY_", "JAX_", "XLA_", "PJRT_"))}
        kept = {k: v for k, v in kept.items() if not k.endswith("_NUM_THREADS")}
        self._environment = kept | {
            "BASIN_CACHE": str(cache),
            "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"],
            "COLUMNS": "120",
        }

    def start(self, *arguments: str | Path, **environment: str) -> Command:
        """Start `basin ARGUMENTS` in a folder of its own, with some more variables."""
        folder = self._folder / f"command-{len(self._started)}"
        folder.mkdir()
        command = Command([str(argument) for argument in arguments], folder, self._environment | environment)
        self._started.append(command)
        return command

    def run(self, *arguments: str | Path) -> Ended:
        """Run it to its end."""
        return self.start(*arguments).wait()

    def clean_up(self) -> None:
        """End what failed tests left running."""
        for command in self._started:
            command.clean_up()


@pytest.fixture(scope="session")
def basin(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Basin]:
    """The installed command."""
    started = Basin(tmp_path_factory.mktemp("basin"), cache)
    yield started
    started.clean_up()


@dataclass(frozen=True)
class Comparison:
    """One comparison: its command's arguments and where they make it leave things."""

    folder: Path
    learners: Path

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.folder / "store"

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.folder / "report.html"

    @property
    def arguments(self) -> list[str | Path]:
        """Of the command that makes it on two actors."""
        return [
            *("compare", "iris", "--learners", self.learners, "--budget", "quick", "--splits", str(SPLITS)),
            *("--workers", "2", "--store", self.store, "--json", self.folder / "document.json"),
        ]

    def document(self) -> dict[str, Any]:
        """What was written by --json."""
        return json.loads((self.folder / "document.json").read_text())

    def bundles(self) -> int:
        """How many runs are stored."""
        return bundles(self.store)

    def has_checkpoint(self) -> bool:
        """Whether an unfinished run can go on from where it is."""
        return any(not path.name.startswith(".") for path in (self.store / "checkpoints").glob("*"))


def write_learners(path: Path, learners: list[dict[str, Any]]) -> Path:
    """A learner file."""
    path.write_text(yaml.safe_dump(learners))
    return path


def comparison_in(folder: Path) -> Comparison:
    """The shared comparison, to be made anew in a folder."""
    return Comparison(folder, write_learners(folder / "learners.yaml", LEARNERS))


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """A comparison that a test makes and disturbs."""
    return comparison_in(tmp_path)


@dataclass(frozen=True)
class Undisturbed:
    """A comparison that came to its end at once, and what its command said."""

    comparison: Comparison
    document: dict[str, Any]
    ended: Ended


@pytest.fixture(scope="session")
def undisturbed(starts_ray: None, basin: Basin, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Made once; tests only read it, or run its command again."""
    comparison = comparison_in(tmp_path_factory.mktemp("undisturbed"))
    ended = basin.run(*comparison.arguments, "--report", comparison.report)
    assert ended.status == 0, ended.stderr
    return Undisturbed(comparison, comparison.document(), ended)


def figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document without what may differ between two commands that compare alike: times, counts and provenance."""
    kept = {k: v for k, v in document.items() if k not in ("fitted", "reused", "invocation", "provenance")}
    learners = [{k: v for k, v in learner.items() if k != "seconds"} for learner in document["learners"]]
    return kept | {"learners": learners}
