import numpy as np
import polars as pl
import pytest

from services.datasets.marks import sentinel_note, sentinels, unmarked

OTHERS = np.random.default_rng(0).uniform(0, 6, 90)


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        ([-999], (-999,)),
        ([9999, 9999], (9999,)),
        ([-99.9], (-99.9,)),
        ([-999, -998], (-999, -998)),
        ([97, 98, 99], (97, 98, 99)),
        ([8888], (8888,)),
        ([1e6] * 3, (1e6,)),
        ([1e6], ()),
        ([9], ()),
        ([np.nan], ()),
    ],
)
def test_numbers_far_from_all_others_that_look_like_a_mark_are_found(marks, found):
    assert sentinels(np.r_[OTHERS, marks]) == found


def test_what_may_be_a_value_is_no_mark():
    assert sentinels(np.r_[18:99, 99]) == ()
    assert sentinels(np.array([0, 1, 20, 20, 20])) == ()
    assert sentinels(np.array([0, 99])) == ()
    assert sentinels(np.array([0, 1, 1, -999])) == (-999,)
    assert sentinels(np.full(5, np.nan)) == ()


def test_the_note_says_how_many_how_far_and_what_to_do():
    note = sentinel_note("age", np.r_[1, 2, 3.5, -999, -999, np.nan])
    assert note == (
        "'age' holds -999 in 2 of 6 rows, far from all others (1 to 3.5): is it a mark of missing values? "
        "(--missing -999 says so)"
    )


def test_a_minus_is_missing_unless_a_plus_stands_beside_it():
    assert unmarked(pl.Series(["a", "-", " "]))[0].to_list() == ["a", None, None]
    assert unmarked(pl.Series(["+", "-", "--"]))[0].to_list() == ["+", "-", None]
    assert unmarked(pl.Series(["a", "refused"]), ["refused"])[1] == ("refused",)
