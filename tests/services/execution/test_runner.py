import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.executor import InProcessExecutor
from cluster.work import Emit
from models.data.dataset import Dataset
from models.runs.events import Checkpoint, Event, Progress, Result
from models.runs.result import RunRequest
from services.errors import StoreError
from services.execution.runner import Outcome, execute, run
from services.store.store import Store
from services.store.writer import Writer, writing
from tests.support import factories
from tests.support.items import items_of

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["tests.services.execution.test_runner"])

DATASET = Dataset(
    name="Ziffern",
    task="classes",
    numeric=np.zeros((9, 1)),
    names=("x",),
    factors={},
    shape=None,
    target=np.zeros(9, int),
    target_name="y",
    classes=("a", "b"),
    fingerprint="f" * 32,
)


DATASETS = {DATASET.fingerprint: DATASET}


def requests(n: int, start: int = 0) -> list[RunRequest]:
    return [factories.request(seed) for seed in range(start, start + n)]


def fit(asked: Sequence[RunRequest], dataset: Dataset, checkpoints: Mapping[str, Any], emit: Emit) -> None:
    """Finishes every run, but the seed 5 fails, the seed 6 diverges, and the seed 7 raises."""
    assert dataset.name == DATASET.name
    for request in asked:
        if request.seed == 7:
            raise RuntimeError("a bug")
        emit(Progress(request.run_key, "epochs", 1, 2, {}))
        make = {5: factories.failed, 6: factories.diverged}.get(request.seed, factories.result)
        emit(Result(request.run_key, make(request)))


def run_all(writer: Writer, asked: Sequence[RunRequest], **options: Any) -> Outcome:
    """Those of the runs that the store lacks."""
    stored = writer.stored(request.run_key for request in asked)
    items = items_of(request for request in asked if request.run_key not in stored)
    return run(items, DATASETS, writer, InProcessExecutor(), **({"work": fit} | options))


@pytest.fixture
def given_up() -> Iterator[None]:
    """Waits for the executor's thread, so that its end is seen in the test that gave it up."""
    yield
    for thread in threading.enumerate():
        if thread.name == "basin-work":
            thread.join()


# Giving up ends that thread by SystemExit, which Python passes over in threads and pytest does not.
gives_up = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def test_runs_are_stored_under_their_dataset_and_sweep(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        assert run_all(writer, requests(3), sweep="small") == Outcome(fitted=3, reused=0, failed={})
    runs = Store(tmp_path).runs().collect()
    assert sorted(runs["seed"]) == [0, 1, 2]
    assert set(runs["dataset"]) == {"Ziffern"}
    assert set(runs["sweep"]) == {"small"}


def test_failures_and_lost_runs_are_rows_and_are_tried_again(tmp_path: Path) -> None:
    asked = requests(4, start=4)
    keys = {request.seed: request.run_key for request in asked}
    for attempt in range(2):
        with writing(tmp_path) as writer:
            outcome = run_all(writer, asked)
        assert outcome.fitted == 2 - 2 * attempt
        assert outcome.failed == {keys[5]: "its worker was lost", keys[7]: "RuntimeError: a bug"}
    runs = Store(tmp_path).runs().select("seed", "status", "error", "attempt").sort("seed").collect().rows()
    assert runs == [
        (4, "finished", None, 0),
        (5, "failed", "its worker was lost", 1),
        (6, "diverged", "loss became NaN at step 12", 0),
        (7, "failed", "RuntimeError: a bug", 1),
    ]


def test_results_are_told_after_they_are_stored(tmp_path: Path) -> None:
    seen: list[Event] = []

    def listen(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Result):
            assert (tmp_path / "bundles" / f"{event.run_key}.zip").exists()

    with writing(tmp_path) as writer:
        run_all(writer, requests(2), on_event=listen)
    assert sorted(type(event).__name__ for event in seen) == ["Progress", "Progress", "Result", "Result"]


def test_every_event_comes_with_its_item(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        events = list(execute(items_of(requests(3)), DATASETS, writer, InProcessExecutor(), fit))
    assert all(item.run_key == event.run_key == item.payload.run_key for item, event in events)
    assert {item.payload.seed for item, event in events if isinstance(event, Result)} == {0, 1, 2}


@gives_up
@pytest.mark.usefixtures("given_up")
def test_an_interrupt_keeps_finished_runs_and_the_next_call_goes_on(tmp_path: Path) -> None:
    finished: list[str] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, Result):
            finished.append(event.run_key)
            if len(finished) == 2:
                raise KeyboardInterrupt

    def command() -> None:
        with writing(tmp_path) as writer:
            run_all(writer, requests(5), on_event=interrupt)

    with pytest.raises(KeyboardInterrupt):
        command()
    assert Store(tmp_path).stored(r.run_key for r in requests(5)) == set(finished)
    with writing(tmp_path) as writer:
        assert run_all(writer, requests(5)) == Outcome(fitted=3, reused=0, failed={})


@gives_up
@pytest.mark.usefixtures("given_up")
def test_a_store_that_cannot_be_written_ends_the_call(tmp_path: Path) -> None:
    def break_store(event: Event) -> None:
        (tmp_path / "bundles").touch()

    def command() -> None:
        with writing(tmp_path) as writer:
            run_all(writer, requests(5), on_event=break_store)

    with pytest.raises(StoreError, match="cannot write to the store"):
        command()


def count_to_four(asked: Sequence[RunRequest], dataset: Dataset, checkpoints: Mapping[str, Any], emit: Emit) -> None:
    """Counts from its checkpoint to 4, and tells by its number of parameters how far it came by itself."""
    for request in asked:
        done = int(checkpoints.get(request.run_key, {}).get("done", 0))
        for step in range(done + 1, 5):
            emit(Checkpoint(request.run_key, {"done": np.array(step)}))
        value = factories.failed(request)
        emit(Result(request.run_key, type(value)(**(vars(value) | {"status": "finished", "n_parameters": 4 - done}))))


def run_until_killed(path: Path) -> None:
    """A driver that is killed when it has stored one run, and kept the third checkpoint of the next."""
    seen = 0

    def kill(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Checkpoint)
        if seen == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    with writing(path) as writer:
        run_all(writer, requests(2), on_event=kill, work=count_to_four)


def test_a_killed_driver_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    child = CHILDREN.Process(target=run_until_killed, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with writing(tmp_path) as writer:
        outcome = run_all(writer, requests(2), work=count_to_four)
    assert outcome == Outcome(fitted=1, reused=0, failed={})
    assert sorted(Store(tmp_path).runs().collect()["n_parameters"]) == [1, 4]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_what_another_command_stored_meanwhile_is_counted_as_reused(tmp_path: Path) -> None:
    asked = requests(3)
    with writing(tmp_path) as writer, writing(tmp_path) as other:
        assert run_all(other, asked[:2]) == Outcome(2, 0, {})
        with InProcessExecutor() as executor:  # as it looked before the other one stored them
            found = run(items_of(iter(asked)), DATASETS, writer, executor, work=fit)
        assert found == Outcome(1, 2, {})
