import datetime

import numpy as np
import polars as pl
import pytest

from models.data.dataset import DataError, Partition
from models.data.preparation import prepare
from models.glm.design import design_of
from services.datasets.reading import Reading
from services.datasets.table import from_array, from_table

N = 60
RNG = np.random.default_rng(0)
Y = RNG.standard_normal(N)
X = RNG.standard_normal(N)


def table(**columns):
    return pl.DataFrame({"x": X, **columns, "y": Y}, strict=False)


def read(frame, task=None):
    return from_table(frame, name="toy", target="y", task=task)


def refused(frame, target="y"):
    with pytest.raises(DataError) as caught:
        from_table(frame, name="toy", target=target)
    return str(caught.value)


def has_note(dataset, *words):
    return any(all(word in note for word in words) for note in dataset.notes)


def test_numbers_and_text_become_numeric_columns_and_factors():
    dataset = read(table(k=RNG.integers(0, 9, N), color=np.resize(["red", "blue"], N)))
    assert dataset.names == ("x", "k")
    assert list(dataset.factors) == ["color"]
    assert dataset.numeric.shape == (N, 2)
    assert dataset.numeric.dtype == np.float64
    assert dataset.factors["color"][:2].tolist() == ["red", "blue"]
    assert np.array_equal(dataset.target, Y)
    assert dataset.shape is None


def test_missing_cells_are_nan_and_none_whatever_marks_them():
    text = np.resize(["a", "b", "NA", "?", " ", None], N)
    dataset = read(table(t=text, u=["", *map(str, X[1:])]))
    assert dataset.factors["t"][:6].tolist() == ["a", "b", None, None, None, None]
    assert np.isnan(dataset.numeric[0, 1])
    assert np.array_equal(dataset.numeric[1:, 1], X[1:])
    assert has_note(dataset, "'u'", "read as numbers")


def test_booleans_become_zero_and_one_in_any_spelling():
    flags = RNG.random(N) < 0.5
    dataset = read(table(a=flags, b=["True" if f else "False" for f in flags]))
    assert dataset.names == ("x", "a", "b")
    assert np.array_equal(dataset.numeric[:, 1], flags)
    assert np.array_equal(dataset.numeric[:, 2], flags)


def test_dates_become_days_since_the_earliest_and_are_noted():
    days = RNG.integers(0, 1000, N)
    dates = [datetime.date(2020, 1, 1) + datetime.timedelta(int(d)) for d in days]
    times = [f"{d.isoformat()} 12:00:00" for d in dates]
    dataset = read(table(a=dates, b=[d.isoformat() for d in dates], c=times))
    for j in (1, 2, 3):
        np.testing.assert_allclose(dataset.numeric[:, j], days - days.min())
    assert has_note(dataset, "'a'", "days since the earliest")


def test_columns_that_identify_or_number_rows_are_dropped_and_noted():
    names = [f"patient {k}" for k in range(N)]
    dataset = read(table(row=range(5, 5 + N), id=names, odd=range(1, 2 * N, 2)))
    assert dataset.names == ("x", "odd")
    assert has_note(dataset, "'row' was dropped", "numbers the rows")
    assert has_note(dataset, "'id' was dropped", "identifies rows")


def test_a_row_number_is_found_though_rows_without_a_target_are_dropped():
    y = Y.tolist()
    y[10] = None
    assert read(pl.DataFrame({"row": range(N), "x": X, "y": y})).names == ("x",)


def test_constant_empty_and_unusable_columns_are_dropped_and_noted():
    dataset = read(table(c=[3] * N, t=["u"] * N, e=[None] * N, n=[np.nan] * N, lists=[[1]] * N))
    assert dataset.names == ("x",)
    assert not dataset.factors
    for name, word in (
        ("c", "constant"),
        ("t", "constant"),
        ("e", "all values"),
        ("n", "all values"),
        ("lists", "List"),
    ):
        assert has_note(dataset, f"{name!r} was dropped", word)


def test_a_constant_with_gaps_is_kept_for_its_gaps():
    assert read(table(c=[None, *[1.0] * (N - 1)])).names == ("x", "c")


