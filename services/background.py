"""What a server does besides answering: it brings accepted sweeps to the cluster, and fires schedules."""

import fcntl
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.courier import Courier
from services.errors import ServiceError
from services.ledger import Ledger
from services.scheduler import make_scheduler
from services.serving import Serving

if TYPE_CHECKING:
    from cluster.jobs import Jobs

_log = logging.getLogger("basin.background")
_END_SECONDS = 10.0


@contextmanager
def at_work(
    serving: Serving, *, workers: int | None = None, shared: Sequence[Path] = (), scheduling: bool = True
) -> Iterator[None]:
    """Bring sweeps to the cluster at `serving.dashboard`, and fire schedules, in threads for as long as the block runs.

    A process that is killed leaves nothing half-done: another one goes on.

    Args:
        serving: where the ledger, the store and the cluster are.
        workers: of sweeps that do not say how many they want.
        shared: folders that the cluster's machines have under the same path.
        scheduling: whether to fire schedules, too.
    """
    ledger, stop = Ledger(serving.ledger), threading.Event()
    works: dict[str, Callable[[threading.Event], None]] = {}
    if (dashboard := serving.dashboard) is not None:

        def connect() -> "Jobs":
            from cluster.jobs import Jobs

            return Jobs(dashboard)

        works["courier"] = Courier(ledger, serving.store, connect, workers=workers, shared=shared, say=_log.info).run
    if scheduling:
        works["scheduler"] = make_scheduler(ledger, serving.cache, _log.info).run
    threads = [threading.Thread(target=work, args=(stop,), name=name, daemon=True) for name, work in works.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_END_SECONDS)
        ledger.close()


@contextmanager
def alone(ledger: Ledger, cache: Path, *, own_cluster: bool) -> Iterator[None]:
    """Refuse to share a ledger with a server whose cluster is another one: each would run the other's sweeps again.

    Servers that share a cluster may share a ledger; one with a cluster of its own has its ledger for itself. The kernel
    releases the lock however the process ends.

    Raises:
        ServiceError: another server on this machine is in the way.
    """
    folder = ledger.folder or cache / "ledger" / ledger.identity
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if own_cluster else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(
                f"another `basin serve` is at work on the ledger {ledger.name}: use that one, stop it, or name another "
                "store; servers that share a Ray cluster (--address) may share a store"
            ) from None
        yield
