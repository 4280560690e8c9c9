"""When cron expressions come round: daylight saving, and what is refused."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cron import Cron, next_time
from services.errors import ScheduleError

BERLIN, LORD_HOWE, SANTIAGO = "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"


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
        ("Paris", "unknown time zone 'Paris': did you mean Europe/Paris\\?"),
        ("Europe/Pariss", "did you mean Europe/Paris\\?"),
        ("europe/paris", "did you mean Europe/Paris\\?"),
        ("", "expected one such as Europe/Paris or UTC"),
        ("Europe", "expected one such as Europe/Paris or UTC"),
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
