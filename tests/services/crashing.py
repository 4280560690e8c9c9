"""What the children do that write to a store and are killed; `multiprocessing` imports them by name."""

import os
import resource
import signal
import sys
from pathlib import Path

from services import store, tables
from services.errors import StoreError
from tests.services import factories

SYSTEM_CALLS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def write_forever(path: Path, acknowledged: Path, batch: int) -> None:
    """Put runs of seeds 0, 1, … and note the seed of each when it is stored."""
    store.BATCH = batch
    with acknowledged.open("a", buffering=1) as note, store.writing(path) as writer:
        for seed in range(1_000_000):
            if writer.put(factories.record(factories.request(seed))):
                note.write(f"{seed}\n")


def write_until_call(path: Path, acknowledged: Path, fatal_call: int) -> None:
    """Put one run and commit it, and die by SIGKILL at a given call: to the file system, or after one to a table."""
    calls = 0
    append = tables._append

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == fatal_call:
            os.kill(os.getpid(), signal.SIGKILL)

    def count_append(*args) -> None:
        append(*args)
        count()

    def audit(event: str, args: tuple) -> None:
        if event in SYSTEM_CALLS and str(path) in str(args[0]):
            count()

    sys.addaudithook(audit)
    tables._append = count_append
    with acknowledged.open("a", buffering=1) as note, store.writing(path) as writer:
        writer.put(factories.record(factories.request()))
        note.write("stored")


def write_large_under_limit(path: Path, said: Path, limit_bytes: int) -> None:
    """Put small runs and then a large one, where no file may grow beyond the limit. Note what the store says."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        with store.writing(path) as writer:
            for seed in range(2):
                writer.put(factories.record(factories.request(seed)))
            writer.put(factories.record(large := factories.request(2), factories.result(large, n_rows=100_000)))
    except StoreError as error:
        said.write_text(str(error))


def write_as_nobody(path: Path, said: Path) -> None:
    """Open a store for writing as a user who may not. Note what the store says."""
    os.setuid(65534)
    try:
        with store.writing(path):
            pass
    except StoreError as error:
        said.write_text(str(error))


def hold(path: Path, ready: Path) -> None:
    """Hold the store until killed."""
    with store.writing(path):
        ready.write_text(str(os.getpid()))
        signal.pause()
