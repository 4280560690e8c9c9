"""Memory of this process, by Linux's account of it; and a command of Basin with what it took.

`python -m benchmarks.process sweep run FILE` is `basin sweep run FILE`, and its last line is JSON.
"""

import json
import sys
import time
from pathlib import Path

from services.cli import main as basin


def peak_bytes() -> int:
    """Largest resident memory since the process's start.

    Not `ru_maxrss`, in which a process starts with the peak of the one that started it.
    """
    return _status("VmHWM")


def resident_bytes() -> int:
    """Resident memory now."""
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(dict(line.split(":", 1) for line in lines)[name].split()[0])


def main() -> None:
    """Be `basin` with this command's arguments, then print the processor's seconds and the peak of memory."""
    try:
        basin()
    finally:
        sys.stdout.flush()
        print(json.dumps({"processor_seconds": time.process_time(), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
