"""Sweeps that are submitted, watched and stopped by the client, over a store and over a server."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console

from services.client import Basin, BasinError, launches, local, watching
from services.client.backend import Stands
from services.client.launches import Launches
from services.errors import ConflictError
from services.execution.status import Standing, Worksite
from services.launching.launcher import LaunchState
from services.launching.local import LocalLauncher
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.ledger.tokens import create
from services.settings import settings
from services.store.store import Store
from services.sweeps.definition import parse_sweep, settle
from tests.services.client.conftest import Served
from tests.support.stored_sweep import HOSTILE, NAME

TINY = {"name": "tiny", "datasets": ["iris"], "learners": ["svm"], "splits": 1, "seeds": 1}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, so that what it launches is not another one's."""
    monkeypatch.setenv("BASIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(launches, "RunOptions", partial(RunOptions, workers=0))  # Ray takes its time to start
    settings.cache_clear()
    yield
    settings.cache_clear()


def stands(state: str = "running", **changes: Any) -> Standing:
    """How a sweep stands by the word of this process, which is alive."""
    now = datetime.now(UTC)
    started = psutil.Process(os.getpid()).create_time() - psutil.boot_time()
    fields = {
        "name": NAME,
        "state": state,
        "runs": 4,
        "reused": 1,
        "ended": {"finished": 1, "failed": 1},
        "running": 1,
        "seconds": 10.0,
        "seconds_left": 5.0,
        "cpu_hours": 0.5,
        "gpu_hours": 0.0,
        "started_at": now,
        "updated_at": now,
        "at": Worksite(host=socket.gethostname(), process=os.getpid(), started=started, job=None),
    }
    return Standing.model_validate(fields | changes)


def say(store: str, standing: Standing) -> None:
    storage = Store(store).storage
    storage.replace("sweeps", f"{standing.name}.state.json", standing.model_dump_json().encode())


# --- watching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown, without waiting between two lines."""
    shown: list[str] = []
    monkeypatch.setattr(watching, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(Console, "print", lambda _, line, **__: shown.append(line))
    return shown


def test_a_sweep_is_watched_until_it_ends(b: Basin, served: Served, lines: list[str]):
    say(served.store, stands())

    def end() -> None:
        while not lines:
            time.sleep(0.01)
        say(served.store, stands("finished", ended={"finished": 3}, running=0))

    ending = threading.Thread(target=end)
    ending.start()
    try:
        final = b.watch(NAME)
    finally:
        ending.join()
        Store(served.store).storage.remove("sweeps", f"{NAME}.state.json")
    assert (final.state, final.ended) == ("finished", {"finished": 3})
    assert lines[0].startswith(f"{NAME}: running: 3 of 4 runs; 1 failed; 1 running; about 5.0 s left")
    assert lines[-1] == f"{NAME}: finished: 4 of 4 runs; 0.50 CPU-hours"


def test_a_sweep_whose_process_went_away_is_broken_off(b: Basin, served: Served, lines: list[str]):
    gone = Worksite(host=socket.gethostname(), process=os.getpid(), started=-1e9, job=None)
    say(served.store, stands(at=gone))
    try:
        assert b.watch(NAME).state == "running"
        assert b.sweep(NAME).state == "broken off"
    finally:
        Store(served.store).storage.remove("sweeps", f"{NAME}.state.json")
    assert lines == [f"{NAME}: broken off: 3 of 4 runs; 1 failed; 0.50 CPU-hours"]


def test_a_stop_reaches_the_process_at_work(b: Basin, served: Served):
    say(served.store, stands())
    storage = Store(served.store).storage
    try:
        b.stop(NAME)
        assert storage.exists("sweeps", f"{NAME}.stop")
        with pytest.raises(BasinError) as told:
            b.resume(NAME)
        assert told.value.code == "conflict"
    finally:
        for end in ("state.json", "stop"):
            storage.remove("sweeps", f"{NAME}.{end}")


def test_a_notebook_shows_one_bar_that_draws_itself_anew(monkeypatch: pytest.MonkeyPatch):
    shown: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda bundle, raw: shown.append(bundle))

    def display(bundle: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw and display_id and not shown
        shown.append(bundle)
        return handle

    monkeypatch.setattr(watching, "_notebook_display", lambda: display)
    with watching.view() as view:
        view.show("s", Stands("accepted", "", True, None))
        view.show("s", Stands("running", "", True, stands(doing="measuring")))
        view.show("s", Stands("running", "", True, stands(doing="measuring")))
        view.show("s", Stands("failed", HOSTILE, False, stands("failed")))
    assert len(shown) == 3
    assert "accepted" in shown[0]["text/html"]
    assert '<progress max="4" value="3"' in shown[1]["text/html"] and "requests measured" in shown[1]["text/html"]
    assert "&lt;script&gt;" in shown[2]["text/html"] and "<script" not in shown[2]["text/html"]
    assert "\x1b" not in shown[2]["text/plain"]


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch):
    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with watching.view() as view:
        view.show("s", Stands("submitted", "", True, None))
        view.show("s", Stands("finished", "", False, stands("finished", ended={"finished": 3})))
    assert "finished: 4 of 4 runs" in screen.getvalue()


# --- on a server ------------------------------------------------------------------------------------------------------


def test_a_submission_to_a_server_waits_there_and_is_one_for_each_key(served: Served, tmp_path: Path):
    file = tmp_path / "sweep.yaml"
    file.write_text("name: from-a-file\ndatasets: [iris]\nlearners: [svm]\nsplits: 2\nseeds: 2\n")
    with Basin(served.url, token=served.token) as b:
        first = b.submit(file, idempotency_key="k1")
        assert (first.name, first.runs, first.state) == ("from-a-file", 4, "accepted")
        assert b.submit(file, idempotency_key="k1").id == first.id
        assert b.submit(file).id == first.id  # the same sweep, at work
        with pytest.raises(BasinError) as told:
            b.submit({**TINY, "name": "from-a-file"}, idempotency_key="k1")
        assert told.value.code == "conflict"
        assert b.sweep("from-a-file").state == "accepted"
        assert "from-a-file" in b.sweeps()["name"]
        assert "from-a-file" in repr(first) and "4" in first._repr_html_()
        first.stop()


def test_a_token_that_may_only_read_submits_nothing(served: Served):
    with closing(Ledger(served.ledger)) as ledger:
        token = create(ledger, "reader", "read", datetime.now(UTC)).secret
    with Basin(served.url, token=token) as b:
        assert NAME in b.sweeps()["name"]
        with pytest.raises(BasinError, match="submit") as told:
            b.submit(TINY)
    assert told.value.code == "forbidden"


# --- by a process of this machine -------------------------------------------------------------------------------------


def test_a_sweep_over_a_store_is_run_by_a_process_of_its_own(tmp_path: Path):
    store = tmp_path / "new store"
    b = Basin(store)
    assert b.sweeps().is_empty()
    with pytest.raises(BasinError, match="no store") as told:
        b.runs()
    assert told.value.code == "not_found"
    submitted = b.submit(TINY, idempotency_key="once")
    assert (submitted.state, submitted.runs) == ("running", 1)
    assert b.sweep("tiny").active
    assert b.submit(TINY, idempotency_key="once").id == submitted.id
    with pytest.raises(BasinError) as told:
        b.submit({**TINY, "seeds": 2}, idempotency_key="once")
    assert told.value.code == "conflict"
    final = submitted.watch()
    assert (final.state, final.ended) == ("finished", {"finished": 1})
    assert b.runs(sweep="tiny")["status"].to_list() == ["finished"]
    assert b.sweeps().row(0, named=True)["state"] == "finished"
    assert b.compare("tiny").document.best is not None


def test_a_process_that_cannot_run_its_sweep_says_why(served: Served, monkeypatch: pytest.MonkeyPatch):
    refusing = ("/bin/sh", "-c", "echo 'error: no such data' >&2; exit 2", "sh")
    monkeypatch.setattr(launches, "LocalLauncher", partial(LocalLauncher, command=refusing))
    with Basin(served.store) as b:
        b.submit({**TINY, "name": "absent"})
        with pytest.raises(BasinError, match=r"could not be run: .*error: no such data; log: "):
            b.watch("absent")
        assert b.sweep("absent").state == "failed"
        assert "absent" in b.sweeps()["name"]


def test_one_process_at_a_time_works_on_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    launched: list[str] = []
    states: dict[str, LaunchState] = {}

    def launch(self: Any, launch_id: str, sweep: str, options: Any) -> None:
        folder = self._folder / launch_id
        folder.mkdir(parents=True)
        (folder / "sweep.json").write_text(sweep)
        (folder / "process.json").write_text("{}")
        launched.append(launch_id)
        states[launch_id] = LaunchState("running")

    monkeypatch.setattr("services.launching.local.LocalLauncher.launch", launch)
    monkeypatch.setattr("services.launching.local.LocalLauncher.state", lambda _, launch_id: states.get(launch_id))
    mine = Launches("/store", tmp_path)
    tiny = settle(parse_sweep(TINY))
    first = mine.start(tiny, None)
    assert mine.start(tiny, None).id == first.id
    with pytest.raises(ConflictError, match="at work with another definition"):
        mine.start(settle(parse_sweep({**TINY, "seeds": 2})), None)
    states[first.id] = LaunchState("succeeded")
    assert mine.start(tiny, None).id != first.id
    assert len(launched) == 2
    assert mine.names() == ["tiny"]
