"""`basin serve` under load: many readers and some submitters on loopback, with 100,000 runs stored; then it is killed.

The server is the real command in a process of its own, with tokens, and so is the load. While it is read from, runs are
appended to the store as by a sweep at work, so that answers cannot be kept for long. The server's cluster is away all
that time: accepted sweeps wait in the ledger, and their fits take nothing of the cores.
"""

import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from benchmarks import runs_table, service_kill, service_store
from benchmarks.service_load import Load, Outcome, Stored, Timed
from benchmarks.service_process import AWAY, Loading, Server, make_tokens
from benchmarks.service_store import Made
from benchmarks.table import Table, figure
from services.store.commits import Committer
from services.store.objects import Storage
from services.store.writer import BATCH, BATCH_SECONDS

READERS, SUBMITTERS = 50, 5
THINK_SECONDS, SUBMIT_SECONDS = 1.0, 1.0
WANTED_P99 = 250.0  # milliseconds
SETTLED_SECONDS = 10.0  # after which memory should stay as it is


def measure(runs: int = 100_000, seconds: float = 60.0, *, cluster: bool = True) -> dict[str, Any]:
    """Milliseconds of every kind of question, memory, throughput, and what became of sweeps when the server was killed.

    Args:
        runs: that are stored.
        seconds: of the load.
        cluster: whether the sweeps that were accepted before the kill are run to their end, which takes minutes.

    Raises:
        RuntimeError: the server or the load did not work.
    """
    with tempfile.TemporaryDirectory(prefix="basin-service-") as folder:
        store = Path(folder) / "store"
        made = service_store.make(store, runs, math.ceil(seconds / BATCH_SECONDS))
        readers, submitters = make_tokens(store, "read", READERS), make_tokens(store, "submit", SUBMITTERS)
        stored = Stored(
            sweeps=[f"sweep-{i}" for i in range(runs_table.SWEEPS)],
            studied=service_store.STUDIED,
            keys=made.keys,
            datasets=list(runs_table.DATASETS),
            learners=list(runs_table.LEARNERS),
        )
        server = Server(store, AWAY)
        try:

            def load(think: float, stored: Stored | None, submitters: Sequence[str] = (), share: float = 1.0) -> Load:
                spans = (share * seconds, think, SUBMIT_SECONDS)
                return Load(server.address, readers, list(submitters), *spans, "load", stored)

            paced = _paced(server, load(THINK_SECONDS, stored, submitters), store, made)
            saturated = _saturated(server, load(0.0, stored, share=1 / 3))
            trivial = _saturated(server, load(0.0, None, share=1 / 6))
        finally:
            server.stop()
        killed = service_kill.measure(Path(folder) / "killed", min(5.0, seconds), cluster=cluster)
    return {"runs": made.runs, "paced": paced, "saturated": saturated, "trivial": trivial, "killed": asdict(killed)}


def tables(found: dict[str, Any]) -> list[Table]:
    """Each kind of question with its times; the server; its limits; and the kill."""
    paced = found["paced"]
    header = ["question", "wanted p99 ms", "asked", "p50 ms", "p99 ms", "max ms", "errors"]
    rows = [
        [words, *map(figure, (each.get("wanted"), *(each[name] for name in ("n", "p50", "p99", "max", "errors"))))]
        for words, each in paced["questions"].items()
    ]
    title = (
        f"{READERS} readers who think for {THINK_SECONDS:g} s on average and {SUBMITTERS} submitters, "
        f"{found['runs']:,} runs stored, {paced['seconds']:.0f} s"
    )
    memory, busy = paced["resident_bytes"], (f"{each:.1f}" for each in paced["load_average"])
    facts = [
        ["questions per second", figure(paced["per_second"])],
        ["sweeps accepted", figure(paced["accepted"])],
        ["of them in the ledger", figure(paced["in_ledger"])],
        ["MiB of the server at its start", figure(memory["start"] / 2**20)],
        [f"MiB after {SETTLED_SECONDS:g} s", figure(memory["settled"] / 2**20)],
        ["MiB at the end", figure(memory["end"] / 2**20)],
        ["cores that the server kept busy", figure(paced["server_cores"])],
        ["cores that the load kept busy", figure(paced["load_cores"])],
        ["runs appended meanwhile", figure(paced["appended"])],
        ["seconds until an appended run was seen, median", figure(paced["seen_seconds"]["p50"])],
        ["seconds until an appended run was seen, at most", figure(paced["seen_seconds"]["max"])],
        ["load average of the machine, before and after", " and ".join(busy)],
    ]
    limits = [
        [words, *(figure(each[name]) for name in ("per_second", "p50", "p99", "errors", "server_cores", "load_cores"))]
        for words, each in (("the same questions", found["saturated"]), ("a trivial answer", found["trivial"]))
    ]
    columns = ["what", "answers per second", "p50 ms", "p99 ms", "errors", "cores, server", "cores, load"]
    killed = found["killed"]
    kill = [
        ["sweeps accepted before the kill", figure(killed["accepted"])],
        ["lost: not the same submission when sent again", figure(killed["lost"])],
        ["ended well once there was a cluster", figure(killed["succeeded"])],
        ["requests that the kill cut off", figure(killed["cut_off"])],
        ["seconds from the next start to its first answer", figure(killed["seconds_to_start"])],
    ]
    return [
        Table(title, header, rows),
        Table("The server meanwhile", ["what", "how much"], facts),
        Table(f"{READERS} readers who do not think", columns, limits),
        Table("The server killed by SIGKILL under load", ["what", "how much"], kill),
    ]


