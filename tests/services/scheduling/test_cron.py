"""When cron expressions come round: daylight saving, and what is refused."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, product, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from services.errors import ScheduleError
from services.scheduling.cron import Cron, next_time

BERLIN, LORD_HOWE, SANTIAGO = "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"
MINUTE = timedelta(minutes=1)


def times(expression: str, zone: str, after: str, n: int) -> list[str]:
    found = Cron(expression, zone)
    moments = list(islice(found.after(datetime.fromisoformat(after).replace(tzinfo=UTC)), n))
    assert all(moment.tzinfo is UTC for moment in moments)
    return [found.local(moment).isoformat(" ", "minutes")[5:] for moment in moments]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # Fixed times in the hour that is skipped come at its end, and once where two of them do.
        ("30 2 * * *", BERLIN, "2026-03-28 12:00", ["03-29 03:00+02:00", "03-30 02:30+02:00"]),
        ("0,30 2,3 * * *", BERLIN, "2026-03-28 12:00", ["03-29 03:00+02:00", "03-29 03:30+02:00", "03-30 02:00+02:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03 12:00", ["10-04 02:30+11:00", "10-05 02:15+11:00"]),
        ("0 0 * * *", SANTIAGO, "2026-09-05 12:00", ["09-06 01:00-03:00", "09-07 00:00-03:00"]),
        # Fixed times in the hour that is doubled come the first time alone.
        ("30 2 * * *", BERLIN, "2026-10-24 12:00", ["10-25 02:30+02:00", "10-26 02:30+01:00"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-04 12:00", ["04-05 01:45+11:00", "04-06 01:45+10:30"]),
        # The others go by elapsed time.
        ("30 * * * *", BERLIN, "2026-03-28 23:45", ["03-29 01:30+01:00", "03-29 03:30+02:00"]),
        ("*/30 2 * * *", BERLIN, "2026-03-28 12:00", ["03-30 02:00+02:00", "03-30 02:30+02:00"]),
        ("30 * * * *", BERLIN, "2026-10-24 23:45", ["10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"]),
        ("*/30 2 * * *", BERLIN, "2026-10-25 00:15", ["10-25 02:30+02:00", "10-25 02:00+01:00", "10-25 02:30+01:00"]),
        ("0 */4 * * *", LORD_HOWE, "2026-10-03 14:00", ["10-04 04:00+11:00", "10-04 08:00+11:00"]),
        ("0 */4 * * *", LORD_HOWE, "2026-04-04 13:30", ["04-05 04:00+10:30", "04-05 08:00+10:30"]),
        ("*/30 3 * * *", LORD_HOWE, "2026-10-03 14:00", ["10-04 03:00+11:00", "10-04 03:30+11:00"]),
        ("*/20 0 * * *", LORD_HOWE, "2026-10-04 12:00", ["10-05 00:00+11:00", "10-05 00:20+11:00"]),
        ("30 * * * *", LORD_HOWE, "2026-10-03 14:30", ["10-04 01:30+10:30", "10-04 02:30+11:00", "10-04 03:30+11:00"]),
        ("45 * * * *", LORD_HOWE, "2026-04-04 14:00", ["04-05 01:45+11:00", "04-05 01:45+10:30", "04-05 02:45+10:30"]),
        (
            "*/15 * * * *",
            LORD_HOWE,
            "2026-10-03 15:10",
            ["10-04 01:45+10:30", "10-04 02:30+11:00", "10-04 02:45+11:00"],
        ),
        (
            "*/15 * * * *",
            LORD_HOWE,
            "2026-04-04 14:40",
            ["04-05 01:45+11:00", "04-05 01:30+10:30", "04-05 01:45+10:30"],
        ),
    ],
)
def test_clocks_that_are_put_forward_or_back(expression, zone, after, expected):
    assert times(expression, zone, after, len(expected)) == expected


def by_minutes(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The times of an expression, by the rule of docs/schedules.md and a look at every minute."""
    minute, hour, *_ = expression.split()
    fixed = not minute.startswith("*") and not hour.startswith("*")
    until = (end + timedelta(days=2)).replace(tzinfo=None)
    matches = set(
        takewhile(lambda time: time < until, CronSim(expression, (start - timedelta(days=2)).replace(tzinfo=None)))
    )
    found, before = [], start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for n in range(1, int((end - start) / MINUTE) + 1):
        clock = (start + n * MINUTE).astimezone(ZoneInfo(zone))
        shown = clock.replace(tzinfo=None, fold=0)
        skipped = (before + k * MINUTE for k in range(1, int((shown - before) / MINUTE)))
        if (shown in matches and not (fixed and clock.fold)) or (fixed and not matches.isdisjoint(skipped)):
            found.append(start + n * MINUTE)
        before = shown
    return found


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        (BERLIN, "2026-03-29 01:00"),
        (BERLIN, "2026-10-25 01:00"),
        (LORD_HOWE, "2026-04-04 15:00"),
        (LORD_HOWE, "2026-10-03 15:30"),
        (SANTIAGO, "2026-04-05 03:00"),  # midnight is doubled, and skipped
        (SANTIAGO, "2026-09-06 04:00"),
        ("Antarctica/Troll", "2026-03-29 01:00"),  # by two hours
        ("Antarctica/Troll", "2026-10-25 01:00"),
        ("Pacific/Apia", "2011-12-30 10:00"),  # a whole day is skipped
        ("Asia/Pyongyang", "2018-05-04 15:00"),  # by half an hour, at the end of a day
        ("America/Caracas", "2007-12-09 07:00"),
        ("Pacific/Chatham", "2026-09-26 14:00"),  # from 02:45
    ],
)
def test_times_around_a_change_of_clocks_are_those_that_a_look_at_every_minute_finds(zone, change):
    start, end = (datetime.fromisoformat(f"{change}Z") + timedelta(hours=hours) for hours in (-14, 14))
    for minute, hour, day in product(
        ("0", "45", "15-20", "*", "*/30"),
        ("*", "0", "1,2,3", "*/4"),
        ("* * *", "1,L * 0"),
    ):
        expression = f"{minute} {hour} {day}"
        found = list(takewhile(lambda moment: moment <= end, Cron(expression, zone).after(start)))
        assert found == by_minutes(expression, zone, start, end), expression


