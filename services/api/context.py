"""What the routes of one application share: its settings, the store, the ledger and what is kept of answers."""

import threading
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Request

from services.api.cache import Cache
from services.api.errors import ApiError
from services.api.formats import Answer
from services.api.settings import Serving
from services.execution.status import counts_by_learner
from services.ledger.database import Ledger
from services.store.location import make
from services.store.objects import Storage
from services.store.ranges import Directory
from services.store.reader import Reader
from services.store.versions import content_of

KEPT_PARTS = 20_000  # of bundles whose directories are kept
KEPT_COUNTS = 10_000  # learners of sweeps whose runs were counted
KEPT_CONTENTS = 100_000  # characters


class Context:
    """What the routes of one application share. Store and ledger are opened when they are first asked for.

    Attributes:
        serving: the settings.
        answers: what was computed for answers, by what it was computed from.
        directories: of bundles, by their names.
        fragments: parts of pages, likewise by what they were made from.
        followers: how many follow sweeps by events now.
    """

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.answers: Cache[Answer] = Cache(serving.limits.cache_bytes)
        self.directories: Cache[Directory] = Cache(KEPT_PARTS)
        self.fragments: Cache[str] = Cache(serving.limits.cache_bytes)
        self._counts: Cache[list[dict[str, Any]]] = Cache(KEPT_COUNTS)
        self._contents: Cache[str] = Cache(KEPT_CONTENTS)
        self.followers = 0
        self._opening = threading.RLock()

    @property
    def store(self) -> Reader:
        """The store, to read from; it is made where there is none.

        Raises:
            StoreError: it cannot be read now; the next call tries again.
        """
        with self._opening:
            return self._store

    @property
    def told_location(self) -> str | None:
        """Where the store is, for a command to name; None of a folder that is another's, whose path is not told."""
        location = self.serving.store
        return location if "://" in location or not self.serving.authentication else None

    @property
    def ledger(self) -> Ledger:
        """The ledger.

        Raises:
            LedgerError: it cannot be had now; the next call tries again.
        """
        with self._opening:
            return self._ledger

    @cached_property
    def _store(self) -> Reader:
        location, patience = self.serving.store, self.serving.limits.storage_seconds
        make(Storage(location, patience))
        return Reader(location, patience)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.serving.ledger)

    def counts(self, sweep: str) -> list[dict[str, Any]]:
        """What became of a stored sweep's runs, by learner, as `services.execution.status.counts_by_learner` has it.

        Raises:
            NotStoredError: there is no such sweep.
            StoreError: the store cannot be read.
        """
        key = f"{self.store.sweep_digest(sweep)} {self.store.version('runs')}"
        return self._counts.get(key, lambda: counts_by_learner(self.store, self.store.sweep(sweep)[1]).to_dicts())

    def content(self, sweep: str, *tables: str) -> str:
        """Tells what the store has of a sweep's runs, as `services.store.versions.content_of` does, which is asked
        only where something was stored since.

        Raises:
            NotStoredError: there is no such sweep.
            StoreError: the store cannot be read.
        """
        versions = [self.store.version(table) for table in ("runs", *tables)]
        key = " ".join([self.store.sweep_digest(sweep), *versions])
        return self._contents.get(key, lambda: content_of(self.store, sweep, *tables))

    def close(self) -> None:
        """Close the ledger, if it is open."""
        if "_ledger" in vars(self):
            self._ledger.close()


def context_of(request: Request) -> Context:
    """The context of the application that a request came to."""
    return request.app.state.context


Here = Annotated[Context, Depends(context_of)]


async def follower(context: Here) -> AsyncIterator[None]:
    """A place among those that may follow sweeps at once, for as long as the answer goes on; a route's dependency.

    Raises:
        ApiError: all of them are taken.
    """
    if context.followers >= context.serving.limits.followers:
        words = "as many follow sweeps as this server looks after: try again later, or ask for the sweep now and then"
        raise ApiError("unavailable", words, {"Retry-After": "30"})
    context.followers += 1
    try:
        yield
    finally:
        context.followers -= 1
