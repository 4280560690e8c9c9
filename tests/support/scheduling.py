"""A scheduler whose clock runs fast, and which kills itself where it is told to: a process of the test of schedules.

python -m tests.support.scheduling JSON, where the JSON is a `Fate`.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.launching.local import LocalLauncher
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.scheduling.scheduler import Scheduler

LEASE_SECONDS = 1.0


@dataclass(frozen=True)
class Fate:
    """What a scheduler works on, and when it dies.

    Attributes:
        started: real seconds since 1970 at which the fast clock showed `begin`.
        end: when the fast clock stands still.
        dies_at: the launch, counted from 1, at which it kills itself; 0: never.
        after: whether it dies when it has launched, or when it is about to.
    """

    url: str
    folder: str
    begin: str
    end: str
    started: float
    speed: float
    dies_at: int = 0
    after: bool = False

    def now(self) -> datetime:
        """What the fast clock shows."""
        begin, end = datetime.fromisoformat(self.begin), datetime.fromisoformat(self.end)
        return min(end, begin + timedelta(seconds=self.speed * (time.time() - self.started)))

    def text(self) -> str:
        """As the process takes it."""
        return json.dumps(asdict(self))


class FatalLauncher(LocalLauncher):
    """Notes that the launch has begun in one file, and kills its process where the fate wants it."""

    def __init__(self, fate: Fate) -> None:
        folder = Path(fate.folder)
        super().__init__(folder / "launches", ("/bin/sh", "-c", f'echo "$3" >> {folder / "begun"}', "sh"))
        self._fate = fate
        self._n = 0

    def launch(self, launch_id: str, sweep: str, options: RunOptions) -> None:
        self._n += 1
        if self._n == self._fate.dies_at and not self._fate.after:
            os.kill(os.getpid(), signal.SIGKILL)
        super().launch(launch_id, sweep, options)
        if self._n == self._fate.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(fate: Fate) -> None:
    """Work until killed, or until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    launcher = FatalLauncher(fate)
    ledger = Ledger(fate.url)
    Scheduler(
        ledger,
        lambda _: launcher,
        launcher.place,
        clock=lambda: fate.now().astimezone(UTC),
        interval_seconds=0.15,
        lease_seconds=LEASE_SECONDS,
    ).run(stop)
    ledger.close()


if __name__ == "__main__":
    main(Fate(**json.loads(sys.argv[1])))
