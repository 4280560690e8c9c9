"""Starting Ray on this machine, or connecting to a cluster."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import worker
from ray._private.services import get_ray_address_from_environment
from ray.exceptions import RayError

from cluster.errors import ClusterError

PACKAGES = tuple(Path(__file__).resolve().parents[1] / name for name in ("models", "cluster", "services"))
_TIMEOUT = 20.0
_VITAL = ("gcs_server", "raylet")

# For the environment of a cluster's head node. As Ray comes, it takes a quarter of a minute to find out that a machine
# is dead; with these, some five seconds, and half a minute for one that does not answer, which may be busy only.
# A Ray on one machine does not need them: it has no other machine to go on with.
HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "5",
}


def connect(address: str | None = None, num_cpus: int | None = None, timeout: float = _TIMEOUT) -> bool:
    """Connect to the cluster at `address` (`HOST:PORT` or `auto`), or start Ray on this machine if it is None.

    Returns whether Ray was started here, where no other machine can join it.

    RAY_ADDRESS, which Ray sets in its jobs, stands in for an address that is None; `local` always starts anew. A Ray
    that is started here listens with token authentication on, as Ray 2.60 does unless RAY_AUTH_MODE says otherwise;
    the token is read from `~/.ray/auth_token`, and written there where there is none. To another cluster the three
    packages travel as they are here; everything else must be installed there.

    Raises:
        ClusterError: nothing answers at the address within `timeout` seconds, its Ray does not let this process in,
            or Ray does not start.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            with _terminable():
                _start(num_cpus=num_cpus, include_dashboard=False, **quiet)
            return True
        if address == "auto":
            address = _running()
        _check_reachable(address, timeout)
        with _terminable():
            ray.init(address=address, runtime_env={"py_modules": [str(package) for package in PACKAGES]}, **quiet)
        return False
    except (RayError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, ClusterError):
            raise
        what = "Ray did not start on this machine" if address == "local" else f"no connection to Ray at {address!r}"
        raise ClusterError(f"{what}: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Keep what SIGTERM does in this process: Ray has it end without a word, from the middle of its start on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


def is_broken() -> bool:
    """Whether a process died of the Ray that was started here; this one would be ended a quarter of a minute later."""
    node: Any = worker._global_node
    vital = [] if node is None else [each for name in _VITAL for each in node.all_processes.get(name, ())]
    if any(each.process.poll() is not None for each in vital):
        return True
    # A raylet whose agent died says that its machine is dead, and is seen to end too late.
    return bool(vital) and not any(each["Alive"] for each in ray.nodes())


def _start(**options: Any) -> None:
    """Start Ray on this machine; once more where that took too long, as the first time on a machine may.

    Raises:
        ClusterError: it takes too long again.
    """
    for is_last in (False, True):
        before = set(psutil.Process().children())
        try:
            with warnings.catch_warnings():
                # JAX warns of every fork once it has threads; Ray's children run another program at once.
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                ray.init(address="local", **options)
            return
        except Exception as error:  # Ray raises nothing narrower
            if "timed out during startup" not in str(error):
                raise
            _end(set(psutil.Process().children()) - before)
            if is_last:
                raise ClusterError(
                    "Ray did not start on this machine in time, twice: it may have too much to do; run the command "
                    "again later, or do without Ray by --workers 0"
                ) from error


def _end(processes: Iterable[psutil.Process]) -> None:
    """End what Ray started before it gave up."""
    ray.shutdown()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _running() -> str:
    """The address that `auto` stands for: RAY_ADDRESS, or else that of the cluster that runs on this machine.

    Raises:
        ClusterError: there is none.
    """
    try:
        return get_ray_address_from_environment("auto", None)
    except ConnectionError as error:
        raise ClusterError(
            "--address auto: no Ray cluster runs on this machine, and RAY_ADDRESS names none: start one by `ray start "
            "--head`, name HOST:PORT, or leave --address out"
        ) from error


def _check_reachable(address: str, timeout: float) -> None:
    """Find out fast and in a process of its own what `ray.init` finds out after two minutes, by ending the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ClusterError(
            f"address {address!r} is not of the form HOST:PORT (the cluster's GCS port, 6379 by default): Ray Client's "
            "ray:// cannot stream events; start the command on a machine of the cluster, or submit it as a job"
        )
    try:
        socket.create_connection((host, int(port)), timeout=min(timeout, 5.0)).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"nothing answers at {address!r} ({error}): check that the cluster runs and its GCS port can be reached"
        ) from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"what listens at {address!r} did not answer as Ray within {timeout:g} s") from error
    except subprocess.CalledProcessError as error:
        # Without any token Ray's command aborts in the file that looks for one.
        if "AuthenticationError" in error.stderr or "authentication_token_loader" in error.stderr:
            raise ClusterError(
                f"Ray at {address!r} asks for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the file "
                "that holds the cluster's token"
            ) from error
        said = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        raise ClusterError(f"Ray at {address!r} refused: {said[-1] if said else 'it gave no reason'}") from error
