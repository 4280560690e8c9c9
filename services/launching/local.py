"""Launches on this machine: processes that outlive the scheduler, each with a folder of its own."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from services.errors import ServiceError
from services.files import written_aside
from services.launching.launcher import STOPPED, LaunchState, last_line, state_after
from services.launching.options import RunOptions

STOP_SECONDS = 60.0  # after SIGINT, which lets a sweep keep what is finished, until SIGKILL
_START_SECONDS = 60.0
BASIN = (sys.executable, "-m", "services.cli")


class LocalLauncher:
    """Starts `basin sweep run` on this machine, each launch in a folder of its own: see
    `services.launching.supervisor`.
    """

    def __init__(self, folder: Path, command: tuple[str, ...] = BASIN) -> None:
        """Launch in folders of `folder` by `command`, to which the arguments of `sweep run` are added."""
        self._folder = folder.resolve()
        self._command = command
        self._stopping: dict[str, float] = {}
        self.place = f"{socket.gethostname()}:{self._folder}"

    def launch(self, launch_id: str, sweep: str, options: RunOptions) -> None:
        """See `Launcher`."""
        folder = self._folder / launch_id
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "process.json").exists():
            return
        command = [*self._command, *_arguments(folder / "sweep.json", options)]
        for name, text in {"sweep.json": sweep, "command.json": json.dumps(command)}.items():
            with written_aside(folder / name) as aside:
                aside.write_text(text, encoding="utf-8")
        supervisor = [sys.executable, "-m", "services.launching.supervisor", folder]
        try:
            started = subprocess.run(
                supervisor, stdin=subprocess.DEVNULL, capture_output=True, timeout=_START_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ServiceError(f"cannot start {launch_id}: nothing began within {_START_SECONDS:.0f} s") from None
        if not (folder / "process.json").exists():
            output = started.stderr.decode(errors="replace").strip() or _end_of(folder / "log")
            raise ServiceError(f"cannot start {launch_id}: {last_line(output)}")

    def state(self, launch_id: str) -> LaunchState | None:
        """See `Launcher`."""
        folder = self._folder / launch_id
        if not (folder / "process.json").exists():
            return None
        # In this order: what has ended by now has left its status.
        alive = _alive(folder)
        if (folder / "status").exists():
            return _ended(folder, int((folder / "status").read_text()))
        if alive:
            return LaunchState("running")
        if (folder / "stop").exists():
            return LaunchState("stopped", "killed, for it did not end when it was asked to")
        return LaunchState("lost", f"its process was killed, or its machine went down; log: {folder / 'log'}")

    def stop(self, launch_id: str) -> None:
        """See `Launcher`."""
        folder = self._folder / launch_id
        if not _alive(folder):
            return
        group = json.loads((folder / "process.json").read_text())["pid"]
        since = self._stopping.setdefault(launch_id, time.monotonic())
        with suppress(ProcessLookupError):
            try:
                (folder / "stop").touch(exist_ok=False)
                os.killpg(group, signal.SIGINT)  # once: a second one would cut short what it does to end well
            except FileExistsError:
                if time.monotonic() > since + STOP_SECONDS:
                    os.killpg(group, signal.SIGKILL)


def _ended(folder: Path, status: int) -> LaunchState:
    if status and (folder / "stop").exists():
        return STOPPED
    return state_after(status, _end_of(folder / "log"), str(folder / "log"))


def _alive(folder: Path) -> bool:
    """Whether the supervisor or its command lives: they hold a lock on the file, which no clock or pid can mistake."""
    try:
        with (folder / "process.json").open() as process:
            fcntl.flock(process, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _end_of(log: Path) -> str:
    try:
        return log.read_bytes()[-4000:].decode(errors="replace")
    except OSError:
        return ""


def _arguments(sweep: Path, options: RunOptions) -> list[str]:
    given = options.model_dump(exclude_none=True)
    return ["sweep", "run", str(sweep), *(word for name, value in given.items() for word in (f"--{name}", str(value)))]
