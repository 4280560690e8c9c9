"""Peers that are no dependency of Basin run in interpreters of their own, named by environment variables."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"


class PeerError(RuntimeError):
    """A peer's script failed: the message ends in what it said last."""


def run_peer(variable: str, script: str, *arguments: str) -> dict[str, Any] | None:
    """What `peers/script` measured in the interpreter that `variable` names; None where it names none.

    The script prints one JSON line. It starts with this process's environment, less what belongs to this interpreter.

    Raises:
        PeerError: the script failed.
    """
    python = os.environ.get(variable)
    if not python:
        return None
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "RAY_ADDRESS")}
    done = subprocess.run(
        [python, PEERS / script, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise PeerError(f"{script} in {python}, named by {variable}, failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
