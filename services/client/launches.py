"""Sweeps that are run by processes of this machine, which outlive the one that asked for them."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from models.spec.settings import canonical_json
from services.errors import ConflictError
from services.launching.launcher import LaunchState
from services.launching.local import LocalLauncher
from services.launching.options import RunOptions
from services.sweeps.definition import Sweep


class Launch(NamedTuple):
    """The last process that was started for a sweep.

    Attributes:
        started: by the clock of the file system, in seconds.
    """

    id: str
    state: LaunchState
    definition: Mapping[str, Any]
    started: float


class Launches:
    """The processes of one store's sweeps. Each has a folder in the cache, with its log and exit status."""

    def __init__(self, location: str, cache: Path) -> None:
        self._location = location
        self._launchers: dict[str, LocalLauncher] = {}
        self._folder = cache / "submissions" / hashlib.sha256(location.encode()).hexdigest()[:16]

    def start(self, sweep: Sweep, key: str | None) -> Launch:
        """Start a settled sweep, unless it is at work already, or was started under this key before.

        Raises:
            ConflictError: the key was given to another sweep, or another sweep of this name is at work.
            ServiceError: no process can be started.
        """
        definition = canonical_json(sweep)
        launch_id = f"{sweep.name}-{_short(key) if key is not None else uuid.uuid4().hex[:12]}"
        if (before := self._find(sweep.name, launch_id)) is not None:
            if canonical_json(before.definition) != definition:
                raise ConflictError(
                    f"idempotency key {key!r} was given with another sweep before: give each sweep a key of its own"
                )
            return before
        last = self.last(sweep.name)
        if last is not None and last.state.status == "running":
            if canonical_json(last.definition) != definition:
                raise ConflictError(
                    f"sweep {sweep.name!r} is at work with another definition: stop it, wait for it, or name this one "
                    "otherwise"
                )
            return last
        self._of(sweep.name).launch(launch_id, definition, RunOptions(store=self._location))
        started = self._find(sweep.name, launch_id)
        assert started is not None
        return started

    def last(self, name: str) -> Launch | None:
        """The last process of a sweep; None where none was ever started here."""
        found = [self._find(name, folder.name) for folder in (self._folder / name).glob("*/")]
        return max((each for each in found if each is not None), key=lambda each: each.started, default=None)

    def names(self) -> list[str]:
        """The sweeps for which one was ever started here."""
        return sorted(folder.name for folder in self._folder.glob("*/"))

    def stop(self, name: str, launch_id: str) -> None:
        """Ask a process to end."""
        self._of(name).stop(launch_id)

    def _find(self, name: str, launch_id: str) -> Launch | None:
        folder = self._folder / name / launch_id
        state = self._of(name).state(launch_id)
        if state is None:
            return None
        definition = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        return Launch(launch_id, state, definition, (folder / "process.json").stat().st_mtime)

    def _of(self, name: str) -> LocalLauncher:
        return self._launchers.setdefault(name, LocalLauncher(self._folder / name))


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]
