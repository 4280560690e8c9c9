"""What the children do that write to a store and are killed; `multiprocessing` imports them by name."""

import contextlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path

import numpy as np

from services.errors import StoreError
from services.store import commits, tables
from services.store import writer as writer_module
from services.store.objects import Storage
from tests.support import factories

# A server that has imported everything forks each child at once; it has no threads, so forking is safe.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["tests.support.crashing"])

CHANGES = ("create", "replace", "remove", "move", "flush", "remove_leftovers")


def start(target: Callable, *args: object) -> multiprocessing.Process:
    """A child that does `target`."""
    child = CHILDREN.Process(target=target, args=args)
    child.start()
    return child


def write_forever(location: str, acknowledged: Path, batch: int) -> None:
    """Put runs of seeds 0, 1, … and note the seed of each when it is stored."""
    writer_module.BATCH = batch
    with acknowledged.open("a", buffering=1) as note, writer_module.writing(location) as writer:
        for seed in range(1_000_000):
            if writer.put(factories.record(factories.request(seed))):
                note.write(f"{seed}\n")


def write_shared(location: str, environment: Mapping[str, str], seeds: Iterable[int], order: int, batch: int) -> None:
    """Put runs of these seeds in an order of one's own, in small batches, while others write the same."""
    os.environ.update(environment)
    writer_module.BATCH, commits.COMPACT_EVERY = batch, 7
    with writer_module.writing(location) as writer:
        for seed in np.random.default_rng(order).permutation(list(seeds)):
            request = factories.request(int(seed))
            if seed % 5 == 0:  # some fail first
                writer.put(factories.record(request, factories.failed(request)))
            writer.put(factories.record(request))


def write_until_change(location: str, acknowledged: Path, fatal_change: int) -> None:
    """Put one run and commit it, and die by SIGKILL before a given change to the store."""
    changes = count(1)

    def dying(change: Callable) -> Callable:
        def die_or_do(*args, **kwargs):
            if next(changes) == fatal_change:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **kwargs)

        return die_or_do

    for name in CHANGES:
        setattr(Storage, name, dying(getattr(Storage, name)))
    for module in (commits, tables):
        module.write_deltalake = dying(module.write_deltalake)
    with acknowledged.open("a", buffering=1) as note, writer_module.writing(location) as writer:
        writer.save_checkpoint(factories.request().run_key, {"draws": np.zeros(3)})
        writer.put(factories.record(factories.request()))
        note.write("stored")


def write_large_under_limit(location: str, said: Path, limit_bytes: int) -> None:
    """Put small runs and then a large one, where no file may grow beyond the limit. Note what the store says."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        with writer_module.writing(location) as writer:
            for seed in range(2):
                writer.put(factories.record(factories.request(seed)))
            writer.put(factories.record(large := factories.request(2), factories.result(large, n_rows=100_000)))
    except StoreError as error:
        said.write_text(str(error))


def write_as_nobody(location: str, said: Path) -> None:
    """Open a store for writing as a user who may not. Note what the store says."""
    os.setuid(65534)
    try:
        with writer_module.writing(location):
            pass
    except StoreError as error:
        said.write_text(str(error))


def ended_well(*children: multiprocessing.Process) -> bool:
    """Whether all children ended, and none by a fault."""
    for child in children:
        child.join(120)
    return all(child.exitcode == 0 for child in children)


def killed(*children: multiprocessing.Process) -> None:
    """Kill children, and see that it was that which ended them, where they had not ended well."""
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    for child in children:
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL)
