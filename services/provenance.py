"""Where a result comes from: code, packages and hardware. Nothing that names a person or a machine."""

import functools
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

from models.spec.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent
COMMIT = "BASIN_COMMIT"  # environment variable: of code that travels without its checkout
PACKAGES = (
    *("basin", "ray", "polars", "deltalake"),
    *("jax", "jaxlib", "equinox", "optax", "numpyro", "numpy", "scipy", "scikit-learn"),
    *("pymc", "pytensor", "bambi", "arviz"),
)


class Hardware(Settings):
    """The machine that the driver runs on; each run's own device is in its row.

    Attributes:
        cores: physical ones, or None where the system does not tell.
        threads: logical processors.
    """

    cpu: str
    cores: int | None
    threads: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


class Provenance(Settings):
    """Code, packages and hardware behind a result.

    Attributes:
        git_commit: of the running project; None where it neither runs from a git checkout nor was sent from one, or
            before the first commit.
        git_dirty: whether its files differ from that commit.
        versions: installed packages by name.
    """

    git_commit: str | None
    git_dirty: bool | None
    python: str
    platform: str
    versions: Mapping[str, str]
    hardware: Hardware


@functools.cache
def provenance() -> Provenance:
    """The provenance of this process, taken at the first call."""
    commit, dirty = git_state(PROJECT)
    if commit is None and (sent := os.environ.get(COMMIT)):
        commit, dirty = sent.removesuffix("+"), sent.endswith("+")
    return Provenance(
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        platform=f"{platform.system()}-{platform.release()}-{platform.machine()}",
        versions=_versions(),
        hardware=Hardware(
            cpu=_cpu_model(),
            cores=psutil.cpu_count(logical=False),
            threads=psutil.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            gpus=_gpu_names(),
        ),
    )


def travelling() -> dict[str, str]:
    """What code that is sent elsewhere takes with it in its environment, so that its commit is known there."""
    here = provenance()
    return {} if here.git_commit is None else {COMMIT: here.git_commit + ("+" if here.git_dirty else "")}


def reproducing(run_key: str, store: str | None) -> str:
    """The command that fits a stored run again, from any folder; without the store where that may not be told."""
    words = ["basin", "reproduce", run_key]
    if store is not None:
        words += ["--store", store if "://" in store else str(Path(store).absolute())]
    return shlex.join(words)


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout whose top is `folder`, and whether its files differ from it.

    A folder inside somebody else's checkout (a virtual environment, say) has no commit of its own: (None, None).
    """
    top = _output("git", "-C", str(folder), "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != folder.resolve():
        return None, None
    commit = _output("git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD")
    # Without the lock that it takes to refresh its index: killed on the way, it would leave the checkout locked.
    changes = _output("git", "--no-optional-locks", "-C", str(folder), "status", "--porcelain")
    return commit, None if changes is None else bool(changes)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu_names() -> tuple[str, ...]:
    """From the driver's own tool: asking JAX would start it here and take the memory that the workers need."""
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return tuple(names.splitlines()) if names else ()


def _output(*command: str) -> str | None:
    """A command's output, or None where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
