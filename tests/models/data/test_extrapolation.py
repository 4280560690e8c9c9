from dataclasses import replace

import numpy as np
import pytest

from models.data.dataset import Dataset, Partition
from models.data.extrapolation import far_rows, told_of
from models.data.preparation import prepare

TRAIN, TEST = np.arange(80), np.arange(80, 100)


def table(column, other=None):
    n = len(column)
    numeric = np.column_stack([np.random.default_rng(9).normal(size=n) if other is None else other, column])
    return Dataset("t", "real", numeric, ("age", "load"), {}, None, np.linspace(0, 1, n), "y", ())


def normal(seed=0):
    return np.random.default_rng(seed).normal(loc=20, scale=5, size=100)


def test_glitch_is_told_with_row_column_value_and_distance():
    column = normal()
    column[90] = 9_999_999
    (text,) = far_rows(table(column), TRAIN, TEST)
    assert text.startswith("row 91 (load = 9,999,999) is ")
    distance = (9_999_999 - column[:80].mean()) / column[:80].std()
    assert float(text.split(") is ")[1].split()[0]) == pytest.approx(distance, rel=0.05)
    assert told_of(text)[0] == 90
    for other in ("row 91 is fine", f"seed 0: {text}", f"{text} no", text.replace("?", "")):
        assert told_of(other) is None


@pytest.mark.parametrize(
    "name",
    ["x = 3) is 5 standard deviations from the training rows: is it a glitch?", "a\nb", "row 7 (= )(", "", "{row}"],
)
def test_row_is_told_whatever_its_column_is_called(name):
    column = normal()
    column[90] = -9_999_999.5
    (text,) = far_rows(replace(table(column), names=("age", name)), TRAIN, TEST)
    number, said = told_of(text)
    assert number == 90
    assert text == f"{said}: is it a glitch?"


@pytest.mark.parametrize("value", [-999.0, 9999.0, 20_000.0])
def test_marks_of_missing_values_and_slips_of_the_unit_are_far(value):
    column = normal()
    column[85] = value
    assert len(far_rows(table(column), TRAIN, TEST)) == 1


def test_long_tails_rare_indicators_and_values_known_from_training_are_not_accused():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for column in (rng.lognormal(sigma=1.5, size=100), rng.exponential(size=100), rng.standard_t(3, size=100)):
            assert far_rows(table(column), TRAIN, TEST) == ()
    rare = np.zeros(100)
    rare[[3, 95]] = 1.0
    known = normal()
    known[[3, 95]] = 9999.0
    gaps = normal()
    gaps[[3, 95]] = np.nan
    for column in (rare, known, gaps, np.full(100, 2.0)):
        assert far_rows(table(column), TRAIN, TEST) == ()


def test_many_far_rows_are_counted():
    column = normal()
    column[85:92] = 1e7
    told = far_rows(table(column), TRAIN, TEST)
    assert len(told) == 4
    assert told[-1] == "4 further test rows are more than 50 standard deviations from training"


def test_split_tells_of_its_own_test_rows_and_images_have_none():
    column = normal()
    column[50] = 1e7
    data = table(column)
    told = {j: prepare(data, Partition(index=j)) for j in range(6)}
    assert {bool(split.far) for split in told.values()} == {True, False}
    for split in told.values():
        assert bool(split.far) == (50 in split.test.rows)
    assert far_rows(replace(data, shape=(1, 2)), TRAIN, TEST) == ()
