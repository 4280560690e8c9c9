"""A Ray cluster of this machine for as long as a process lives, with a dashboard to submit jobs to."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError

_PORTS = (
    *("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port"),
    *("runtime-env-agent-port", "metrics-export-port", "node-manager-port", "object-manager-port"),
)
_LONGEST_TEMP = 24  # characters: Ray puts sockets some eighty deeper, and a socket's path has at most 107
_NOT_ITS_OWN = ("RAY_ADDRESS", "BASIN_ADDRESS", "BASIN_JOB", "BASIN_FILES")


@contextmanager
def local_head(log: Path, num_cpus: int | None = None) -> Iterator[str]:
    """Start a cluster, and end it and its jobs with the block, or with this process, even if that is killed.

    It listens on loopback alone, and asks for a token: that of RAY_AUTH_TOKEN, or a new one, which this process has
    there from now on. Yields the address of its dashboard at once; that answers some ten seconds later.

    Args:
        log: file that Ray's own words are added to.
        num_cpus: that its workers share; None is all of this machine.

    Raises:
        ClusterError: its processes cannot be started.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_OWN}
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    folder = tempfile.mkdtemp(prefix="basin-ray-", dir=_short_temp())
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
        *("--dashboard-host=127.0.0.1", "--include-dashboard=true", "--disable-usage-stats"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={folder}"),
        *(f"--{name}={port}" for name, port in ports.items()),
        *([] if num_cpus is None else [f"--num-cpus={num_cpus}"]),
    ]
    try:
        with log.open("ab") as output:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "cluster.keeper", folder, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        raise ClusterError(f"Ray cannot be started on this machine: {error}") from None
    try:
        yield f"http://127.0.0.1:{ports['dashboard-port']}"
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait()


def _short_temp() -> str | None:
    return "/tmp" if len(tempfile.gettempdir()) > _LONGEST_TEMP and os.path.isdir("/tmp") else None  # noqa: PTH112


def _free_ports(n: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
