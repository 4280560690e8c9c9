"""What launches a sweep once for each launch id, so that it outlives the scheduler, and says what became of it."""

import signal
from typing import Literal, NamedTuple, Protocol

from services.launching.options import RunOptions


class LaunchState(NamedTuple):
    """What became of a launch, and why where it did not succeed."""

    status: Literal["pending", "running", "succeeded", "failed", "stopped", "lost"]
    reason: str = ""


STOPPED = LaunchState("stopped", "it was asked to end")
_INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)


def state_after(status: int, output: str, log: str) -> LaunchState:
    """What the exit status of a launch's command means.

    Args:
        status: negative where a signal ended it.
        output: the end of what it printed.
        log: where all of that is.
    """
    if status == 0:
        return LaunchState("succeeded")
    if status in _INTERRUPTED:
        return STOPPED
    return LaunchState("failed", f"exit status {status}: {last_line(output)}; log: {log}")


def last_line(output: str) -> str:
    """The last words of a command: there it says what went wrong."""
    lines = output.strip().splitlines()
    return lines[-1].strip()[:500] if lines else "it printed nothing"


class Launcher(Protocol):
    """Starts a sweep that outlives the process that starts it."""

    @property
    def place(self) -> str | None:
        """Where alone its launches can be seen and stopped; None: by every scheduler."""
        ...

    def launch(self, launch_id: str, sweep: str, options: RunOptions) -> None:
        """Start it unless one of this id was ever started: then nothing happens.

        Raises:
            ServiceError, ClusterError, SpecError, OSError: it is not started now, and may be at another try.
        """
        ...

    def state(self, launch_id: str) -> LaunchState | None:
        """What became of it; None where none of this id was ever started."""
        ...

    def stop(self, launch_id: str) -> None:
        """Ask it to end, and to keep what is finished. Asked again and again, it ends by force at last."""
        ...
