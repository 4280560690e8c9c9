"""Sweeps at planned times, as people handle them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from services.client import tabular
from services.client.backend import SchedulesBackend, Timing
from services.client.errors import BasinError
from services.client.specs import Spec, checked, read
from services.rendering.formatting import printable

if TYPE_CHECKING:
    import polars as pl

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LIST = ("name", "cron", "timezone", "state", "next", "last")
_HISTORY = ("schedule", "planned", "trigger", "status", "reason", "claimed", "ended")


class Schedules:
    """The schedules of a store, `b.schedules`. They fire while a `basin scheduler` or a server is at work there."""

    def __init__(self, backend: SchedulesBackend) -> None:
        self._backend = backend

    def list(self) -> "pl.DataFrame":
        """A row for each schedule: when it fires next, and what became of its last occurrence."""
        return _frame([_listed(each) for each in self._backend.schedules()], _LIST, ("next",))

    def get(self, name: str) -> Mapping[str, Any]:
        """All that is known about a schedule.

        Raises:
            BasinError: there is none of this name.
        """
        return self._backend.get(checked(name, "schedule"))

    def add(
        self,
        spec: Spec,
        cron: str,
        *,
        name: str | None = None,
        timezone: str = "UTC",
        overlap: Literal["skip", "queue", "replace"] = "skip",
        misfire_grace: str = "1h",
        coalesce: bool = True,
        workers: int | None = None,
        gpus: float | None = None,
    ) -> Mapping[str, Any]:
        """Run a sweep at planned times; a schedule of the same name is replaced, and keeps its history.

        Args:
            spec: the sweep, as `Basin.submit` takes it; it is kept as it is now.
            cron: minute hour day-of-month month day-of-week, such as "0 2 * * *".
            name: of the schedule; the sweep's unless given.
            timezone: on whose clocks, such as Europe/Paris.
            overlap: what becomes of an occurrence while an earlier one is not finished.
            misfire_grace: what is found due later than this is skipped: 30m, 1h, 1d12h.
            coalesce: of several that are due at once, run the latest alone.
            workers: Ray actors; None is what the sweep says.
            gpus: share of a GPU for each net's worker; None is what the sweep says.

        Raises:
            BasinError: the sweep, the expression, the zone or the name is wrong.
        """
        timing = Timing(cron, name, timezone, overlap, _seconds(misfire_grace), coalesce, workers, gpus)
        return self._backend.add(read(spec), timing)

    def pause(self, name: str) -> None:
        """Let it fire nothing until it is resumed; what runs goes on."""
        self._backend.change(checked(name, "schedule"), "pause")

    def resume(self, name: str) -> None:
        """Let it fire again from now on; what it missed is not made up for."""
        self._backend.change(checked(name, "schedule"), "resume")

    def remove(self, name: str) -> None:
        """Remove it; what runs goes on, and its history stays."""
        self._backend.change(checked(name, "schedule"), "remove")

    def run_now(self, name: str) -> None:
        """Ask for an occurrence now; it starts when none of the schedule is running."""
        self._backend.change(checked(name, "schedule"), "run-now")

    def history(self, name: str, limit: int = 20) -> "pl.DataFrame":
        """What became of the last occurrences of a schedule, a removed one too, the latest first."""
        return _frame(
            self._backend.history(checked(name, "schedule"), limit), _HISTORY, ("planned", "claimed", "ended")
        )

    def __repr__(self) -> str:
        rows = [_listed(each) for each in self._backend.schedules()]
        lines = (
            f"  {row['name']}: {row['cron']} {row['timezone']}, {row['state']}, next {row['next']}" for row in rows
        )
        return "\n".join(map(printable, [f"{len(rows)} schedule{'' if len(rows) == 1 else 's'}", *lines]))

    def _repr_html_(self) -> str:
        rows = [_listed(each) for each in self._backend.schedules()]
        return tabular.table(_LIST, [[row[name] for name in _LIST] for row in rows])


def _listed(schedule: Mapping[str, Any]) -> Mapping[str, Any]:
    last = schedule.get("last") or {}
    return {**schedule, "last": last.get("status") if isinstance(last, Mapping) else last}


def _frame(rows: "list[Mapping[str, Any]]", columns: tuple[str, ...], times: tuple[str, ...]) -> "pl.DataFrame":
    """Texts as they are, times as the instants that they say."""
    import polars as pl

    data = {name: [row.get(name) for row in rows] for name in columns}
    frame = pl.DataFrame(data, schema=dict.fromkeys(columns, pl.String), strict=False)
    return frame.with_columns(pl.col(times).str.to_datetime(time_unit="us", time_zone="UTC"))


def _seconds(text: str) -> int:
    parts = re.findall(r"(\d{1,9})([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BasinError(
            "invalid_request", f"misfire_grace {text!r}: expected numbers with d, h, m or s, such as 90s, 1h or 1d12h"
        )
    return sum(int(number) * _UNITS[unit] for number, unit in parts)
