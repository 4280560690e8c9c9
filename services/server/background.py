"""What a server does besides answering: it brings accepted sweeps to the cluster, and fires schedules."""

import fcntl
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from services.api.settings import Serving
from services.errors import ServiceError
from services.ledger.database import Ledger
from services.scheduling.scheduler import make_scheduler
from services.submissions.dispatcher import Dispatcher

if TYPE_CHECKING:
    from cluster.jobs import Jobs

_log = logging.getLogger("basin.background")
_END_SECONDS = 10.0
_AGAIN_SECONDS = 5.0


@contextmanager
def at_work(serving: Serving) -> Iterator[None]:
    """Bring sweeps to the cluster of a server, and fire schedules, in threads for as long as the block runs.

    A process that is killed leaves nothing half-done: another one goes on.

    Raises:
        LedgerError: the ledger cannot be used.
        ServiceError: another server on this machine is in the way.
    """
    with closing(Ledger(serving.ledger)) as ledger, _alone(ledger, serving):
        works = [make_scheduler(ledger, serving.cache, _log.info).run]
        if serving.dashboard is not None:
            works.append(_dispatcher(ledger, serving, serving.dashboard).run)
        stop = threading.Event()
        threads = [threading.Thread(target=_persist, args=(work, stop), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(_END_SECONDS)


def _persist(work: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """A fault of Basin itself ends nothing for good: it is logged, and the work begun again."""
    while not stop.is_set():
        try:
            work(stop)
        except Exception:  # noqa: BLE001 - whatever it is
            _log.exception("what a server does in the background failed, and is begun again")
            stop.wait(_AGAIN_SECONDS)


def _dispatcher(ledger: Ledger, serving: Serving, dashboard: str) -> Dispatcher:
    def connect() -> "Jobs":
        from cluster.jobs import Jobs

        return Jobs(dashboard)

    # A cluster of its own is on this machine, so that files need not travel.
    shared = serving.data_roots if serving.own_cluster else ()
    return Dispatcher(
        ledger,
        serving.store,
        connect,
        workers=serving.workers,
        at_once=serving.sweeps_at_once,
        shared=shared,
        say=_log.info,
    )


@contextmanager
def _alone(ledger: Ledger, serving: Serving) -> Iterator[None]:
    """Refuse to share a ledger with a server whose cluster is another one: each would run the other's sweeps again.

    Servers that share a cluster may share a ledger. The kernel releases the lock however a process ends.

    Raises:
        ServiceError: another server on this machine is in the way.
    """
    folder = ledger.folder or serving.cache / "ledger" / ledger.identity
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if serving.own_cluster else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(
                f"another `basin serve` is at work on the ledger {ledger.name}: use that one, stop it, or name another "
                "store; servers that share a Ray cluster (--address) may share a store"
            ) from None
        yield