def _paced(server: Server, load: Load, store: Path, made: Made) -> dict[str, Any]:
    """What came of a load with pauses, while the store grows."""
    before, started = os.getloadavg()[0], server.processor_seconds()
    memory = {"start": server.resident_bytes()}
    loading = Loading(load)
    appending = _Appending(store, made.later, server.address, load.readers[0])
    appending.start()
    settled = time.monotonic() + min(SETTLED_SECONDS, load.seconds / 2)
    while loading.at_work:
        if "settled" not in memory and time.monotonic() > settled:
            memory["settled"] = server.resident_bytes()
        time.sleep(0.05)
    outcome = loading.outcome()
    memory["end"] = server.resident_bytes()
    taken = server.processor_seconds() - started
    appending.end()
    questions = {"all reads": _times(outcome.reads) | {"wanted": WANTED_P99}}
    for words in sorted({each.question for each in outcome.reads}):
        questions[words] = _times([each for each in outcome.reads if each.question == words])
    questions["submit a sweep"] = _times(outcome.submissions)
    return {
        "questions": questions,
        "faults": outcome.faults,
        "accepted": len(outcome.accepted),
        "in_ledger": service_kill.in_ledger(store, outcome.accepted),
        "resident_bytes": memory,
        "appended": appending.n,
        "seen_seconds": {"p50": _rank(appending.seen, 0.5), "max": max(appending.seen)},
        "load_average": [before, os.getloadavg()[0]],
        **_rates(outcome, taken),
    }


def _saturated(server: Server, load: Load) -> dict[str, Any]:
    """What came of a load without pauses."""
    started = server.processor_seconds()
    outcome = Loading(load).outcome()
    return {"faults": outcome.faults, **_times(outcome.reads), **_rates(outcome, server.processor_seconds() - started)}


def _rates(outcome: Outcome, server_seconds: float) -> dict[str, float]:
    return {
        "seconds": outcome.seconds,
        "per_second": len(outcome.reads) / outcome.seconds,
        "server_cores": server_seconds / outcome.seconds,
        "load_cores": outcome.processor_seconds / outcome.seconds,
    }


def _times(requests: Sequence[Timed]) -> dict[str, float]:
    """Their number, milliseconds, and how many were not answered as they should be."""
    times = [1e3 * each.seconds for each in requests]
    errors = sum(each.status not in (200, 202) for each in requests)
    return {"n": len(times), "p50": _rank(times, 0.5), "p99": _rank(times, 0.99), "max": max(times), "errors": errors}


def _rank(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


class _Appending(threading.Thread):
    """Appends runs like a sweep at work, a commit at a time, and looks how soon the server tells of them.

    Attributes:
        n: runs that were appended.
        seen: seconds from each commit until a run of it was in an answer.
    """

    def __init__(self, store: Path, later: Sequence[dict[str, pl.DataFrame]], address: str, token: str) -> None:
        super().__init__(daemon=True)
        self.n, self.seen = 0, []
        self._committer, self._later = Committer(Storage(store)), later
        self._client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        self._ended = threading.Event()

    def run(self) -> None:
        for rows in self._later:
            runs_table.append(self._committer, rows, 1)
            self.n += BATCH
            self.seen.append(_seconds_until(lambda run=rows["runs"]["run_key"][0]: self._sees(run)))
            if self._ended.wait(BATCH_SECONDS):
                return

    def end(self) -> None:
        """Append no more."""
        self._ended.set()
        self.join()
        self._client.close()

    def _sees(self, run_key: str) -> bool:
        parameters = {"where": f"run_key:eq:{run_key}", "select": "run_key"}
        return bool(self._client.get("/api/v1/runs", params=parameters).raise_for_status().json()["rows"])


def _seconds_until(holds: Callable[[], bool]) -> float:
    start = time.monotonic()
    while not holds():
        time.sleep(0.02)
    return time.monotonic() - start
