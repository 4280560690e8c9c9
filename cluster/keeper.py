"""Keeps a command at work for as long as its standard input is open, and ends all that is left of it then.

    python -m cluster.keeper FOLDER COMMAND...

Whoever starts it holds the other end of its standard input: the kernel closes that when they end, however they end. A
command that ends before is started again. At last FOLDER is removed.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import psutil

_AGAIN_SECONDS = 2.0
_LOOK_SECONDS = 0.2
_END_SECONDS = 10.0
_PR_SET_CHILD_SUBREAPER = 36


def main(folder: str, command: Sequence[str]) -> None:
    """Keep the command at work until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # they are for whoever started it, whose end it sees
    _adopt()
    left = threading.Event()
    threading.Thread(target=_wait_for_end, args=(left,), daemon=True).start()
    while not left.is_set():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while process.poll() is None and not left.wait(_LOOK_SECONDS):
            pass
        _end(process)
        left.wait(_AGAIN_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for_end(left: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    left.set()


def _adopt() -> None:
    """Be the parent of processes whose own has ended, so that they are found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    while alive := psutil.Process().children(recursive=True):
        for each in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(alive, _LOOK_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
