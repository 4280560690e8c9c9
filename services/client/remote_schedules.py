"""The schedules of a server."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from models.spec.settings import canonical_json
from services.client.backend import Change, Timing
from services.client.connection import Connection
from services.client.errors import BasinError

if TYPE_CHECKING:
    from services.sweeps.definition import Sweep


class RemoteSchedules:
    """See `services.client.backend.SchedulesBackend`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def schedules(self) -> list[Mapping[str, Any]]:
        """The schedules, each with when it fires next and its last occurrence."""
        return self._connection.get("/schedules").json()["schedules"]

    def get(self, name: str) -> Mapping[str, Any]:
        """One of them."""
        return self._connection.get(_path(name)).json()

    def add(self, sweep: "Sweep | Mapping[str, Any]", timing: Timing) -> Mapping[str, Any]:
        """Add a schedule, or replace the one of its name."""
        asked = {**timing._asdict(), "sweep": sweep_json(sweep)}
        # Sent twice it is replaced by itself.
        return self._connection.post("/schedules", asked, repeatable=True).json()

    def change(self, name: str, change: Change) -> None:
        """Do what is said to a schedule."""
        if change == "remove":
            self._connection.send("DELETE", _path(name), repeatable=False)
        else:
            self._connection.post(f"{_path(name)}/{change}", repeatable=True)

    def history(self, name: str, limit: int) -> list[Mapping[str, Any]]:
        """What became of the last occurrences of a schedule."""
        return self._connection.get(f"{_path(name)}/history", [("limit", str(limit))]).json()["occurrences"]


def sweep_json(sweep: "Sweep | Mapping[str, Any]") -> Any:
    """A sweep as JSON has it.

    Raises:
        BasinError: it has what JSON has not.
    """
    if not isinstance(sweep, Mapping):
        return json.loads(canonical_json(sweep))
    try:
        return json.loads(json.dumps(sweep, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BasinError("invalid_sweep", f"the sweep cannot be written as JSON: {error}") from None


def _path(name: str) -> str:
    return f"/schedules/{quote(name, safe='')}"
