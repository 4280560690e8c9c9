"""Readers and submitters of a server, in a process of their own: `python -m benchmarks.service_load < LOAD > OUTCOME`.

A reader asks what pages and notebooks ask, one question after the other, and thinks in between for as long as people
and programs do: exponentially distributed times, from a seed. A submitter submits one sweep after the other, each with
a key of its own, and thinks likewise. Each has a token and a connection of its own.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import httpx

ARROW = "application/vnd.apache.arrow.stream"
NOBODY = 0  # the status of a request that nobody answered


@dataclass(frozen=True)
class Load:
    """Who asks what, and for how long.

    Attributes:
        address: of the server.
        readers: a token of each.
        submitters: a token of each.
        seconds: no request begins later.
        think_seconds: the mean between an answer and a reader's next question; 0: there is none.
        submit_seconds: the mean between an answer and a submitter's next sweep.
        name: that the submitted sweeps' names begin with.
        stored: what can be asked for; empty: `/health` alone, for what the generator itself takes.
    """

    address: str
    readers: list[str]
    submitters: list[str]
    seconds: float
    think_seconds: float
    submit_seconds: float
    name: str
    stored: "Stored | None"


@dataclass(frozen=True)
class Stored:
    """What can be asked for.

    Attributes:
        sweeps: with many runs.
        studied: a sweep that can be compared and ranked.
        keys: of its runs.
    """

    sweeps: list[str]
    studied: str
    keys: list[str]
    datasets: list[str]
    learners: list[str]


class Timed(NamedTuple):
    """One request.

    Attributes:
        question: in words.
        start: seconds since the load began.
        status: of the answer.
    """

    question: str
    start: float
    seconds: float
    status: int


class Submitted(NamedTuple):
    """An accepted sweep: what was sent, and the submission that it was answered with."""

    token: str
    key: str
    sweep: dict[str, Any]
    submission: str


@dataclass
class Outcome:
    """What came of a load.

    Attributes:
        processor_seconds: of this process.
        faults: the first of the answers that were not as they should be.
    """

    reads: list[Timed] = field(default_factory=list)
    submissions: list[Timed] = field(default_factory=list)
    accepted: list[Submitted] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Question(NamedTuple):
    """A request: its kind in words, and what is sent."""

    words: str
    path: str
    parameters: tuple[tuple[str, str | int], ...] = ()
    accept: str = "application/json"


def _page_of_runs(stored: Stored, rng: random.Random) -> Question:
    conditions = [("where", f"{name}:eq:{rng.choice(values)}") for name, values in _facets(stored)]
    columns = "run_key,learner,dataset,split,seed,status,learning_rate,wall_seconds,stored_at"
    return Question("a page of runs", "/api/v1/runs", (*conditions, ("sort", "-wall_seconds"), ("select", columns)))


def _all_columns(stored: Stored, rng: random.Random) -> Question:
    condition = ("where", f"wall_seconds:gt:{rng.uniform(1, 20):.2f}")
    return Question("runs, all columns", "/api/v1/runs", (condition, ("sort", "-stored_at"), ("limit", 50)))


def _runs_as_arrow(stored: Stored, rng: random.Random) -> Question:
    condition = ("where", f"sweep:eq:{rng.choice(stored.sweeps)}")
    return Question("1,000 runs as Arrow", "/api/v1/runs", (condition, ("limit", 1000)), ARROW)


def _metrics(stored: Stored, rng: random.Random) -> Question:
    conditions = [("where", f"{name}:eq:{value}") for name, value in (("part", "test"), ("metric", "log_score"))]
    asked = (*conditions, ("sweep", rng.choice(stored.sweeps)), ("limit", 10_000))
    return Question("metrics of a sweep as Arrow", "/api/v1/metrics", asked, ARROW)


def _metrics_of_run(stored: Stored, rng: random.Random) -> Question:
    return Question("metrics of a run", "/api/v1/metrics", (("where", f"run_key:eq:{rng.choice(stored.keys)}"),))


def _run(stored: Stored, rng: random.Random) -> Question:
    return Question("a run", f"/api/v1/runs/{rng.choice(stored.keys)}")


def _sweeps(stored: Stored, rng: random.Random) -> Question:
    return Question("sweeps", "/api/v1/sweeps")


def _sweep(stored: Stored, rng: random.Random) -> Question:
    return Question("a sweep", f"/api/v1/sweeps/{rng.choice(stored.sweeps)}")


def _comparison(stored: Stored, rng: random.Random) -> Question:
    return Question("a comparison", f"/api/v1/sweeps/{stored.studied}/comparison")


def _ranking(stored: Stored, rng: random.Random) -> Question:
    return Question("a ranking", f"/api/v1/sweeps/{stored.studied}/ranking")


def _page(stored: Stored, rng: random.Random) -> Question:
    pages = ("/", "/runs", f"/sweeps/{stored.studied}", f"/sweeps/{rng.choice(stored.sweeps)}")
    return Question("a page", rng.choice((*pages, f"/runs/{rng.choice(stored.keys)}")), accept="text/html")


def _facets(stored: Stored) -> tuple[tuple[str, list[str]], ...]:
    return (("sweep", stored.sweeps), ("dataset", stored.datasets), ("learner", stored.learners))


# How often each is asked, of a hundred questions; `NEXT` follows a page of runs.
MIX: Mapping[Callable[[Stored, random.Random], Question], int] = {
    _page_of_runs: 22,
    _all_columns: 8,
    _runs_as_arrow: 8,
    _metrics: 8,
    _metrics_of_run: 8,
    _run: 10,
    _sweeps: 6,
    _sweep: 6,
    _comparison: 6,
    _ranking: 4,
    _page: 14,
}
NEXT, NEXT_SHARE = "the next page of runs", 0.5
TRIVIAL = Question("a trivial answer", "/health")


class _Crowd:
    def __init__(self, load: Load) -> None:
        self._load, self.outcome = load, Outcome()
        self._start = time.perf_counter()

    async def run(self) -> None:
        clients = [self._client(token) for token in (*self._load.readers, *self._load.submitters)]
        readers, submitters = clients[: len(self._load.readers)], clients[len(self._load.readers) :]
        processor = time.process_time()
        self._start = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for i, client in enumerate(readers):
                tasks.create_task(self._read(client, random.Random(f"reader {i}")))
            for i, client in enumerate(submitters):
                tasks.create_task(self._submit(client, i, random.Random(f"submitter {i}")))
        self.outcome.seconds = self._now()
        self.outcome.processor_seconds = time.process_time() - processor
        for client in clients:
            await client.aclose()

    def _client(self, token: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            base_url=self._load.address, headers=headers, timeout=60, trust_env=False, verify=False
        )

    async def _read(self, client: httpx.AsyncClient, rng: random.Random) -> None:
        question: Question | None = None
        await _think(self._load.think_seconds, rng)
        while self._now() < self._load.seconds:
            asked = question or self._question(rng)
            response = await self._ask(client, asked)
            if response is None:
                return
            question = _next(asked, response) if rng.random() < NEXT_SHARE else None
            await _think(self._load.think_seconds, rng)

    def _question(self, rng: random.Random) -> Question:
        if self._load.stored is None:
            return TRIVIAL
        (make,) = rng.choices(list(MIX), list(MIX.values()))
        return make(self._load.stored, rng)

    async def _ask(self, client: httpx.AsyncClient, asked: Question) -> httpx.Response | None:
        request = client.build_request(
            "GET", asked.path, params=list(asked.parameters), headers={"Accept": asked.accept}
        )
        return await self._time(client, request, asked.words, 200, self.outcome.reads)

    async def _submit(self, client: httpx.AsyncClient, submitter: int, rng: random.Random) -> None:
        n = 0
        await _think(self._load.submit_seconds, rng)
        while self._now() < self._load.seconds:
            name = f"{self._load.name}-{submitter}-{n}"
            sweep = {"name": name, "datasets": ["iris"], "learners": ["linear-map"], "splits": 1, "seeds": 1}
            sweep["measures"] = []
            request = client.build_request("POST", "/api/v1/sweeps", json=sweep, headers={"Idempotency-Key": name})
            response = await self._time(client, request, "submit a sweep", 202, self.outcome.submissions)
            if response is None:
                return
            if response.status_code == 202:
                token = self._load.submitters[submitter]
                self.outcome.accepted.append(Submitted(token, name, sweep, response.json()["submission"]))
            n += 1
            await _think(self._load.submit_seconds, rng)

    async def _time(
        self, client: httpx.AsyncClient, request: httpx.Request, words: str, wanted: int, times: list[Timed]
    ) -> httpx.Response | None:
        """The answer with its body; None where nobody answers any more."""
        start, response = self._now(), None
        try:
            response = await client.send(request)
            status = response.status_code
        except httpx.TransportError as error:
            status = NOBODY
            self._fault(words, repr(error))
        times.append(Timed(words, start, self._now() - start, status))
        if response is not None and status != wanted:
            self._fault(words, f"{status}: {response.text[:200]}")
        return response

    def _fault(self, words: str, what: str) -> None:
        if len(self.outcome.faults) < 10:
            self.outcome.faults.append(f"{words}: {what}")

    def _now(self) -> float:
        return time.perf_counter() - self._start


def _next(asked: Question, response: httpx.Response) -> Question | None:
    """The next page of a table, where there is one."""
    if asked.path != "/api/v1/runs" or asked.accept == ARROW:
        return None
    cursor = response.headers.get("Basin-Next-Cursor")
    parameters = tuple(pair for pair in asked.parameters if pair[0] != "cursor")
    return asked._replace(words=NEXT, parameters=(*parameters, ("cursor", cursor))) if cursor else None


async def _think(mean: float, rng: random.Random) -> None:
    if mean:
        await asyncio.sleep(rng.expovariate(1 / mean))


def main() -> None:
    """Put the load of standard input on a server, and print what came of it; both are JSON."""
    document = json.load(sys.stdin)
    stored = document.pop("stored")
    crowd = _Crowd(Load(**document, stored=stored and Stored(**stored)))
    asyncio.run(crowd.run())
    json.dump(asdict(crowd.outcome), sys.stdout)


if __name__ == "__main__":
    main()
