"""The contract of `Storage` on a folder and on S3, and what only one of them meets."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.errors import StoreError
from services.store import objects as storage_module
from services.store.objects import LEFTOVER_SECONDS, Storage
from tests.support.s3 import S3Server
from tests.support.waiting import wait_until


@pytest.fixture
def storage(location: str) -> Storage:
    found = Storage(location)
    found.make()
    return found


def test_what_is_put_comes_back(storage: Storage) -> None:
    assert storage.create("folder", "a", b"one")
    storage.replace("folder", "b", b"")
    storage.replace("", "top", b"\x00\xff")
    assert storage.read("folder", "a") == b"one"
    assert storage.read("folder", "b") == b""
    assert storage.read("", "top") == b"\x00\xff"
    assert sorted(storage.names("folder")) == ["a", "b"]
    assert storage.top() == {"folder", "top"}
    assert storage.exists("folder", "a")
    assert storage.where("folder", "a") == f"{storage.location}/folder/a"


def test_where_nothing_is_nothing_is_found(location: str) -> None:
    storage = Storage(location)
    assert storage.names("folder") == []
    assert storage.top() == set()
    assert not storage.exists("folder", "a")
    with pytest.raises(FileNotFoundError):
        storage.read("folder", "a")


def test_more_names_than_a_server_lists_at_once(storage: Storage) -> None:
    wanted = {f"{i:04}" for i in range(1100)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: storage.replace("many", name, b""), wanted))
    assert set(storage.names("many")) == wanted


def test_only_the_first_creates(storage: Storage) -> None:
    assert storage.create("folder", "a", b"first")
    assert not storage.create("folder", "a", b"second")
    assert not storage.create("folder", "a", b"first")
    assert storage.read("folder", "a") == b"first"


def test_of_many_at_once_one_creates(storage: Storage) -> None:
    others = [Storage(storage.location) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: others[i].create("folder", "a", bytes([i])), range(8)))
    assert sum(won) == 1
    assert storage.read("folder", "a") == bytes([won.index(True)])


def test_replacing_leaves_the_last(storage: Storage) -> None:
    for data in (b"first", b"second"):
        storage.replace("folder", "a", data)
    assert storage.read("folder", "a") == b"second"


def test_what_is_removed_can_be_created_again_and_removing_nothing_is_no_fault(storage: Storage) -> None:
    storage.create("folder", "a", b"first")
    storage.remove("folder", "a")
    storage.remove("folder", "a")
    assert storage.names("folder") == []
    assert storage.create("folder", "a", b"second")


def test_what_is_moved_is_elsewhere_and_makes_room(storage: Storage) -> None:
    storage.create("folder", "a", b"first")
    storage.move("folder", "a", "damaged")
    storage.move("folder", "a", "damaged")
    assert storage.read("damaged", "a") == b"first"
    assert storage.create("folder", "a", b"second")
    storage.move("folder", "a", "damaged")
    assert storage.read("damaged", "a") == b"second"


def test_a_folder_goes_with_all_below_it(storage: Storage) -> None:
    for folder in ("tables/runs", "tables/runs/_delta_log", "tables/runs-2"):
        storage.create(folder, "a", b"")
    storage.remove_folder("tables", "runs")
    assert storage.names("tables/runs") == []
    assert storage.names("tables/runs-2") == ["a"]


def test_flushing_what_somebody_removed_is_no_fault(storage: Storage) -> None:
    storage.create("folder", "a", b"")
    storage.flush("folder", ["a", "gone"])


# --- a folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with blank", "ümlaut", "#1", "a=b"])
def test_a_folder_may_have_an_odd_name(tmp_path: Path, name: str) -> None:
    storage = Storage(tmp_path / name)
    storage.make()
    storage.create("folder", "a", b"one")
    assert (tmp_path / name / "folder" / "a").read_bytes() == b"one"
    assert storage.names("folder") == ["a"]


@pytest.mark.parametrize("place", ["a%20b", "a[1]", "gs://bucket/prefix", "s3://", "s3://bucket/a b", "http://host/b"])
def test_a_location_that_cannot_be_used_is_refused(place: str) -> None:
    with pytest.raises(StoreError, match=r"name (a folder|another)"):
        Storage(place)


def test_half_written_files_are_removed_when_no_living_writer_can_be_at_them(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.create("tables/runs/_delta_log", "0.json", b"")
    log = tmp_path / "tables" / "runs" / "_delta_log"
    old = [tmp_path / "store.json#1", log / "1.json#3", log / "_commit.json.tmp"]
    young = log / "2.json#1"
    for path in (*old, young):
        path.touch()
    for path in (*old, log / "0.json"):
        os.utime(path, times=(time.time() - LEFTOVER_SECONDS - 9,) * 2)
    assert set(storage.leftovers(datetime.now(UTC))) == set(old)
    storage.remove_leftovers()
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {young, log / "0.json"}


def test_a_folder_that_cannot_be_made_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write to the store in .*: Not a directory; free some space or"):
        Storage(tmp_path / "file" / "store").make()


# --- S3 --------------------------------------------------------------------------------------------------------------


def started(action: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_a_server_that_is_away_is_waited_for_and_that_is_said(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storage_module, "QUIET_SECONDS", 0.1)
    storage = Storage(bucket)
    storage.create("folder", "a", b"one")
    found: list[Any] = []
    with caplog.at_level(logging.WARNING):
        with s3.away():
            thread = started(lambda: found.extend([storage.read("folder", "a"), storage.create("folder", "b", b"")]))
            wait_until(lambda: f"waiting for {bucket} at {s3.environment['AWS_ENDPOINT_URL']}: " in caplog.text)
        thread.join(60)
    assert found == [b"one", True]


def test_who_created_knows_it_even_when_the_answer_was_lost(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storage_module, "_REQUEST_TIMEOUT", "1s")
    monkeypatch.setattr(storage_module, "QUIET_SECONDS", 0.1)
    storage, other = Storage(bucket), Storage(bucket)
    other.create("folder", "b", b"other")
    won: list[bool] = []
    with caplog.at_level(logging.WARNING):
        # The frozen server has the first request already, and carries it out when it goes on.
        with s3.frozen():
            thread = started(lambda: won.extend(storage.create("folder", name, b"own") for name in ("a", "b")))
            wait_until(lambda: "waiting for" in caplog.text)
        thread.join(60)
    assert won == [True, False]
    assert storage.read("folder", "a") == b"own"


def test_a_server_that_stays_away_is_named(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "PATIENCE_SECONDS", 0.2)
    with s3.away(), pytest.raises(StoreError) as fault:
        Storage(bucket).read("folder", "a")
    assert f"cannot read the store in {bucket} at {s3.environment['AWS_ENDPOINT_URL']}: " in str(fault.value)
    assert "start the server, or correct AWS_ENDPOINT_URL" in str(fault.value)


@pytest.mark.parametrize("action", ["read", "create", "names", "top"])
def test_a_bucket_that_is_not_there_is_said_to_be_missing(s3: S3Server, action: str) -> None:
    storage = Storage("s3://nobody/prefix")
    actions: dict[str, Callable[[], Any]] = {
        "read": lambda: storage.read("folder", "a"),
        "create": lambda: storage.create("folder", "a", b""),
        "names": lambda: storage.names("folder"),
        "top": storage.top,
    }
    with pytest.raises(StoreError, match=r"bucket does not exist \(NoSuchBucket\); check the bucket's name"):
        actions[action]()


@pytest.mark.parametrize("action", ["read", "create", "names", "exists"])
def test_credentials_that_are_refused_are_said_to_be_so(s3: S3Server, bucket: str, action: str) -> None:
    storage = Storage(bucket)
    actions: dict[str, Callable[[], Any]] = {
        "read": lambda: storage.read("folder", "a"),
        "create": lambda: storage.create("folder", "a", b""),
        "names": lambda: storage.names("folder"),
        "exists": lambda: storage.exists("folder", "a"),
    }
    with s3.guarded(), pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        actions[action]()


def test_plain_http_has_to_be_allowed(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StoreError, match="needs AWS_ALLOW_HTTP=true"):
        Storage(bucket).read("folder", "a")


def test_half_a_pair_of_credentials_is_said_to_be_half(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match=r"Missing AccessKeyId.*check the bucket"):
        Storage(bucket).read("folder", "a")


def test_without_credentials_nobody_is_waited_for(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # where a machine of Amazon's would have some
    with pytest.raises(StoreError, match="no credentials are set; check"):
        Storage(bucket).read("folder", "a")