def test_text_with_too_many_levels_is_left_to_formulas_and_noted():
    dataset = read(
        table(t=[f"word {k // 2 * 2 if k < 58 else 0}" for k in range(N)], s=[f"w{k % 31}" for k in range(N)])
    )
    assert not has_note(dataset, "'t' was dropped")
    assert has_note(dataset, "'s' is left to formulas", "31 levels")
    assert list(dataset.factors) == ["t"] and list(dataset.groups) == ["s"]
    split = prepare(dataset, Partition())
    assert not any(name.startswith("s_") for name in split.columns)
    _, design = design_of("x + (1|s)", split)
    assert design.group.terms["1|s"].data.shape == (36, len(set(split.train.factors["s"])))


@pytest.mark.parametrize(
    "leak",
    [lambda y: y, lambda y: 2 * y - 5, lambda y: np.where(np.arange(N) < 5, np.nan, -y)],
    ids=["copy", "straight line", "copy with gaps"],
)
def test_a_copy_of_a_numeric_target_is_dropped_loudly(leak):
    dataset = read(table(z=leak(Y)))
    assert dataset.names == ("x",)
    assert has_note(dataset, "LEAK", "'z'")


def test_a_column_one_to_one_with_the_classes_is_dropped_loudly():
    labels = np.resize(["a", "b", "c"], N)
    codes = {"a": 7.0, "b": 1.0, "c": 3.0}
    frame = pl.DataFrame({"x": X, "code": [codes[v] for v in labels], "name": np.char.add("the ", labels), "y": labels})
    dataset = read(frame)
    assert dataset.names == ("x",)
    assert not dataset.factors
    assert has_note(dataset, "LEAK", "'code'")
    assert has_note(dataset, "LEAK", "'name'")


@pytest.mark.parametrize("size", [1e-300, 1e140])
def test_numbers_of_any_size_are_copies_only_where_they_are(size, recwarn):
    frame = pl.DataFrame({"x": X, "copy": 3 * Y, "y": Y * size})
    assert read(frame).names == ("x",)
    assert read(frame.with_columns(y=RNG.standard_normal(N) * size)).names == ("x", "copy")
    assert has_note(read(frame), "squared errors vanish: multiply it") == (size < 1)
    assert not recwarn.list


def test_codes_stay_text_in_text_files_and_in_typed_ones():
    codes = np.resize(["001", "01", "1"], N)
    for frame in (table(c=codes), table(c=codes).cast(pl.String)):
        assert set(read(frame).factors["c"]) == {"001", "01", "1"}
        assert has_note(read(frame), "'c': digits with leading zeros")
    zips = np.resize(["10115", "80331", "50667"], N)
    assert list(read(table(zip=zips)).factors) == ["zip"]
    assert has_note(read(table(zip=zips)), "'zip'", "equal length", "--types COLUMN=number")
    years = table(year=np.resize(["1999", "2000", "2020"], N)).cast(pl.String)
    assert read(years).names == ("x", "year")
    stated = from_table(table(zip=zips), name="toy", target="y", reading=Reading(types={"zip": "number"}))
    assert np.array_equal(stated.numeric[:, 1], zips.astype(float))
    assert list(from_table(years, name="toy", target="y", reading=Reading(types={"year": "text"})).factors) == ["year"]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64, pl.String])
def test_whole_numbers_that_no_float_holds_stay_apart(dtype):
    large = [2**60 + k % 3 for k in range(N)]
    dataset = read(table().with_columns(pl.Series("c", large).cast(dtype)))
    assert dataset.factors["c"].tolist() == list(map(str, large))
    assert has_note(dataset, "'c'", "beyond 2^53")


def test_one_list_of_marks_is_missing_in_text_as_in_numbers():
    marks = ["NA", "N/A", "nan", "NaN", "None", "NULL", "null", "#N/A", "<NA>", ".", "?", "-", ""]
    cells = [*marks, *np.resize(["1", "2"], N - len(marks))]
    words = [*marks, *np.resize(["a", "b"], N - len(marks))]
    dataset = read(table(number=cells, word=words))
    assert np.isnan(dataset.numeric[:, 1]).tolist() == [v is None for v in dataset.factors["word"]]
    assert np.isnan(dataset.numeric[:, 1]).sum() == len(marks)
    assert has_note(dataset, "'word'", "'None'", "read as missing")


