"""Throughput and memory on an accelerator: `python -m benchmarks.gpu --out FILE`.

Packs of nets in training, the curvature of trained nets and HMC chains, at growing widths, with checks that a pack
gives what single runs give. It needs JAX, NumPyro, Equinox, optax and NumPy alone, so that it runs on a bare machine
with Python 3.12. A case that does not fit into memory, lacks a module or would start after the time is up, is null with
the reason.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from benchmarks import gpu_cases
from benchmarks.gpu_cases import FULL, QUICK, Plan

PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "numpyro", "equinox", "optax", "numpy")


def machine() -> dict[str, Any]:
    """The device, its driver as JAX reports it, and versions."""
    device = jax.devices()[0]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "device": device.device_kind,
        "backend": device.platform,
        "n_devices": jax.device_count(),
        "runtime": device.client.platform_version,
        "driver": _driver(),
        "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _driver() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip() or None


class Session:
    """Runs cases until the time is up, and says on standard error how far it is."""

    def __init__(self, seconds: float) -> None:
        self._start = time.perf_counter()
        self._seconds = seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def attempt(self, name: str, case: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
        """A case's figures, or None and why there are none."""
        if self.elapsed > self._seconds:
            return None, "not started: the time was up"
        try:
            found = case()
        except ModuleNotFoundError as error:
            return None, f"not measured: {error.name} is not installed"
        except jax.errors.JaxRuntimeError as error:
            text = str(error).strip() or type(error).__name__
            reason = "out of memory" if "RESOURCE_EXHAUSTED" in text else text.splitlines()[0]
            print(f"{self.elapsed:6.0f} s  {name}: {reason}", file=sys.stderr, flush=True)
            return None, reason
        found["peak_bytes_of_process"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        shown = {k: round(v, 1) for k, v in found.items() if k.endswith("_per_second")}
        print(f"{self.elapsed:6.0f} s  {name}: {shown or found}", file=sys.stderr, flush=True)
        return found, None

    def sizes(self, name: str, sizes: Iterable[int], case: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
        """One row for each size."""
        rows = []
        for size in sizes:
            found, reason = self.attempt(f"{name} {size}", lambda size=size: case(size))
            rows.append({"size": size, "result": found, "reason": reason})
        return rows


def measure(plan: Plan, seconds: float) -> dict[str, Any]:
    """All cases of a plan: checks first, then training, chains and curvature."""
    session = Session(seconds)
    setups = {name: gpu_cases.setup(n_inputs, widths, plan.rows) for name, (n_inputs, widths) in plan.nets.items()}
    sampled = next(iter(setups))
    checks = []
    for precision in ("default", "highest"):
        found, reason = session.attempt(
            f"checks at {precision} precision", lambda p=precision: gpu_cases.agreement(setups[sampled], plan, p)
        )
        checks.append({"precision": precision, "result": found, "reason": reason})
    training = {
        name: session.sizes(f"training {name}", plan.packs, lambda m, s=s: gpu_cases.training(s, plan, m))
        for name, s in setups.items()
    }
    trained = {name: gpu_cases.trained(s, plan, max(*plan.chains, *plan.curvature)) for name, s in setups.items()}
    chains = session.sizes(
        f"chains {sampled}", plan.chains, lambda m: gpu_cases.chains(setups[sampled], plan, trained[sampled][:m])
    )
    curvature = {
        name: session.sizes(
            f"curvature {name}", plan.curvature, lambda m, n=name, s=s: gpu_cases.curvature(s, plan, trained[n][:m])
        )
        for name, s in setups.items()
    }
    densities = {
        name: session.sizes(
            f"densities {name}", plan.curvature, lambda m, n=name, s=s: gpu_cases.density(s, plan, trained[n][:m])
        )
        for name, s in setups.items()
    }
    return {
        "machine": machine(),
        "rows": plan.rows,
        "checks": checks,
        "training": training,
        "chains": {sampled: chains},
        "curvature": curvature,
        "densities": densities,
        "seconds": session.elapsed,
    }


def main() -> int:
    """Measure, write the JSON and print it; 1 where a pack disagrees with single runs at full float32 precision."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny sizes, under a minute on a CPU")
    parser.add_argument("--seconds", type=float, default=420.0, help="start no case later than this (default: 420)")
    arguments = parser.parse_args()
    found = measure(QUICK if arguments.quick else FULL, arguments.seconds)
    text = json.dumps(found, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    full = next(check["result"] for check in found["checks"] if check["precision"] == "highest")
    return 0 if full is not None and full["agree"] else 1


if __name__ == "__main__":
    sys.exit(main())
