"""How a sweep stands: said by the process at work, read by anybody."""

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from models.runs.events import Progress, Result
from services.errors import ServiceError
from services.execution import status
from services.execution.status import (
    Standing,
    StoppedError,
    Worksite,
    attended,
    check_idle,
    read_standing,
    request_stop,
)
from services.execution.tally import Tally
from services.store.store import Store
from services.store.writer import writing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with writing(tmp_path) as writer:
        return writer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "BEAT_SECONDS", 0.01)


def stands(store: Store) -> Standing:
    found = read_standing(store, "s")
    assert found is not None
    return found


def test_it_says_what_the_tally_counts_and_how_it_ended(store: Store):
    tally = Tally({"a", "b"}, 2)
    assert read_standing(store, "s") is None
    with attended(store, "s", 5, 3, tally):
        assert (stands(store).state, stands(store).alive) == ("running", True)
        tally.consume(Result("a", None))
        tally.consume(Progress("b", "draws", 1, 2, {}))
        while stands(store).running != 1:
            pass
        assert stands(store).ended == {"finished": 1}
    found = stands(store)
    assert (found.state, found.alive, found.runs, found.reused) == ("finished", False, 5, 3)
    assert found.at.process == os.getpid()


def test_a_failure_is_told_with_its_reason(store: Store):
    with pytest.raises(ValueError, match="no luck"), attended(store, "s", 1, 0, Tally((), 0)):
        raise ValueError("no luck")
    assert (stands(store).state, stands(store).reason) == ("failed", "no luck")


def test_an_interrupt_goes_through(store: Store):
    with pytest.raises(KeyboardInterrupt), attended(store, "s", 1, 0, Tally((), 0)):
        raise KeyboardInterrupt
    assert stands(store).state == "interrupted"


def test_a_request_stops_it_and_is_used_up(store: Store):
    request_stop(store, "s")  # one from before is not for this process

    def wait_to_be_stopped() -> None:
        with attended(store, "s", 1, 0, Tally((), 0)):
            request_stop(store, "s")
            signal.pause()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a script's background
    try:
        with pytest.raises(StoppedError, match="basin sweep resume s"):
            wait_to_be_stopped()
    finally:
        signal.signal(signal.SIGINT, before)
    assert stands(store).state == "stopped"
    with attended(store, "s", 1, 0, Tally((), 0)):
        pass
    assert stands(store).state == "finished"


def said(process: int, started: float, host: str, age: float) -> bytes:
    when = datetime.now(UTC) - timedelta(seconds=age)
    return (
        Standing(
            name="s",
            state="running",
            runs=1,
            reused=0,
            ended={},
            running=1,
            seconds=1.0,
            seconds_left=None,
            cpu_hours=0.0,
            gpu_hours=0.0,
            started_at=when,
            updated_at=when,
            at=Worksite(host=host, process=process, started=started, job=None),
        )
        .model_dump_json()
        .encode()
    )


def test_only_a_living_process_keeps_others_off(store: Store):
    here = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = psutil.Process(child.pid).create_time() - psutil.boot_time()
        store.storage.replace("sweeps", "s.state.json", said(child.pid, started, here, age=1000.0))
        with pytest.raises(ServiceError, match=f"being run by process {child.pid} on {here}"):
            check_idle(store, "s")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # until its parent asks for it, a dead one is listed
        check_idle(store, "s")
    check_idle(store, "s")
    # A later process of the same number is another one.
    store.storage.replace("sweeps", "s.state.json", said(os.getpid(), started - 5000, here, age=0.0))
    check_idle(store, "s")


def test_this_process_may_begin_anew_what_it_could_not_say_the_end_of(store: Store):
    with attended(store, "s", 1, 0, Tally((), 0)):
        left = store.storage.read("sweeps", "s.state.json")
    store.storage.replace("sweeps", "s.state.json", left)
    assert stands(store).alive
    check_idle(store, "s")


@pytest.mark.parametrize(("age", "alive"), [(1.0, True), (1000.0, False)])
def test_on_another_host_what_was_said_lately_counts(store: Store, age: float, alive: bool):
    store.storage.replace("sweeps", "s.state.json", said(1, 0.0, "elsewhere", age))
    assert stands(store).alive == alive


def test_what_cannot_be_read_says_nothing(store: Store):
    store.storage.replace("sweeps", "s.state.json", b"{half")
    assert read_standing(store, "s") is None
    check_idle(store, "s")
