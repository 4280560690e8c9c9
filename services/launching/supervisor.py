"""The process that outlives a scheduler: it runs one command, once, and leaves its exit status.

    python -m services.launching.supervisor FOLDER

Files of the folder of a launch:

    command.json   the command, as a list
    process.json   the supervisor's pid and host, there from the moment that the launch has begun, and once for all;
                   it stays locked (flock) until the supervisor and its command have both ended, however they end
    log            what the command printed
    status         its exit status, once it has ended

It returns when the launch has begun, here or elsewhere; the command goes on in a session of its own. It is standard
library alone, for it starts in a moment so.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

NOT_STARTED = 127  # as a shell says that there is no such command


def main(folder: Path) -> None:
    """Begin the launch unless it has begun already, and return."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        os.read(read, 1)  # returns when the child closes its end: it has begun, or it is dead
        return
    os.setsid()
    # Handlers instead of ignoring, which the command would inherit: signals to the group are for the command.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    _redirect(folder / "log")
    own = folder / f".process-{os.getpid()}.json"
    with own.open("w") as process:
        if _begins(process, own, folder / "process.json"):
            os.close(write)
            _leave(folder / "status", _run(json.loads((folder / "command.json").read_text()), process.fileno()))


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)


def _begins(process, own: Path, begun: Path) -> bool:
    """Whether this is the process that begins the launch: its file, whole and locked, becomes the one of the launch."""
    fcntl.flock(process, fcntl.LOCK_EX)
    json.dump({"pid": os.getpid(), "host": socket.gethostname()}, process)
    process.flush()
    os.fsync(process.fileno())
    try:
        os.link(own, begun)
    except FileExistsError:
        return False
    finally:
        own.unlink()
    return True


def _run(command: list[str], lock: int) -> int:
    try:
        return subprocess.Popen(command, pass_fds=[lock]).wait()
    except OSError as error:
        os.write(2, f"error: cannot start {command[0]}: {error}\n".encode())
        return NOT_STARTED


def _leave(path: Path, status: int) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_text(str(status))
    aside.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
