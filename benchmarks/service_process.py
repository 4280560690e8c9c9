"""`basin serve` as a process of its own, and loads in others."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.service_load import Load, Outcome, Submitted, Timed
from services.ledger import tokens
from services.ledger.database import Ledger, default_url
from services.provenance import PROJECT

AWAY = ("--address", "http://127.0.0.1:1")  # a cluster that does not answer
PATIENCE = 120.0  # seconds, for what takes about five on an idle machine


class Server:
    """A server at work on a store, on a port of its own choice; what it says goes into a file beside the store.

    Attributes:
        address: that it answers at.
        seconds_to_start: from its start until it answers.
    """

    def __init__(self, store: Path, options: Sequence[str] = ()) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: it ended first, or took too long.
        """
        self._log = store.with_name(f"serve-{time.time_ns()}.log")
        command = [sys.executable, "-m", "services.cli", "serve", "--port", "0", "--store", str(store), *options]
        start = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment(store.with_name("cache")), stdout=log, stderr=log, start_new_session=True
            )
        self.address = self._address(start)
        self.seconds_to_start = time.monotonic() - start

    def _address(self, start: float) -> str:
        while (found := re.search(r" at (http://\S+)", self.said())) is None:
            if self._process.poll() is not None or time.monotonic() - start > PATIENCE:
                self.kill()
                raise RuntimeError(f"the server did not start:\n{self.said()[-2000:]}")
            time.sleep(0.02)
        return found[1]

    def said(self) -> str:
        """All that it said."""
        return self._log.read_text(encoding="utf-8")

    def resident_bytes(self) -> int:
        """Its resident memory now."""
        return psutil.Process(self._process.pid).memory_info().rss

    def processor_seconds(self) -> float:
        """What it took of the processor until now, the processes that it started left out."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()


class Loading:
    """A load at work."""

    def __init__(self, load: Load) -> None:
        """Begin it."""
        command = [sys.executable, "-m", "benchmarks.service_load"]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe would have to be read all the time
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(asdict(load)).encode())
            given.seek(0)
            self._process = subprocess.Popen(command, stdin=given, stdout=self._output, cwd=PROJECT)

    @property
    def at_work(self) -> bool:
        """Whether it goes on."""
        return self._process.poll() is None

    def outcome(self) -> Outcome:
        """What came of it, when it has ended.

        Raises:
            RuntimeError: it failed itself.
        """
        status = self._process.wait()
        with self._output:
            self._output.seek(0)
            output = self._output.read()
        if status:
            raise RuntimeError(f"the load failed with status {status}")
        found = json.loads(output)
        for name in ("reads", "submissions"):
            found[name] = [Timed(*each) for each in found[name]]
        found["accepted"] = [Submitted(*each) for each in found["accepted"]]
        return Outcome(**found)


def make_tokens(store: Path, scope: tokens.Scope, n: int) -> list[str]:
    """Make so many tokens in a store's ledger."""
    ledger, now = Ledger(default_url(store, store)), datetime.now(UTC)
    try:
        return [tokens.create(ledger, f"{scope}-{i}", scope, now).secret for i in range(n)]
    finally:
        ledger.close()


def environment(cache: Path) -> dict[str, str]:
    """Without what this process was given: the command sets its threads itself."""
    ours = ("BASIN_", "RAY_", "JAX_", "XLA_", "PJRT_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and not k.endswith("_NUM_THREADS")}
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {"BASIN_CACHE": str(cache), "PYTHONPATH": path}