def test_a_stated_mark_is_missing_in_text_and_in_stored_numbers():
    reading = Reading(missing=("-999", "refused"))
    frame = table(age=np.resize([-999, 3, 4], N), word=np.resize(["a", "refused", "b"], N))
    dataset = from_table(frame, name="toy", target="y", reading=reading)
    assert np.isnan(dataset.numeric[:, 1]).sum() == N // 3
    assert sum(v is None for v in dataset.factors["word"]) == N // 3


def test_a_stated_type_that_a_column_cannot_have_is_refused_with_rows():
    for kind in ("number", "date"):
        with pytest.raises(DataError, match=f"column 'c' is stated to hold {kind}s, but rows 1, 3.*'a'"):
            from_table(table(c=["a", None] * (N // 2)), name="toy", target="y", reading=Reading(types={"c": kind}))


def test_the_decimal_mark_of_one_column_settles_another():
    frame = table(a=np.resize(["0,5", "1,5"], N), b=np.resize(["1,234", "5,678"], N))
    dataset = read(frame)
    assert dataset.numeric[:2, 2].tolist() == [1.234, 5.678]
    assert read(frame.drop("a")).numeric[:2, 1].tolist() == [1234, 5678]
    assert has_note(read(frame.drop("a")), "'b': 1,234 was taken for 1234", "--decimal ','")


def test_dates_and_numbers_that_cannot_be_read_are_said_to_be():
    dataset = read(
        table(day=np.resize(["31/02/2019", "13/11/2019", "5/6/2019"], N), some=np.resize(["1", "b", "c"], N))
    )
    assert has_note(dataset, "'day': looks like dates (day/month/year)", "'31/02/2019'")
    assert has_note(dataset, "'some': numbers in 20 of 60 rows")
    for cells in (["2019-05", "2019-06"], ["08:30", "9:15"], ["2019Q1", "2019Q2"]):
        assert has_note(read(table(when=np.resize(cells, N))), "'when': looks like dates or times that cannot be read")


def test_different_units_are_refused_or_text_and_compact_dates_are_asked_about():
    few = read(table(c=np.resize(["1 bed", "2 beds"], N)))
    assert list(few.factors) == ["c"]
    assert has_note(few, "'c': numbers with different units ('bed', 'beds')")
    message = refused(table(c=[f"{k}.5 {'kg' if k % 2 else 'lb'}" for k in range(N)]))
    assert "column 'c' holds numbers with different units ('lb', 'kg'): write one unit" in message
    for cells in (["20190530", "20190601", "20191224"], [20190530, 20190601, 20191224]):
        assert has_note(read(table(c=np.resize(cells, N)).cast({"c": pl.Int64})), "'c': looks like dates such as 2019")


def test_repeated_rows_are_counted_in_what_is_used():
    frame = table()[np.resize(np.arange(40), N)].with_columns(name=pl.Series([f"p{k}" for k in range(N)]))
    assert has_note(read(frame), "20 of 60 rows repeat another one")
    assert not has_note(read(table()), "repeat")


def test_what_several_rows_share_and_times_are_said_and_other_columns_are_not():
    dataset = read(
        table(patient_id=np.repeat(range(12), 5), arm=np.resize(["a", "b"], N), year=np.repeat(range(6), 10))
    )
    assert has_note(dataset, "'patient_id' looks like what several rows share")
    assert has_note(dataset, "'year' looks like a time")
    assert not has_note(dataset, "'arm'")


def test_nothing_false_is_said_of_text_in_few_rows():
    assert has_note(read(table(t=["a", "b", *[None] * (N - 2)])), "'t' was dropped: text in 2 of 60 rows only")


def test_a_strong_predictor_is_no_leak():
    labels = np.resize(["a", "b"], N)
    nearly = (labels == "a").astype(float)
    nearly[0] = 1 - nearly[0]
    dataset = read(pl.DataFrame({"x": Y + 1e-3 * X, "nearly": nearly, "y": labels}))
    assert dataset.names == ("x", "nearly")
    assert read(pl.DataFrame({"x": Y + 1e-3 * X, "y": Y})).names == ("x",)


def test_rows_of_rare_classes_and_without_a_target_are_dropped_from_all_columns():
    labels = ["a"] * 30 + ["b"] * 26 + ["c"] * 3 + [None]
    dataset = read(pl.DataFrame({"x": X, "t": np.resize(["u", "v"], N), "y": labels}))
    assert dataset.n_rows == 56
    assert np.array_equal(dataset.numeric[:, 0], X[:56])
    assert len(dataset.factors["t"]) == 56


def test_infinity_and_text_in_a_numeric_column_are_refused_with_rows():
    values = X.copy()
    values[[3, 7]] = np.inf
    assert "column 'z' is infinite (or beyond 1e+150) in rows 4, 8" in refused(table(z=values))
    text = [*map(str, X[:-2]), "n.n.", "unknown"]
    message = refused(table(z=text))
    assert "column 'z' holds numbers, but text in rows 59, 60 ('n.n.', 'unknown')" in message


def test_tables_that_are_too_small_are_refused():
    assert "one column only" in refused(pl.DataFrame({"y": Y}))
    assert "has one row," in refused(table().head(1))
    assert "has 19 rows" in refused(table().head(19))
    assert "has 10 rows with a target that can be used" in refused(
        pl.DataFrame({"x": X, "y": [*Y[:10], *[None] * (N - 10)]})
    )


def test_ten_thousand_columns_are_refused_and_so_are_too_many_levels():
    wide = pl.DataFrame(np.zeros((30, 10_000))).with_columns(y=pl.Series(Y[:30]))
    assert "10,000 columns to learn from" in refused(wide)
    n = 200
    text = {f"t{j}": np.resize([f"level {k}" for k in range(50)], n) for j in range(41)}
    message = refused(pl.DataFrame({**text, "y": RNG.standard_normal(n)}))
    assert "2,009 columns to learn from" in message


def test_an_absent_target_is_refused_with_the_nearest_names_or_the_columns_name():
    frame = table(price=X**2)
    assert "no column 'pricee' for a target: did you mean 'price'?" in refused(frame, "pricee")
    assert "counted from 0, that one is 'price'" in refused(frame, "1")
    assert "its columns are 'x', 'price', 'y'" in refused(frame, "quantity")


def test_nothing_left_to_learn_from_is_refused_with_the_reasons():
    message = refused(pl.DataFrame({"id": [f"p{k}" for k in range(N)], "z": Y, "y": Y}))
    assert "no column left" in message
    assert "'id' was dropped" in message
    assert "'z' is a copy" in message


def test_fingerprint_says_what_the_data_are_and_not_what_they_are_called():
    dataset = read(table(t=np.resize(["a", "b"], N)))
    assert dataset.fingerprint == from_table(table(t=np.resize(["a", "b"], N)), name="other", target="y").fingerprint
    others = [
        read(table(t=np.resize(["a", "c"], N))),
        read(table(u=np.resize(["a", "b"], N))),
        read(table(t=np.resize(["a", "b"], N)).with_columns(pl.col("x") * 2)),
        read(table(t=np.resize(["a", "b"], N)).with_columns(pl.col("y") * 2)),
        read(table(t=[None, *np.resize(["a", "b"], N - 1)])),
    ]
    assert len({dataset.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_arrays_keep_every_value_in_its_place():
    x = RNG.standard_normal((30, 3, 4, 2))
    x[:, 0, 0, 0] = 5.0
    dataset = from_array(x, np.resize([0, 1], 30), name="toy", shape=(3, 4, 2))
    assert dataset.shape == (3, 4, 2)
    assert np.array_equal(dataset.numeric.reshape(x.shape), x)
    assert dataset.names[-1] == "x2_3_1"


def test_arrays_with_infinity_are_refused_with_the_example():
    x = np.zeros((30, 4))
    x[11, 2] = -np.inf
    with pytest.raises(DataError, match="infinite in examples '12'"):
        from_array(x, np.resize([0, 1], 30), name="toy", shape=(4, 1))
