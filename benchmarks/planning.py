"""Seconds and memory of planning sweeps of up to 100,000 runs, and of resuming them when all of their runs are stored.

Each is the whole command `basin sweep check` or `basin sweep run`, in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.table import Table, figure
from benchmarks.work import scored
from models.spec.settings import canonical_json
from services.execution.runner import keep
from services.store.writer import writing
from services.sweeps.definition import Sweep, parse_sweep
from services.sweeps.plan import Plan, load_datasets, plan

LEARNERS = ("mlp-sgd", "mlp-adam", "mlp-sgd-large-batch", "linear-map")
VARIED = {"inference.learning_rate": (0.001, 0.003, 0.01, 0.03, 0.1), "inference.momentum": (0.0, 0.5, 0.8, 0.9, 0.95)}
DATASETS = ("digits", "diabetes")
# Splits and seeds of each of 200 configurations; each sweep's runs are among those of the next.
SIZES = ((5, 1), (10, 5), (20, 25))
COMMANDS = {"check": "plan {} runs", "run": "resume a sweep of {} runs, all of them stored"}
RUNS_WANTED, WANTED = 100_000, {"check": 10.0, "run": 15.0}  # seconds
REPEATS = 2


def measure(sizes: Sequence[tuple[int, int]] = SIZES) -> dict[str, Any]:
    """For each size and command: seconds by the clock and of the processor, and the peak of memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        start = time.perf_counter()
        stored = fill(place / "store", _plan(_sweep(*sizes[-1]), place))
        seconds = time.perf_counter() - start
        found = [_commands(_sweep(*size), place) for size in sizes]
    return {"sizes": found, "stored": stored, "seconds_to_fill": seconds, "repeats": REPEATS}


def tables(found: dict[str, Any]) -> list[Table]:
    """Each command at each size; then how the store was filled."""
    rows = []
    for size in found["sizes"]:
        for command, words in COMMANDS.items():
            wanted = WANTED[command] if size["runs"] == RUNS_WANTED else None
            times = size[command]
            rows.append(
                [
                    words.format(f"{size['runs']:,}"),
                    figure(wanted),
                    *(figure(times[name]) for name in ("seconds", "processor_seconds")),
                    figure(times["peak_bytes"] / 2**20),
                ]
            )
    header = ["command", "wanted seconds", "seconds", "processor seconds", "peak MiB"]
    each = figure(1e3 * found["seconds_to_fill"] / found["stored"])
    facts = [["runs put into the store", f"{found['stored']:,}"], ["milliseconds for each", each]]
    return [
        Table(f"Large sweeps, the better of {found['repeats']}", header, rows),
        Table("Making a store in which all is finished", ["what", "how much"], facts),
    ]


def fill(store: Path, planned: Plan) -> int:
    """Store a trivial result of every run of a plan; returns their number."""
    name = planned.sweep.name
    with writing(store) as writer:
        writer.put_sweep(name, canonical_json(planned.sweep), planned.members())
        for request in planned.requests():
            keep(scored(request), request, planned.datasets, writer, name)
    return len(planned.runs)


def _sweep(splits: int, seeds: int) -> Sweep:
    document = {"name": "scale", "datasets": DATASETS, "learners": LEARNERS, "vary": VARIED}
    return parse_sweep(document | {"splits": splits, "seeds": seeds, "measures": ()})


def _plan(sweep: Sweep, cache: Path) -> Plan:
    return plan(sweep, load_datasets(sweep, cache))


def _commands(sweep: Sweep, place: Path) -> dict[str, Any]:
    runs = len(_plan(sweep, place).runs)
    (file := place / "sweep.json").write_text(sweep.model_dump_json(), encoding="utf-8")
    check = _best(place, "sweep", "check", str(file), "--store", str(place / "nothing"))
    resume = _best(place, "sweep", "run", str(file), "--store", str(place / "store"), "--workers", "0")
    for printed, words in ((check, f"{runs:,} runs on"), (resume, f"0 runs fitted by this command, {runs:,} reused")):
        assert words in printed["output"], printed["output"]
    return {"runs": runs, "check": check, "run": resume}


def _best(cache: Path, *arguments: str) -> dict[str, Any]:
    rounds = [_process(cache, *arguments) for _ in range(REPEATS)]
    return {name: min(r[name] for r in rounds) for name in rounds[0]}


def _process(cache: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.process", *arguments]
    environment = os.environ | {"BASIN_CACHE": str(cache / "cache"), "COLUMNS": "200"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    output, _, last = done.stdout.rstrip("\n").rpartition("\n")
    return {"seconds": seconds, **json.loads(last), "output": output}
