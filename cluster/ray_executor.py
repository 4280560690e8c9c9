"""The executor on Ray actors."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import ray

from cluster.dispatch import Dispatch
from cluster.errors import ClusterError
from cluster.executor import WIDTH, Spent
from cluster.packing import Item, Waiting
from cluster.pool import Pool
from cluster.runtime import connect, is_broken
from cluster.work import Arrays, Lost, Work
from models.runs.events import Event

logger = logging.getLogger(__name__)

_MOST_RESTARTS = 3
PATIENCE = 900.0  # seconds: a cloud takes minutes to bring a machine with a GPU


class RayExecutor:
    """Runs packs on Ray actors, each with one pack at a time.

    A worker that dies takes nothing with it but the time since its runs' last checkpoints: the runs that it had begun
    go on alone, elsewhere where there is another machine, and the others with new company. A run is `Lost` when
    `attempts` workers have died of it without a checkpoint between; the loss of a machine counts against no run, unless
    it meets with ten. Ray itself retries nothing. Machines that join the cluster get workers. When nothing waits any
    more, workers that are done take over what busy ones have not begun.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        address: str | None = None,
        cache: Path | None = None,
        env: Mapping[str, str] | None = None,
        attempts: int = 3,
        *,
        width: int = WIDTH,
        patience: float = PATIENCE,
        seconds: float = math.inf,
        tell: Callable[[str], None] = logger.warning,
    ):
        """Connect to Ray, unless this process is connected already.

        Args:
            n_workers: the most actors that live at a time; None is as many as the cluster has room for.
            address: of the cluster: see `connect`.
            cache: folder of compiled programs on the workers' machines.
            env: added to the workers' environment.
            attempts: deaths after which a run is given up.
            width: the most runs that travel together.
            patience: seconds to wait for a machine while nobody is at work; on this machine alone none is waited for.
            seconds: that a run may take; the worker of one that takes longer is ended, and the run is `Lost`.
            tell: told in a sentence what is waited for.

        Raises:
            ClusterError: Ray cannot be reached or started.
            ValueError: a number is less than 1.
        """
        if (n_workers is not None and n_workers < 1) or min(attempts, width) < 1:
            raise ValueError(f"n_workers is {n_workers}, attempts {attempts}, width {width}: expected at least 1 each")
        self._attempts = attempts
        self._width = width
        self._patience = patience
        self._seconds = seconds
        self._tell = tell
        self._address = address
        self._restarts = 0
        self._connected_here = not ray.is_initialized()
        alone = connect(address) if self._connected_here else False
        self._pool = Pool(math.inf if n_workers is None else n_workers, cache, env or {}, grows=not alone)

    def execute(
        self, items: Iterable[Item], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[Event | Lost]:
        """Run all items; see `Executor`.

        Raises:
            ClusterError: there is no worker for a run, and none came within the patience; or workers do not start.
            ValueError: a run key is that of another run, which has not ended, or an item's data is absent.
        """
        waiting = Waiting(items, self._width)
        dispatch = Dispatch(
            self._pool,
            waiting,
            work,
            data,
            checkpoints,
            budget=self._attempts,
            patience=self._patience,
            seconds=self._seconds,
            tell=self._tell,
            is_broken=is_broken,
            restart=self._restart,
        )
        yield from dispatch.events()

    def _restart(self) -> None:
        """Start Ray anew after it died on this machine."""
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise ClusterError(
                f"Ray's own processes on this machine died {self._restarts} times: something ends them, or memory is "
                "short; what is finished is kept, and --workers 0 does without Ray"
            )
        self._tell("Ray's own processes on this machine died: Ray is started again, and unfinished runs go on")
        ray.shutdown()
        connect(self._address)

    @property
    def spent(self) -> Spent:
        """See `Executor`."""
        return self._pool.spent

    def close(self) -> None:
        """End all actors; leave Ray, and stop it if it was started here, unless it was there before this executor."""
        if ray.is_initialized():
            self._pool.close()
            if self._connected_here:
                ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
