"""The schedules that go with a store, from its ledger."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from services.client.backend import Change, Timing
from services.client.error_codes import told
from services.client.errors import BasinError
from services.settings import settings

SHOWN = ("name", "cron", "timezone", "overlap", "misfire_grace_seconds", "coalesce", "state")

if TYPE_CHECKING:
    from services.ledger.database import Ledger
    from services.scheduling.occurrences import Occurrence
    from services.scheduling.schedules import Schedule
    from services.sweeps.definition import Sweep


class LocalSchedules:
    """See `services.client.backend.SchedulesBackend`."""

    def __init__(self, location: str) -> None:
        """Use the ledger of the store at a location, or the one that BASIN_LEDGER names."""
        self._location = location

    @told
    def schedules(self) -> list[Mapping[str, Any]]:
        """The schedules, each with when it fires next and its last occurrence."""
        from services.scheduling.occurrences import latest
        from services.scheduling.schedules import all_schedules

        with self._ledger() as ledger:
            if ledger is None:
                return []
            last = latest(ledger)
            return [_listed(each, last.get(each.name)) for each in all_schedules(ledger)]

    @told
    def add(self, sweep: "Sweep | Mapping[str, Any]", timing: Timing) -> Mapping[str, Any]:
        """Add a schedule, or replace the one of its name."""
        from services.client.specs import settled
        from services.launching.options import RunOptions
        from services.scheduling.schedules import add, define

        schedule = define(
            settled(sweep),
            timing.cron,
            RunOptions(store=self._location, workers=timing.workers, gpus=timing.gpus),
            datetime.now(UTC),
            name=timing.name,
            timezone=timing.timezone,
            overlap=timing.overlap,
            misfire_grace=timedelta(seconds=timing.misfire_grace_seconds),
            coalesce=timing.coalesce,
        )
        schedule.next_times(datetime.now(UTC), 1)  # one that never fires is refused here
        with self._ledger(create=True) as ledger:
            assert ledger is not None
            add(ledger, schedule)
        return _listed(schedule, None)

    @told
    def get(self, name: str) -> Mapping[str, Any]:
        """One of them."""
        from services.scheduling.occurrences import history

        with self._ledger() as ledger:
            found = _get(ledger := _there(ledger, name), name)
            last = history(ledger, name, 1)
            return _listed(found, last[0] if last else None)

    @told
    def change(self, name: str, change: Change) -> None:
        """Do what is said to a schedule."""
        from services.scheduling import occurrences, schedules

        now = datetime.now(UTC)
        with self._ledger() as ledger:
            _get(ledger := _there(ledger, name), name)
            match change:
                case "pause":
                    schedules.pause(ledger, name)
                case "resume":
                    schedules.resume(ledger, name, now)
                case "remove":
                    schedules.remove(ledger, name)
                case "run-now":
                    occurrences.run_now(ledger, name, now)

    @told
    def history(self, name: str, limit: int) -> list[Mapping[str, Any]]:
        """What became of the last occurrences of a schedule, a removed one too."""
        from services.errors import ScheduleError
        from services.scheduling.occurrences import history

        with self._ledger() as ledger:
            try:
                return [each.model_dump(mode="json") for each in history(_there(ledger, name), name, limit)]
            except ScheduleError as error:
                raise BasinError("not_found", str(error)) from None

    @contextmanager
    def _ledger(self, *, create: bool = False) -> "Iterator[Ledger | None]":
        """The ledger; None where there is none yet and none is to be made."""
        from services.ledger.database import Ledger, default_url

        environment = settings()
        url = environment.ledger or default_url(self._location, environment.cache)
        if not create and not environment.ledger and not _is_there(url):
            yield None
            return
        with closing(Ledger(url, create=create)) as ledger:
            yield ledger


def _is_there(url: str) -> bool:
    from pathlib import Path

    from sqlalchemy.engine import make_url

    return Path(make_url(url).database or "").is_file()


def _there(ledger: "Ledger | None", name: str) -> "Ledger":
    if ledger is None:
        raise BasinError("not_found", f"no schedule {name!r}: there are none; schedules.add() makes one")
    return ledger


def _get(ledger: "Ledger", name: str) -> "Schedule":
    from services.errors import ScheduleError
    from services.scheduling.schedules import get

    try:
        return get(ledger, name)
    except ScheduleError as error:
        raise BasinError("not_found", str(error)) from None


def _listed(schedule: "Schedule", last: "Occurrence | None") -> Mapping[str, Any]:
    """As a server answers."""
    upcoming = [time.isoformat() for time in schedule.upcoming(datetime.now(UTC), 5)]
    return {
        **schedule.model_dump(mode="json", include=set(SHOWN)),
        "workers": schedule.options.workers,
        "gpus": schedule.options.gpus,
        "sweep": json.loads(schedule.sweep),
        "next": upcoming[0] if upcoming else None,
        "upcoming": upcoming,
        "last": last and last.model_dump(mode="json"),
    }
