"""What a machine does to a sweep, one fault at a time: a message that says what to do, and then the same tables."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from benchmarks.chaos_stores import bundle_files, differences, faults
from services.store.store import Store
from tests.acceptance.conftest import EXECUTABLE, LINEAR, NET, PATIENCE, Basin

pytestmark = pytest.mark.slow

TREES = {"name": "trees", "predictor": {"kind": "boosted-trees", "max_rounds": 5}, "inference": {"method": "library"}}
SWEEP = {"name": "faults", "datasets": ["iris"], "learners": [NET, LINEAR, TREES], "splits": 4, "seeds": 1}
N_RUNS = 12


class Calm(NamedTuple):
    """A sweep file, and a store in which all of its runs are finished."""

    file: Path
    store: Path

    def run(self, store: Path) -> tuple[str, ...]:
        """The arguments that fit in another store what that lacks."""
        return ("sweep", "run", str(self.file), "--workers", "0", "--store", str(store))


@pytest.fixture(scope="module")
def calm(basin: Basin, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    made = Calm(folder / "sweep.yaml", folder / "store")
    ended = basin.run(*made.run(made.store))
    assert ended.status == 0, ended.stderr
    assert faults(made.store, N_RUNS) == []
    return made


@pytest.fixture
def store(calm: Calm, tmp_path: Path) -> Path:
    """A copy of the finished store, to be harmed."""
    return Path(shutil.copytree(calm.store, tmp_path / "store"))


def assert_healed(store: Path, calm: Calm) -> None:
    assert differences(store, calm.store) == []
    assert faults(store, N_RUNS) == []


# --- the store --------------------------------------------------------------------------------------------------------


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip_a_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("harm", [truncate, flip_a_bit])
def test_a_poisoned_bundle_is_found_and_set_aside_and_its_run_fitted_again(command, calm, store, harm):
    poisoned = bundle_files(store)[N_RUNS // 2]
    poisoned.write_bytes(harm(poisoned.read_bytes()))

    found = command("store", "check", "--store", store)
    assert found.status == 1
    assert poisoned.stem in found.out
    assert "basin store rebuild" in found.out

    rebuilt = command("store", "rebuild", "--store", store)
    assert rebuilt.status == 0
    assert f"{poisoned.stem} was damaged, and is in damaged/ now" in rebuilt.err
    assert f"{N_RUNS - 1} runs are in the tables again" in rebuilt.out

    again = command(*calm.run(store))
    assert again.status == 0, again.err
    assert f"1 run fitted by this command, {N_RUNS - 1} reused from the store" in again.out
    assert command("store", "check", "--store", store).status == 0
    assert_healed(store, calm)


@pytest.mark.parametrize("table", ["runs", "metrics"])
def test_a_deleted_table_is_missed_with_the_remedy_and_made_again(command, calm, store, table):
    shutil.rmtree(store / "tables" / table)
    for words in (("results", table, "--store", store), calm.run(store)):
        ended = command(*words)
        assert ended.status == 2
        assert ended.err.startswith("error: ")
        assert table in ended.err
        assert "basin store rebuild" in ended.err
        assert "Traceback" not in ended.err
    assert command("store", "check", "--store", store).status == 1
    assert command("store", "rebuild", "--store", store).status == 0
    assert_healed(store, calm)


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, calm: Calm) -> Iterator[Path]:
    """A file system on which about half of the store has room."""
    if os.geteuid():
        pytest.skip("mounting a small file system takes root")
    pages = sum(-(-path.stat().st_size // 4096) for path in calm.store.rglob("*") if path.is_file())
    (folder := tmp_path / "disk").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={pages // 2 * 4096}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_the_command_with_what_to_do_and_the_same_command_goes_on(basin: Basin, calm, small_disk):
    store = small_disk / "store"
    ended = basin.run(*calm.run(store))
    assert ended.status == 2
    assert "Traceback" not in ended.stderr
    assert "fault in Basin" not in ended.stderr
    message = " ".join(ended.stderr.partition("error: ")[2].split())
    assert str(store) in message
    assert "No space left on device" in message
    assert "free some space" in message
    assert "run the command again: finished runs are kept" in message
    kept = len(bundle_files(store))
    assert 0 < kept < N_RUNS, "the disk should be full in the middle of the sweep"

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = basin.run(*calm.run(store))
    assert again.status == 0, again.stderr
    assert f"{kept} reused from the store" in again.stdout
    assert basin.run("store", "check", "--store", store).status == 0
    assert_healed(store, calm)


# --- the clock --------------------------------------------------------------------------------------------------------

# Shifts the wall clock of a process, and of all libraries in it, by the seconds that a file holds, as they change.
SHIFTED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long *shift;

__attribute__((constructor)) static void open_shift(void) {
    int file = open(getenv("CLOCK_SHIFT"), O_RDONLY);
    if (file < 0) abort();
    shift = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, now);
    if (!status && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    now->tv_sec = t.tv_sec;
    now->tv_usec = t.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (result) *result = t.tv_sec;
    return t.tv_sec;
}
"""
DAY = 24 * 3600


class ShiftedClock:
    """A wall clock that can jump, for processes that are started with its environment."""

    def __init__(self, folder: Path):
        self._file = folder / "shift"
        self._library = folder / "shifted_clock.so"
        (folder / "shifted_clock.c").write_text(SHIFTED_CLOCK)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", self._library, folder / "shifted_clock.c", "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._file.write_bytes(bytes(8))

    @property
    def environment(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT": str(self._file)}

    def jump_to(self, seconds: int) -> None:
        """Be so far off the true time from now on."""
        with self._file.open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))


@pytest.fixture
def clock(tmp_path: Path) -> ShiftedClock:
    if shutil.which("cc") is None:
        pytest.skip("a clock that jumps takes a C compiler, and there is none")
    return ShiftedClock(tmp_path)


def test_a_clock_that_jumps_in_mid_sweep_changes_nothing_but_the_dates(calm, clock, tmp_path):
    store = tmp_path / "store"
    process = start(calm.run(store), tmp_path, clock.environment)
    jumps = [(1, -DAY), (N_RUNS // 2, 400 * DAY)]
    while process.poll() is None:
        if jumps and len(bundle_files(store)) >= jumps[0][0]:
            clock.jump_to(jumps.pop(0)[1])
        time.sleep(0.005)
    assert process.returncode == 0, (tmp_path / "stderr").read_text()
    assert_healed(store, calm)
    runs = Store(store).scan("runs").collect()
    dates = runs["stored_at"].dt.date().unique()
    assert dates.max() - dates.min() > timedelta(days=399), "no jump was seen"
    for name in ("wall_seconds", "compile_seconds", "device_seconds"):
        assert runs[name].is_between(0.0, PATIENCE).all()


def start(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> "subprocess.Popen[Any]":
    """The installed command in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BASIN_", "RAY_"))}
    with (folder / "stderr").open("wb") as err:
        return subprocess.Popen(
            [EXECUTABLE, *arguments],
            env=kept | {"BASIN_CACHE": str(folder / "cache")} | environment,
            stdout=subprocess.DEVNULL,
            stderr=err,
        )
