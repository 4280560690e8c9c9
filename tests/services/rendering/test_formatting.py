import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.digits import (
    format_beside,
    format_ess,
    format_estimate,
    format_number,
    format_r_hat,
    format_short,
    format_signed,
)
from services.commands.workers import tell
from services.rendering.formatting import format_hours, format_p_value, format_probability, format_seconds, printable


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-0.08124, 0.00631, ("-0.0812", "0.0063")),
        (0.9751, 0.0996, ("0.98", "0.10")),  # rounding the error up shortens both
        (1234.5, 118.0, ("1,230", "120")),
        (61.23, 1.31, ("61.2", "1.3")),
        (-0.0004, 0.012, ("0.000", "0.012")),  # never "-0.000"
        (14.83004, 2.1e-7, ("14.830", "2.1e-7")),  # five digits of the value are enough
        (0.0, 0.02, ("0.000", "0.020")),
        (3.14159, 0.0, ("3.142", "")),
        (3.14159, None, ("3.142", "")),
        (0.04999999999999999, 7.9e-18, ("0.05000", "")),  # the mean of equal values: the error is rounding
        (None, 0.1, ("–", "")),
        (3.23e31, 1.9e30, ("3.23e31", "1.9e30")),  # not 32 digits
        (4.9e-16, 1.4e-16, ("4.9e-16", "1.4e-16")),
        (2e29, 1.9e31, ("0", "1.9e31")),  # less than the error's last digit
        (-500_000.0, 420_000.0, ("-500,000", "420,000")),
        (1.5e7, 120.0, ("1.5000e7", "1.2e2")),
        (1e300, math.nan, ("1.000e300", "")),
        (5e-324, 5e-324, ("4.9e-324", "4.9e-324")),
    ],
)
def test_value_and_error_have_matching_digits(value, error, expected):
    assert format_estimate(value, error) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0.0, "0"),
        (870.4, "870"),
        (2314.0, "2,310"),
        (9.996, "10.0"),
        (0.000251, "0.000251"),
        (1.234e6, "1.23e6"),
        (-2.5e-7, "-2.50e-7"),
        (3.2e31, "3.20e31"),
        (math.inf, "inf"),
        (math.nan, "–"),
    ],
)
def test_numbers_keep_three_significant_digits(value, expected):
    assert format_number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "+0.00"), (0.414, "+0.41"), (-0.003, "-0.003"), (0.00002, "+0.00002"), (3e-7, "+3e-7"), (-1e-12, "-1e-12")],
)
def test_correlations_are_told_on_the_side_of_zero_where_they_are(value, expected):
    assert format_signed(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.0, "1.00"), (1.0004, "1.0004"), (0.99996, "0.99996"), (3.2e31, "3.20e31"), (1e-12, "1.00e-12"), (1.02, "1.02")],
)
def test_ratios_are_told_on_the_side_of_one_where_they_are(value, expected):
    assert format_beside(value, 1.0) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3.5, "3.5"), (1200.0, "1,200"), (100_000.0, "100,000"), (3.2e31, "3.2e31"), (1e-12, "1e-12"), (0.61, "0.61")],
)
def test_a_persons_own_numbers_have_no_trailing_zeros(value, expected):
    assert format_short(value) == expected


@pytest.mark.parametrize(
    ("hours", "expected"), [(0.004, "0.00"), (12.345, "12.35"), (12345.67, "12,346"), (3.2e31, "3.2000e31")]
)
def test_hours_have_at_most_five_digits(hours, expected):
    assert format_hours(hours) == expected


SIZES = st.floats(1e-300, 1e300).map(lambda x: x) | st.floats(-300, 300).map(lambda power: 10.0**power)


@given(SIZES, st.sampled_from([-1, 1]), SIZES | st.floats(1e-6, 1e3))
@settings(max_examples=300, deadline=None)
def test_numbers_of_any_size_have_at_most_five_digits_and_are_right_to_them(size, sign, error):
    value = sign * size
    number, spread = format_estimate(value, error)
    for text, digits, exact in ((number, 5, value), (spread, 2, error), (format_number(value), 3, value)):
        mantissa = text.split("e")[0].replace(",", "").lstrip("-")
        if "." in mantissa or "e" in text:
            significant = mantissa.replace(".", "").lstrip("0")
        else:  # whole numbers below a million are filled up with zeros
            significant = mantissa.rstrip("0")
        assert len(text) <= 12
        assert len(significant) <= digits
        if text == number and spread:
            assert abs(float(text.replace(",", "")) - exact) <= max(0.051 * error, 5.1e-5 * size)
        elif text:
            assert float(text.replace(",", "")) == pytest.approx(exact, rel=0.051)


@pytest.mark.parametrize(
    ("r_hat", "ess", "expected"),
    [(1.0104, 399.7, ("1.0104", "399")), (1.312, 4.6, ("1.312", "4")), (1.004, 1234.5, ("1.004", "1,234"))],
)
def test_diagnostics_read_on_the_side_of_the_limit_where_they_are(r_hat, ess, expected):
    assert (format_r_hat(r_hat), format_ess(ess)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (89.0, "89 s"),
        (91.0, "2 min"),
        (3599.0, "1 h 00"),
        (7260.0, "2 h 01"),
    ],
)
def test_times_are_in_units_that_people_use(seconds, expected):
    assert format_seconds(seconds) == expected


def test_probabilities_and_p_values_say_when_they_are_missing_or_tiny():
    assert [format_probability(p) for p in (None, 0.0, 0.426)] == ["–", "0.00", "0.43"]
    assert [format_p_value(p) for p in (None, 0.0004, 0.0314, 1.0)] == ["–", "<0.001", "0.031", "1.000"]


def test_control_characters_cannot_reach_the_terminal():
    assert printable("a\x1b[31mb\r\nc é 猫") == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}" + (
        "\N{REPLACEMENT CHARACTER}c é 猫"
    )


def test_what_is_told_moves_no_cursor(capsys: pytest.CaptureFixture[str]):
    tell("two\nlines of \x1b[2Jtext, [red]as it is")
    assert capsys.readouterr().err == "two\nlines of \N{REPLACEMENT CHARACTER}[2Jtext, [red]as it is\n"
