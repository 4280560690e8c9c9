import numpy as np
import polars as pl
import pytest

from services.datasets.numbers import decimal_of, read_numbers

RNG = np.random.default_rng(0)
VALUES = np.r_[0.5, -1234567.25, 999.75, RNG.uniform(-1e6, 1e6, 40).round(2)]
SPACES = {"space": " ", "no-break": "\u00a0", "narrow no-break": "\u202f", "thin": "\u2009"}


def written(values, thousands="", decimal=".", form="{}"):
    plain = [f"{abs(v):,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands) for v in values]
    return pl.Series("x", [("-" if v < 0 else "") + form.format(text) for v, text in zip(values, plain, strict=True)])


def indian(value):
    whole, decimals = f"{abs(value):.2f}".split(".")
    head, last = whole[:-3], whole[-3:]
    pairs = [head[max(0, k - 2) : k] for k in range(len(head), 0, -2)][::-1]
    return ("-" if value < 0 else "") + ",".join([*pairs, last]) + "." + decimals


def values_of(text, decimal=None):
    found = read_numbers(text, decimal)
    assert not found.unread.any()
    return found.values.to_numpy()


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("thousands", ["", ",", ".", "'", "\u2019", *SPACES.values()])
@pytest.mark.parametrize("form", ["{}", "${}", "{} €", "CHF {}", "{}%", "{} kg", "{}kg", "{} m2"])
def test_numbers_are_read_however_they_are_written(thousands, decimal, form):
    if thousands == decimal:
        return
    text = written(VALUES, thousands, decimal, form)
    assert np.array_equal(values_of(text), VALUES)
    assert decimal_of([text]) == decimal


def test_indian_thousands_brackets_last_minus_and_other_minus_signs_are_read():
    assert np.array_equal(values_of(pl.Series([indian(v) for v in VALUES])), VALUES)
    negative = [f"({abs(v):,.2f})" if v < 0 else f"{v:,.2f}" for v in VALUES]
    assert np.array_equal(values_of(pl.Series(negative)), VALUES)
    assert "brackets" in read_numbers(pl.Series(negative), None).written
    assert values_of(pl.Series(["12,5-", "\u22123,5", "4"])).tolist() == [-12.5, -3.5, 4]


def test_a_mark_before_three_digits_is_settled_by_the_column_or_the_table_or_is_in_doubt():
    assert values_of(pl.Series(["1,234", "0,126"])).tolist() == [1.234, 0.126]
    assert values_of(pl.Series(["1,234", "2.5"])).tolist() == [1234, 2.5]
    assert values_of(pl.Series(["1,234", "5,678"]), ",").tolist() == [1.234, 5.678]
    assert values_of(pl.Series(["1.234", "5.678"]), ",").tolist() == [1234, 5678]
    for text, value in (("1,234", 1234), ("1.234", 1.234)):
        found = read_numbers(pl.Series([text, text.replace("1", "5")]), None)
        assert found.values[0] == value
        assert f"{text} was taken for {value}" in found.doubt
        assert not read_numbers(pl.Series([text]), ".").doubt


def test_columns_that_disagree_leave_the_decimal_mark_open():
    comma, dot, open_ = pl.Series(["1,5"]), pl.Series(["1.5"]), pl.Series(["1,234", "7"])
    assert decimal_of([comma, open_]) == ","
    assert decimal_of([comma, dot]) is None
    assert decimal_of([open_, pl.Series(["a,b", "1,5"])]) is None


@pytest.mark.parametrize(
    "cells", [["4WD", "2WD"], ["Q1", "Q2"], ["1-2", "3-4"], ["1,2,3"], ["12/5"], [","], ["12.11.20"], ["A12", "B7"]]
)
def test_what_only_begins_like_a_number_is_none(cells):
    assert read_numbers(pl.Series(cells), None).unread.all()


def test_one_unit_is_read_and_others_are_not():
    found = read_numbers(pl.Series(["12 kg", "5 lb", None, "3 kg"]), None)
    assert found.values.to_list() == [12, None, None, 3]
    assert found.unread.to_list() == [False, True, False, False]
    assert read_numbers(pl.Series(["1,5", "2,5", "3.5"]), None).unread.to_list() == [False, False, True]
    assert read_numbers(pl.Series(["inf", "1'000"]), None).values.to_list() == [float("inf"), 1000]
    assert read_numbers(pl.Series(["12%", "12", "13%"]), None).unread.to_list() == [False, True, False]
