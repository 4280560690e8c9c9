import datetime

import numpy as np
import polars as pl
import pytest

from models.data.dataset import DataError
from services.datasets.target import read_target


def target(values, dtype=None):
    return pl.Series("y", values, dtype=dtype)


def refused(values, task=None):
    with pytest.raises(DataError) as caught:
        read_target(values if isinstance(values, pl.Series) else target(values), task)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "task", "reason"),
    [
        (["a", "b"] * 20, "classes", "text"),
        ([True, False] * 20, "classes", "true or false"),
        ([0, 1, 2, 3] * 10, "classes", "only 4 different ones in 40 rows"),
        ([0.0, 1.0] * 20, "classes", "whole numbers, only 2 different"),
        (list(range(7)) * 6, "count", "from 0 up, 7 different ones in 42 rows"),
        (list(range(7)) * 7, "classes", "only 7 different ones in 49 rows"),
        (list(range(21)) * 50, "count", "21 different"),
        ([-1, *range(30)], "real", "some negative"),
        ([0.5, 1.5] * 20, "real", "not whole"),
        ([k * 1e20 for k in range(40)], "real", "not whole"),
        ([*range(300), 3_000_000_000], "real", "beyond 2,147,483,647, the largest count"),
        ([*range(300), 2**31 - 1], "count", "from 0 up"),
        (["1.5", "2.5", "3"] * 20, "real", "not whole"),
        (["3", "7"] * 20, "classes", "only 2 different"),
    ],
)
def test_task_is_inferred_by_the_stated_rule_and_the_reason_noted(values, task, reason):
    found = read_target(target(values))
    assert found.task == task
    assert any(f"task {task!r} inferred" in note and reason in note for note in found.notes)


@pytest.mark.parametrize("rate", [0.4, 2.0, 4.0])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
def test_counts_are_no_classes_and_lose_no_rows(rate, zeros):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rate, 500) * (rng.random(500) >= zeros)
    found = read_target(target(counts.tolist()))
    assert found.task == "count"
    assert found.keep.all()
    assert np.array_equal(found.values, counts)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.7, 0.2, 0.1), (0.1,) * 10, (0.1, 0.2, 0.3, 0.25, 0.15)])
def test_codes_of_classes_are_no_counts(shares):
    codes = np.random.default_rng(0).choice(len(shares), 500, p=shares)
    assert read_target(target(codes.tolist())).task == "classes"


def test_codes_stay_apart_as_classes():
    assert read_target(target(["001", "01", "1"] * 10)).classes == ("001", "01", "1")
    large = [2**63 + k % 3 for k in range(30)]
    found = read_target(target(large, pl.UInt64))
    assert np.array(found.classes)[found.values].tolist() == list(map(str, large))


def test_categories_are_classes_even_when_they_look_like_numbers():
    found = read_target(target([str(k) for k in range(8)] * 5, pl.Categorical))
    assert found.task == "classes"
    assert found.classes == tuple("01234567")


def test_classes_are_coded_in_numeric_order_and_labelled_plainly():
    found = read_target(target([10.0, 2.0, -1.0] * 10))
    assert found.classes == ("-1", "2", "10")
    assert found.values.tolist() == [2, 1, 0] * 10
    assert found.values.dtype == np.int64
    assert read_target(target([True, False] * 10)).classes == ("false", "true")


def test_a_stated_task_overrides_the_inferred_one():
    assert read_target(target([0, 1] * 20), "count").values.dtype == np.int64
    assert read_target(target([0, 1] * 20), "real").values.dtype == np.float64
    found = read_target(target([0.5, 1.5] * 20), "classes")
    assert found.classes == ("0.5", "1.5")
    assert "task 'classes', stated rather than inferred" in found.notes


def test_rows_without_a_target_are_dropped_and_noted():
    found = read_target(target(["a", "", "b", "NA", None] * 10))
    assert found.keep.tolist() == [True, False, True, False, False] * 10
    assert len(found.values) == 20
    assert "30 rows without a target 'y' were dropped; rows are numbered without them" in found.notes


def test_rare_classes_are_dropped_and_noted_and_the_others_recoded():
    found = read_target(target(["a"] * 10 + ["b"] * 4 + ["c"] * 10 + [None]))
    assert found.classes == ("a", "c")
    assert found.values.tolist() == [0] * 10 + [1] * 10
    assert found.keep.tolist() == [True] * 10 + [False] * 4 + [True] * 10 + [False]
    assert any("fewer than 5 rows were dropped, 4 rows in all: 'b'" in note for note in found.notes)


def test_nan_and_infinity_are_refused_with_their_rows():
    assert "target 'y' is NaN in rows 2, 4:" in refused([1.0, np.nan, 2.0, np.nan])
    message = refused([1.0, 2.0, -np.inf])
    assert "target 'y' is infinite" in message
    assert "in row 3:" in message
    assert "rows 1, 2, 3, 4, 5 and 5 more" in refused([np.nan] * 10)


def test_a_target_that_says_nothing_is_refused():
    assert "'y' is 'a' in every row, one class" in refused(["a"] * 30)
    assert "'y' is '2.5' in every row" in refused([2.5] * 30)
    assert "missing in every row" in refused([None] * 30)
    assert "has 1 classes with at least 5 rows" in refused(["a"] * 30 + ["b"] * 4)


def test_more_classes_than_rows_can_tell_apart_are_refused():
    assert "30 different values in 30 rows, too many classes" in refused([f"name {k}" for k in range(30)])
    assert "101 different values in 1010 rows" in refused([f"name {k}" for k in range(101)] * 10)
    assert "too many classes" in refused(np.linspace(0, 1, 50).tolist(), "classes")


def test_dates_are_refused():
    assert "holds dates" in refused([datetime.date(2020, 1, k) for k in range(1, 25)])
    assert "holds dates" in refused([f"2020-01-{k}" for k in range(10, 30)])
    assert "values of type List" in refused([[1], [2]])


def test_a_stated_task_that_the_values_cannot_have_is_refused_with_an_example():
    assert "text such as 'a', so its task cannot be 'real'" in refused(["a", "b"] * 20, "real")
    assert "holds -1, which is no count" in refused([-1, 2, 3], "count")
    assert "holds 1e20, which is no count" in refused([1e20, 2, 3], "count")
    assert "holds 0.5, which is no count" in refused([0.5, 2, 3], "count")


def test_text_among_numbers_is_refused_with_its_rows_and_values():
    message = refused(["1.5", "2.5", "many", "3.5", "4.5", "5.5"])
    assert "'y' holds numbers, but text in row 3 ('many')" in message
