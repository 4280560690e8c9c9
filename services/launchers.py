"""What launches a sweep once for each launch id, so that it outlives the scheduler, and says what became of it."""

from typing import Literal, NamedTuple, Protocol

from services.schedules import RunOptions


class LaunchState(NamedTuple):
    """What became of a launch, and why where it did not succeed."""

    status: Literal["pending", "running", "succeeded", "failed", "stopped", "lost"]
    reason: str = ""


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
