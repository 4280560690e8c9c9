import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.api.cache import Cache


def test_what_several_ask_for_at_once_is_made_once():
    cache: Cache[bytes] = Cache(100)
    made, begun, go_on = [], threading.Event(), threading.Event()

    def make() -> bytes:
        made.append(1)
        begun.set()
        go_on.wait()
        return b"answer"

    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.get, "key", make)
        begun.wait()
        others = [pool.submit(cache.get, "key", make) for _ in range(3)]
        go_on.set()
        assert {each.result() for each in [first, *others]} == {b"answer"}
    assert len(made) == 1


def test_those_that_were_asked_for_last_are_kept():
    cache: Cache[bytes] = Cache(10)
    made: list[str] = []

    def get(key: str, size: int = 4) -> None:
        cache.get(key, lambda: made.append(key) or bytes(size))

    for key in ("a", "b", "a", "c", "a", "c", "b"):  # b goes when c comes
        get(key)
    assert made == ["a", "b", "c", "b"]
    get("large", 11)
    get("large", 11)
    assert made[4:] == ["large", "large"]
    get("c")
    assert made[6:] == []


def test_a_failure_is_told_and_not_kept():
    cache: Cache[bytes] = Cache(10)

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("key", fail)
    assert cache.get("key", lambda: b"yes") == b"yes"
