import re

import numpy as np
import polars as pl
import pytest

from services.datasets.table import from_table

N = 150
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, N))
SORTED = np.repeat(["a", "b", "c"], 50)
SHUFFLE = RNG.permutation(N)
ORDERS = {
    "rising": np.arange(N),
    "descending": np.arange(N)[::-1],
    "shuffled": SHUFFLE,
    "subset": np.sort(RNG.choice(1000, N, replace=False)),
    "floats": SHUFFLE.astype(float),
    "text": np.array([f"{k:03d}" for k in SHUFFLE]),
    "beyond 2^53": [2**60 + int(k) for k in SHUFFLE],
}


def read(target=Y, **columns):
    return from_table(pl.DataFrame({"x": X, **columns, "y": target}), name="toy", target="y")


def said(dataset, name):
    return " ".join(note for note in dataset.notes if repr(name) in note)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "name", ["", "Unnamed: 0", "unnamed", "__index_level_0__", "index", "row.names", "Unnamed: 0.1"]
)
def test_an_index_goes_in_any_order(name, order):
    dataset = read(**{name: ORDERS[order]})
    assert dataset.names == ("x",)
    assert not dataset.factors
    assert re.search("was dropped: (names|numbers) the rows", said(dataset, name))


@pytest.mark.parametrize("name", ["id", "row", "PassengerId", "case_no"])
def test_a_named_number_of_rows_is_warned_of_and_dropped_where_it_rises_by_one(name):
    assert "leave it out if it is one" in said(read(**{name: SHUFFLE}), name)
    rising = read(**{name: np.arange(N) + 7})
    assert rising.names == ("x",)
    assert "numbers the rows" in said(rising, name)


@pytest.mark.parametrize("name", ["year", "week", "dose"])
def test_a_column_that_rises_by_one_stays_as_a_trend(name):
    dataset = read(**{name: np.arange(1870, 1870 + N)})
    assert dataset.names == ("x", name)
    assert "in steps of 1: a trend, if that is meant" in said(dataset, name)


@pytest.mark.parametrize("name", ["id", "entry"])
@pytest.mark.parametrize("rows", [np.arange(N), np.arange(N)[::-1], SHUFFLE], ids=["sorted", "reversed", "shuffled"])
def test_a_number_of_rows_in_a_file_sorted_by_class_is_named_a_leak(name, rows):
    dataset = read(SORTED[rows], **{name: np.arange(N)[rows]})
    assert dataset.names == ("x",)
    assert "LEAK: column" in said(dataset, name)
    assert "the classes come in its order" in said(dataset, name)


def test_an_id_whose_neighbours_mostly_share_a_class_is_a_leak_and_one_that_says_nothing_is_not():
    mostly = np.where(RNG.random(N) < 0.1, "a", SORTED)
    assert "LEAK" in said(read(mostly[SHUFFLE], id=SHUFFLE), "id")
    assert "LEAK" not in said(read(RNG.permutation(SORTED), id=SHUFFLE), "id")
    assert "LEAK" in said(read(np.sort(Y)[SHUFFLE] + 0.1 * X, id=SHUFFLE), "id")
    assert "LEAK" not in said(read(Y, id=SHUFFLE), "id")


def test_a_strong_predictor_of_integers_that_all_differ_is_no_number_of_rows():
    income = 20_000 + 997 * SHUFFLE
    assert read(np.where(income > np.median(income), "a", "b"), income=income, x2=income + 1).names == (
        "x",
        "income",
        "x2",
    )


def test_years_stay_where_the_classes_come_in_their_order():
    assert read(SORTED, year=np.arange(1870, 1870 + N)).names == ("x", "year")
