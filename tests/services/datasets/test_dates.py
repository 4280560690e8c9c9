import datetime

import numpy as np
import polars as pl
import pytest

from services.datasets.dates import read_dates

RNG = np.random.default_rng(0)
TIMES = [datetime.datetime(2019, 1, 3) + datetime.timedelta(minutes=int(m)) for m in RNG.integers(0, 10**6, 40)]
DAYS = [t.replace(hour=0, minute=0) for t in TIMES]


@pytest.mark.parametrize(
    "layout",
    [
        "%Y-%m-%d",
        "%Y/%m/%d",
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d.%m.%y",
        "%d-%m-%Y",
        "%d %b %Y",
        "%d%b%Y",
        "%B %d, %Y",
    ],
)
@pytest.mark.parametrize("clock", ["", " %H:%M", " %H:%M:%S", " %I:%M %p", "T%H:%M:%S.000Z"])
def test_dates_are_read_as_datetime_writes_them(layout, clock):
    found = read_dates(pl.Series([f"{t:{layout}{clock}}" for t in TIMES]))
    assert found is not None
    assert found.times.to_list() == (TIMES if clock else DAYS)
    assert not found.doubt


def test_zones_are_turned_into_utc():
    zones = [datetime.timezone(datetime.timedelta(minutes=int(m))) for m in RNG.choice([-300, 0, 120, 330], len(TIMES))]
    for form in (lambda t: t.isoformat(), lambda t: f"{t:%Y-%m-%d %H:%M:%S %z}"):
        text = [form(t.replace(tzinfo=datetime.UTC).astimezone(zone)) for t, zone in zip(TIMES, zones, strict=True)]
        found = read_dates(pl.Series(text))
        assert found is not None
        assert found.times.to_list() == TIMES
    mixed = read_dates(pl.Series(["2019-01-01T00:00Z", "2019-01-02T00:00Z", "2019-01-01T00:00"]))
    assert mixed is not None
    assert mixed.unread.to_list() == [False, False, True]


def test_an_order_that_nothing_tells_is_in_doubt():
    found = read_dates(pl.Series(["01/02/2020", "12/11/2020"]))
    assert found is not None
    assert found.times[0] == datetime.datetime(2020, 1, 2)
    assert "01/02/2020 could be day/month/year" in found.doubt
    dots = read_dates(pl.Series(["01.02.2020", "12.11.2020"]))
    assert dots is not None
    assert dots.times[0] == datetime.datetime(2020, 2, 1)


def test_days_that_are_none_are_unread():
    found = read_dates(pl.Series(["31/02/2019", "13/11/2019", None, "28/02/2019"]))
    assert found is not None
    assert found.unread.to_list() == [True, False, False, False]
    assert read_dates(pl.Series(["555-12-1234", "1-2"])) is None
    assert read_dates(pl.Series(["20190531"])) is None
    compact = read_dates(pl.Series(["20190531"]), compact=True)
    assert compact is not None
    assert compact.times.to_list() == [datetime.datetime(2019, 5, 31)]
