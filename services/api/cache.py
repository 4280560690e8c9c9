"""What was computed, kept by the key of what it was computed from."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sized
from concurrent.futures import Future


class Cache[T: Sized]:
    """Values by key, those that were asked for last, whose lengths together are below a bound.

    Any number of threads may use it. A value that several ask for at once is made once.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._making: dict[str, Future[T]] = {}
        self._length = 0

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value of a key: the one that is kept, or is being made by another thread, or what `make` returns.

        Raises:
            Exception: what `make` raised; the next call tries again.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            theirs = self._making.get(key)
            if theirs is None:
                mine: Future[T] = Future()
                self._making[key] = mine
        if theirs is not None:
            return theirs.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, value)
        mine.set_result(value)
        return value

    def _keep(self, key: str, value: T) -> None:
        if len(value) > self._capacity:
            return
        self._kept[key] = value
        self._length += len(value)
        while self._length > self._capacity:
            _, oldest = self._kept.popitem(last=False)
            self._length -= len(oldest)