@pytest.mark.parametrize("after", ["2026-10-25 00:45", "2026-10-25 01:05", "2026-10-25 01:30"])
def test_within_a_doubled_hour_no_time_comes_back_from_the_past(after):
    assert times("30 2 * * *", BERLIN, after, 1) == ["10-26 02:30+01:00"]


@pytest.mark.parametrize(
    ("zone", "day"),
    [(BERLIN, "03-28"), (BERLIN, "10-24"), (LORD_HOWE, "04-04"), (LORD_HOWE, "10-03"), ("UTC", "01-31")],
)
@pytest.mark.parametrize("expression", ["*/20 * * * *", "10,50 1,2,3 * * *", "0 */2 * * *", "15 0 L * *", "5 1 * * 7"])
def test_times_ascend_and_follow_each_other_however_one_comes_to_the_first(expression, zone, day):
    moments = list(islice(Cron(expression, zone).after(datetime.fromisoformat(f"2026-{day} 00:00Z")), 100))
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert all(next_time(expression, zone, earlier) == later for earlier, later in pairwise(moments))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * *", "expected five fields, minute hour day-of-month month day-of-week, such as '0 2 \\* \\* \\*'"),
        ("0 0 2 * * *", "expected five fields"),
        ("@daily", "expected five fields"),
        ("", "expected five fields"),
        ("61 2 * * *", "'61 2 \\* \\* \\*': minute is '61': expected 0-59"),
        ("0 24 * * *", "hour is '24': expected 0-23"),
        ("0 0 0 * *", "day-of-month is '0': expected 1-31"),
        ("0 0 * JANUARY *", "month is 'JANUARY': expected 1-12 or JAN-DEC"),
        ("0 0 * * 5-2", "day-of-week is '5-2': expected 0-7 or SUN-SAT"),
        ("*/90 * * * *", "minute is '\\*/90': expected a step of at most 59"),
        ("0 1-9/61,*/24 * * *", "hour is '1-9/61,\\*/24': expected a step of at most 23"),
        ("*/0 * * * *", "minute is '\\*/0'"),
        ("0 0 * * MON#1/2", "day-of-week is 'MON#1/2'"),
        ("0 0 30 2 *", "'0 0 30 2 \\*' never comes round: there is no such date"),
        (f"{'9' * 5000} * * * *", "expected five fields"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_field_and_what_was_expected(expression, expected):
    with pytest.raises(ScheduleError, match=expected):
        Cron(expression, "UTC")


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Paris", "unknown time zone 'Paris': did you mean 'Europe/Paris'\\?"),
        ("Europe/Pariss", "did you mean 'Europe/Paris'\\?"),
        ("europe/paris", "did you mean 'Europe/Paris'\\?"),
        ("GMT+5", "for 5 hours ahead of UTC use Etc/GMT-5 \\(Etc/GMT\\+5 is 5 hours behind UTC\\)"),
        ("utc-03:00", "for 3 hours behind UTC use Etc/GMT\\+3 \\(Etc/GMT-3 is 3 hours ahead of UTC\\)"),
        ("UTC+5:30", "expected a place with that time, such as Asia/Kolkata"),
        ("", "expected one such as Europe/Paris or UTC"),
        ("Europe", "did you mean 'Europe/"),
        ("../../etc/passwd", "expected one such as"),
        ("/etc/passwd", "expected one such as"),
        ("a\0b", "expected one such as"),
        ("x" * 5000, "expected one such as"),
    ],
)
def test_an_unknown_zone_is_refused_with_those_that_are_near(zone, expected):
    with pytest.raises(ScheduleError, match=expected):
        Cron("0 2 * * *", zone)


fields = st.text("0123456789*/,-#LW ?\u00b2\u0663MONJAN", max_size=8)


@given(st.lists(fields, min_size=5, max_size=5).map(" ".join))
def test_any_text_is_refused_by_a_message_or_has_ascending_times(expression):
    try:
        found = Cron(expression, BERLIN)
    except ScheduleError:
        return
    moments = list(islice(found.after(datetime(2026, 10, 25, tzinfo=UTC)), 3))
    assert moments == sorted(set(moments))
    assert all(moment > datetime(2026, 10, 25, tzinfo=UTC) for moment in moments)


def test_a_moment_within_a_second_is_later_than_that_second():
    just_after = datetime(2026, 1, 1, 2, 0, 0, 1, tzinfo=UTC)
    assert next_time("0 2 * * *", "UTC", just_after) == datetime(2026, 1, 2, 2, tzinfo=UTC)
    assert next_time("0 2 * * *", "UTC", just_after - timedelta(microseconds=2)) == datetime(2026, 1, 1, 2, tzinfo=UTC)
