"""A Ray cluster of one machine in processes of its own, with its dashboard, as `ray start --head` makes it."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

PATIENCE = 120.0  # seconds for what takes ten on an idle machine
_PORTS = (
    *("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port"),
    *("runtime-env-agent-port", "metrics-export-port", "node-manager-port", "object-manager-port"),
)


@dataclass(frozen=True)
class Head:
    """A running cluster.

    Attributes:
        port: of its GCS.
    """

    process: subprocess.Popen
    folder: Path
    token: str
    port: int
    dashboard_port: int

    @property
    def address(self) -> str:
        """Of the dashboard."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def allowed(self) -> Path:
        """The only folder that its sweeps may read data from, by BASIN_DATA_ROOTS."""
        return self.folder / "allowed"

    def descendants(self) -> list[psutil.Process]:
        """Its processes, and those of its jobs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def get(self, path: str) -> requests.Response:
        """What the dashboard answers to one who has the token."""
        return requests.get(f"{self.address}{path}", headers={"Authorization": f"Bearer {self.token}"}, timeout=10)

    def answers(self) -> bool:
        """Whether its dashboard is up."""
        try:
            return self.get("/api/version").ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        """End all of its processes."""
        for process in [psutil.Process(self.process.pid), *self.descendants()]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(PATIENCE)


def start_head(folder: Path, token: str, cache: Path) -> Head:
    """Start a cluster with two CPUs, token authentication on, and wait until its dashboard answers.

    Ray puts sockets into `folder`, so its path must be short.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "BASIN_", "JAX_", "XLA_", "PYTHONPATH"))}
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    (folder / "allowed").mkdir()
    environment = kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "BASIN_CACHE": str(cache),
        "BASIN_DATA_ROOTS": str(folder / "allowed"),
    }
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
        *("--dashboard-host=127.0.0.1", "--include-dashboard=true", "--disable-usage-stats"),
        *("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"),
        f"--temp-dir={folder / 'ray'}",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    head = Head(process, folder, token, ports["port"], ports["dashboard-port"])
    until = time.monotonic() + PATIENCE
    while not head.answers():
        assert process.poll() is None and time.monotonic() < until, (folder / "head.log").read_text()
        time.sleep(0.1)
    return head


def free_ports(n: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
