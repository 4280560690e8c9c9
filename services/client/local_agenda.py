"""The schedules that go with a store, from its ledger."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from services.client.backend import Change, Timing
from services.client.errors import BasinError
from services.client.told import told
from services.settings import settings

if TYPE_CHECKING:
    from services.ledger import Ledger
    from services.occurrences import Occurrence
    from services.schedules import Schedule
    from services.sweeps import Sweep


class LocalAgenda:
    """See `services.client.backend.Agenda`."""

    def __init__(self, location: str) -> None:
        """Use the ledger of the store at a location, or the one that BASIN_LEDGER names."""
        self._location = location

    @told
    def schedules(self) -> list[Mapping[str, Any]]:
        """The schedules, each with when it fires next and its last occurrence."""
        from services.occurrences import latest
        from services.schedules import all_schedules

        with self._ledger() as ledger:
            if ledger is None:
                return []
            last = latest(ledger)
            return [_listed(each, last.get(each.name)) for each in all_schedules(ledger)]

    @told
    def add(self, sweep: "Sweep | Mapping[str, Any]", timing: Timing) -> Mapping[str, Any]:
        """Add a schedule, or replace the one of its name."""
        from services.client.specs import settled
        from services.schedules import RunOptions, add, define

        schedule = define(
            settled(sweep),
            timing.cron,
            RunOptions(store=self._location, **timing.options),
            datetime.now(UTC),
            name=timing.name,
            timezone=timing.timezone,
            overlap=timing.overlap,
            misfire_grace=timedelta(seconds=timing.misfire_grace_seconds),
            coalesce=timing.coalesce,
        )
        with self._ledger(create=True) as ledger:
            assert ledger is not None
            add(ledger, schedule)
        return _listed(schedule, None)

    @told
    def change(self, name: str, change: Change) -> None:
        """Do what is said to a schedule."""
        from services import occurrences, schedules

        now = datetime.now(UTC)
        with self._ledger() as ledger:
            if ledger is None or name not in {each.name for each in schedules.all_schedules(ledger)}:
                raise BasinError("not_found", f"no schedule {name!r}: schedules.list() has their names")
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
    def history(self, name: str | None, limit: int) -> list[Mapping[str, Any]]:
        """What became of the last occurrences, of one schedule or all."""
        from services.occurrences import history
        from services.schedules import all_schedules

        with self._ledger() as ledger:
            known = [] if ledger is None else [each.name for each in all_schedules(ledger, removed=True)]
            if name is not None and name not in known:
                raise BasinError("not_found", f"no schedule {name!r}: schedules.list() has their names")
            return [] if ledger is None else [each.model_dump(mode="json") for each in history(ledger, name, limit)]

    @contextmanager
    def _ledger(self, *, create: bool = False) -> "Iterator[Ledger | None]":
        """The ledger; None where there is none yet and none is to be made."""
        from services.ledger import Ledger, default_url

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


def _listed(schedule: "Schedule", last: "Occurrence | None") -> Mapping[str, Any]:
    following = None
    if schedule.state == "active":
        after = max(datetime.now(UTC), schedule.planned_through)
        following = next(iter(schedule.next_times(after, 1)), None)
    return {
        **schedule.model_dump(mode="json"),
        "next": following and following.isoformat(),
        "last": last and last.model_dump(mode="json"),
    }
