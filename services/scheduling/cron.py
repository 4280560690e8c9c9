"""When a cron expression comes round in a time zone. The parsing and the calendar are cronsim's."""

import functools
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from models.spelling import did_you_mean
from services.errors import ScheduleError

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, MON#2 (the second Monday) or 5L (the last Friday)",
}
_LONGEST_STEPS = dict(zip(FIELDS, (59, 23, 31, 12, 7), strict=True))
_AHEAD_OF_UTC = re.compile(r"(?:etc/)?(?:utc|gmt|z)?([+-])0?([1-9]\d?)(?::?(\d{2}))?", re.IGNORECASE | re.ASCII)
_LONGEST = 200  # characters; more is no expression that a person wrote
_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_CLOCKS_RUN_ON = timedelta(hours=12)  # no two changes are nearer to each other


class Cron:
    """The times of a cron expression in a time zone.

    An expression with fixed minutes and hours (neither field begins with `*`) loses and doubles nothing where clocks
    are put forward or back: times that are skipped come once, at the end of the gap, and one that is doubled comes the
    first time alone. The others go by what clocks show: none in the gap, and what is doubled both times.

    cronsim is asked about a calendar without time zones alone: its own rules lose times where clocks change by part of
    an hour.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        """Check both.

        Raises:
            ScheduleError: an expression that is wrong or never comes round, or an unknown zone.
        """
        self._zone = _zone(timezone)
        self._expression = _checked(expression)
        minute, hour, *_ = self._expression.split()
        self._fixed = not minute.startswith("*") and not hour.startswith("*")
        try:
            comes = self._next_shown(_SOME_TIME.replace(tzinfo=None)) is not None
        except CronSimError:  # the fields are right one by one: it saw that no such month has so many days
            comes = False
        if not comes:
            raise ScheduleError(f"cron expression {expression!r} never comes round: there is no such date")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Times later than a moment, in UTC, ascending. They end when none follows within fifty years."""
        moment = moment.astimezone(UTC)
        while (shown := self._next_shown(self._shown(moment))) is not None:
            # As long as clocks run on, they show it after as long as they would have had to run.
            following = moment + (shown - self._shown(moment))
            change = self._first_change(moment, following)
            if change is None:
                moment = following
                comes = not (self._fixed and self.local(moment).fold)
            else:
                comes = self._comes_at_change(moment, change)
                moment = change
            if comes:
                yield moment

    def local(self, moment: datetime) -> datetime:
        """A moment on the clocks of the zone."""
        return moment.astimezone(self._zone)

    def _shown(self, moment: datetime) -> datetime:
        """What the clocks show, as it stands there."""
        return self.local(moment).replace(tzinfo=None, fold=0)

    def _next_shown(self, shown: datetime) -> datetime | None:
        """The next match later than that, on a calendar without changes of clocks."""
        return next(CronSim(self._expression, shown), None)

    def _offset(self, moment: datetime) -> timedelta:
        """How far clocks are ahead of UTC."""
        return self._shown(moment) - moment.replace(tzinfo=None)

    def _first_change(self, moment: datetime, until: datetime) -> datetime | None:
        """When, later than a moment, clocks are first put forward or back; None where that is not by then."""
        before = self._offset(moment)
        while moment < until:
            later = min(moment + _CLOCKS_RUN_ON, until)
            if self._offset(later) != before:
                while later - moment > _SECOND:
                    middle = moment + (later - moment) // _SECOND // 2 * _SECOND
                    moment, later = (middle, later) if self._offset(middle) == before else (moment, middle)
                return later.replace(microsecond=0)
            moment = later
        return None

    def _comes_at_change(self, before: datetime, change: datetime) -> bool:
        """Whether a time comes just when clocks change."""
        shown = self._shown(change)
        if not self._fixed:
            return self._next_shown(shown - _SECOND) == shown
        gap = change.replace(tzinfo=None) + self._offset(before)
        found = self._next_shown(gap - _SECOND)
        return gap < shown and found is not None and found <= shown


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
        steps = [int(term.partition("/")[2]) for term in part.split(",") if "/" in term]
        if (longest := _LONGEST_STEPS[field]) < max(steps, default=0):
            raise ScheduleError(
                f"cron expression {expression!r}: {field} is {part!r}: expected a step of at most {longest}: steps "
                "begin anew with each hour, day, week, month and year"
            )
    return " ".join(parts)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no relative path; a folder of zones
        raise ScheduleError(f"unknown time zone {name[:64]!r}: {_hint(name)}") from None


def _hint(name: str) -> str:
    """Which zone may have been meant."""
    known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
    if ahead := _AHEAD_OF_UTC.fullmatch(name):
        return _hint_of_offset(known, *ahead.groups())
    same = [zone for low, zone in known.items() if f"/{low}".endswith(f"/{name.lower()}")]
    if same:
        return f"did you mean {' or '.join(map(repr, sorted(same)))}?"
    return did_you_mean(name, known.values(), "expected one such as Europe/Paris or UTC")


def _hint_of_offset(known: Mapping[str, str], sign: str, hours: str, minutes: str | None) -> str:
    """The same of an offset. The database's names of offsets have the sign of POSIX: of UTC minus local time."""
    other = "-" if sign == "+" else "+"
    same, opposite = (known.get(f"etc/gmt{posix}{int(hours)}") for posix in (other, sign))
    if same is None or int(minutes or 0):
        return "expected a place with that time, such as Asia/Kolkata"
    here, there = ("ahead of", "behind") if sign == "+" else ("behind", "ahead of")
    n = f"{int(hours)} hour{'s' * (int(hours) != 1)}"
    contrast = f" ({opposite} is {n} {there} UTC)" if opposite else ""
    return f"for {n} {here} UTC use {same}{contrast}; a place such as Europe/Paris goes with daylight saving, too"
