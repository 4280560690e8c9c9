"""When a cron expression comes round in a time zone. The parsing and the calendar are cronsim's."""

import difflib
import functools
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from services.errors import ScheduleError

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, MON#2 (the second Monday) or 5L (the last Friday)",
}
_LONGEST = 200  # characters; more is no expression that a person wrote
_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Cron:
    """The times of a cron expression in a time zone.

    Where clocks are put forward or back, cronsim does as Debian's cron does. An expression with fixed minutes and hours
    (neither field begins with `*`) loses and doubles nothing: a time that is skipped comes at the end of the gap, and
    one that is doubled comes the first time alone. The others go by elapsed time: none in the gap, and in both of the
    doubled hours.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        """Check both.

        Raises:
            ScheduleError: an expression that is wrong or never comes round, or an unknown zone.
        """
        self._zone = _zone(timezone)
        self._expression = _checked(expression)
        try:
            comes = next(self.after(_SOME_TIME), None) is not None
        except CronSimError:  # the fields are right one by one: it saw that no such month has so many days
            comes = False
        if not comes:
            raise ScheduleError(f"cron expression {expression!r} never comes round: there is no such date")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Times later than a moment, in UTC, ascending. They end when none follows within fifty years."""
        for time in CronSim(self._expression, moment.astimezone(self._zone)):
            # cronsim goes on from wall-clock time: within a doubled hour it may step back into the first of the two.
            if (found := time.astimezone(UTC)) > moment:
                yield found
                moment = found

    def local(self, moment: datetime) -> datetime:
        """A moment on the clocks of the zone."""
        return moment.astimezone(self._zone)


@functools.lru_cache(maxsize=4096)
def cron(expression: str, timezone: str) -> Cron:
    """The same, kept.

    Raises:
        ScheduleError: as `Cron` does.
    """
    return Cron(expression, timezone)


@functools.lru_cache(maxsize=4096)
def next_time(expression: str, timezone: str, moment: datetime) -> datetime | None:
    """The first time later than a moment, in UTC.

    Raises:
        ScheduleError: as `Cron` does.
    """
    return next(cron(expression, timezone).after(moment), None)


def _checked(expression: str) -> str:
    parts = expression.split()
    if len(parts) != len(FIELDS) or len(expression) > _LONGEST:
        raise ScheduleError(
            f"cron expression {expression[:_LONGEST]!r}: expected five fields, {' '.join(FIELDS)}, such as '0 2 * * *' "
            "for 02:00 every day"
        )
    for part, (field, expected) in zip(parts, FIELDS.items(), strict=True):
        alone = ["*"] * len(FIELDS)
        alone[list(FIELDS).index(field)] = part
        try:
            CronSim(" ".join(alone), _SOME_TIME)
        except (CronSimError, AssertionError):  # cronsim asserts where a step follows MON#2
            raise ScheduleError(
                f"cron expression {expression!r}: {field} is {part!r}: expected {expected}, or `*`, lists such as 1,3, "
                "ranges such as 1-5, steps such as */2"
            ) from None
    return " ".join(parts)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no relative path; a folder of zones
        known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
        same = [zone for low, zone in known.items() if f"/{low}".endswith(f"/{name.lower()}")]
        near = same or [known[low] for low in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.8)]
        hint = f"did you mean {' or '.join(sorted(near))}?" if near else "expected one such as Europe/Paris or UTC"
        raise ScheduleError(f"unknown time zone {name[:64]!r}: {hint}") from None
