"""One command at a time at a sweep of a store on this machine; another waits until it has ended, however it does."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.store.location import make
from services.store.objects import Storage


@contextmanager
def turn(location: str, sweep: str, on_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the sweep for as long as the block runs; what is stored is to be looked up within.

    In object storage there is no such lock: who comes later sees by the sweep's standing that another is at work.

    Args:
        location: of the store, which is made where it is missing.
        sweep: its name.
        on_waiting: called before another command is waited for.

    Raises:
        StoreError: the store cannot be written to.
    """
    storage = Storage(location)
    make(storage)
    if storage.remote:
        yield
        return
    path = Path(location, "sweeps", f"{sweep}.lock")
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise storage.refusal("write to", error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
