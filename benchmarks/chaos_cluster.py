"""A Ray cluster of several nodes on this machine, whose processes can be killed one by one.

`Nodes` starts it in a process of its own (`python -m benchmarks.chaos_cluster FOLDER NODES`), so that killing a driver,
or the process that kills it, does not take the cluster down, and closing its standard input does. Token authentication
is on, all ports are free ones, and nothing is written outside `FOLDER`.

The head node has the server that knows of all others (Ray's GCS), and drivers attach to it; it is not one of those
that can be lost.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import psutil

from cluster.runtime import HEALTH_CHECKS

HEAD = "head"
_STORE_BYTES = 150 * 2**20  # of a node's object store


class Worker(NamedTuple):
    """A worker process that Basin started on a node: `title` is what Ray makes it call itself."""

    process: psutil.Process
    node: str
    title: str

    @property
    def busy(self) -> bool:
        """Whether it has a pack in hand."""
        return self.title.endswith(".run")

    @property
    def idle(self) -> bool:
        """Whether it is up, and waits for a pack."""
        return "." not in self.title


class Nodes:
    """A cluster of a head node and others, one CPU each.

    Attributes:
        address: HOST:PORT of the cluster.
        environment: what a driver needs beside its own variables: the cluster's token.
    """

    def __init__(self, n_nodes: int):
        """Start the cluster and wait for all of its nodes."""
        self._folder = tempfile.TemporaryDirectory(prefix="basin-")  # short: sockets have paths of at most 107 bytes
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment: Mapping[str, str] = token
        with (Path(self._folder.name) / "stderr").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.chaos_cluster", self._folder.name, str(n_nodes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env=os.environ | token | HEALTH_CHECKS | {"RAY_TMPDIR": self._folder.name},
                text=True,
                start_new_session=True,
            )
        self.address = ""
        self._raylets: Mapping[int, str] = {}
        self._hear()

    def workers(self) -> list[Worker]:
        """Those of all nodes, by process id."""
        found = []
        for process in sorted(_descendants(self._process.pid), key=lambda process: process.pid):
            with suppress(psutil.Error):
                title, node = " ".join(process.cmdline()).strip(), self._raylets.get(process.ppid())
                if node is not None and title.startswith("ray::Worker"):
                    found.append(Worker(process, node, title))
        return found

    def lose(self, node: str) -> None:
        """Kill a node's processes, all at once, as when its machine loses its power."""
        self._ask("lose", node)

    def add(self) -> None:
        """Start a new node, and wait until it is one of the cluster's."""
        self._ask("add")

    def close(self) -> None:
        """End all of it."""
        left = _descendants(self._process.pid)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30.0)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, *words: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        self._hear()

    def _hear(self) -> None:
        """Learn which nodes there are."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            said = (Path(self._folder.name) / "stderr").read_text(errors="replace")
            raise RuntimeError(f"the cluster ended by itself:\n{said[-2000:]}")
        heard = json.loads(line)
        self.address, self._raylets = heard["address"], {pid: name for name, pid in heard["raylets"].items()}


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _serve(answers: IO[str], n_nodes: int) -> None:
    """Obey the lines on standard input until it ends."""
    from ray.cluster_utils import Cluster

    node_arguments = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=node_arguments | {"include_dashboard": False})
    nodes = {HEAD: cluster.head_node} | {f"node {i}": cluster.add_node(**node_arguments) for i in range(1, n_nodes)}

    def tell() -> None:
        raylets = {name: _raylet(node).pid for name, node in nodes.items()}
        answers.write(json.dumps({"address": cluster.address, "raylets": raylets}) + "\n")
        answers.flush()

    tell()
    for line in sys.stdin:
        match json.loads(line):
            case ["lose", name]:
                node = nodes.pop(name)
                raylet = _raylet(node)
                for process in (raylet, *_descendants(raylet.pid)):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                cluster.remove_node(node, allow_graceful=False)
            case ["add"]:
                nodes[f"node {n_nodes}"] = cluster.add_node(**node_arguments)
                n_nodes += 1
        tell()
    cluster.shutdown()


def _raylet(node: Any) -> psutil.Process:
    """The process that every other of a node descends from."""
    ((started, *_),) = [of_kind for kind, of_kind in node.all_processes.items() if kind == "raylet"]
    return psutil.Process(started.process.pid)


if __name__ == "__main__":
    # Ray prints to standard output too: the answers get a descriptor of their own.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _serve(own, int(sys.argv[2]))
