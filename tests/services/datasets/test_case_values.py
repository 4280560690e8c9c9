"""What the values of people's own files mean, held against pandas that is told how to read them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.data.dataset import Dataset
from services.datasets.reading import UNSTATED, Reading
from services.datasets.registry import load
from tests.support.cases import case


def read(name: str, target: str, tmp_path: Path, reading: Reading = UNSTATED) -> Dataset:
    folder, file = name.split("/")
    return load(str(case(folder) / file), cache=tmp_path, target=target, reading=reading)


def said(dataset: Dataset, *words: str) -> bool:
    return any(all(word in note for word in words) for note in dataset.notes)


NUMBERS = {
    "decimal-comma/deccomma.csv": ("price", {"sep": ";", "decimal": ","}),
    "decimal-comma/deccomma_feat.csv": ("sold", {"sep": ";", "decimal": ","}),
    "units-currency-percent/fewdec.csv": ("y", {"sep": ";", "decimal": ".", "converters": {"dose": "comma"}}),
    "units-currency-percent/money.csv": ("side", {"converters": dict.fromkeys(("area", "rate", "price"), "bare")}),
    "units-currency-percent/pctt.csv": ("y", {"converters": {"share": "bare"}}),
    "units-currency-percent/nbsp.csv": ("price", {"converters": {"income": "bare"}}),
    "units-currency-percent/swiss.csv": ("price", {"converters": {"income": "bare"}}),
    "units-currency-percent/thousands.csv": ("price", {"thousands": ","}),
    "messy/euro.csv": ("preis", {"sep": ";", "decimal": ","}),
    "messy/us_thousands.csv": ("price", {"thousands": ","}),
    "messy/currency.csv": ("price", {"converters": {"income": "bare"}}),
    "messy/percent.csv": ("price", {"converters": {"rate": "bare"}}),
}
CONVERTERS = {
    "comma": lambda text: float(text.replace(",", ".")),
    "bare": lambda text: float("".join(c for c in text.removesuffix("m2") if c in "-.0123456789")),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_that_pandas_reads_when_told_how(name: str, tmp_path: Path):
    target, options = NUMBERS[name]
    dataset = read(name, target, tmp_path)
    folder, file = name.split("/")
    converters = {column: CONVERTERS[how] for column, how in options.get("converters", {}).items()}
    frame = pd.read_csv(case(folder) / file, **(options | {"converters": converters}))
    numeric = frame.drop(columns=target).select_dtypes("number")
    assert dataset.names == tuple(numeric.columns)
    assert np.array_equal(dataset.numeric, numeric.to_numpy(float))
    if not dataset.classes:
        assert np.array_equal(dataset.target, frame[target].to_numpy())
    assert said(dataset, "read as numbers, written with")


def test_marks_in_text_are_missing_as_in_numbers(tmp_path: Path):
    classes = read("missing-marks-in-text/ymissing.csv", "y", tmp_path)
    assert classes.classes == ("no", "unknown", "yes")
    factor = read("missing-marks-in-text/factormissing.csv", "y", tmp_path).factors["b"]
    assert {v for v in factor if v is not None} == {"red", "blue"}


def test_whole_numbers_beyond_floats_stay_apart_and_nothing_false_is_said(tmp_path: Path):
    folder = case("big-integers")
    account = read("big-integers/big_target.csv", "account", tmp_path)
    text = pd.read_csv(folder / "big_target.csv", dtype={"account": str})["account"]
    assert np.array_equal(np.array(account.classes)[account.target], text)
    y = np.load(folder / "yu64.npz")["y"]
    stored = load(str(folder / "yu64.npz"), cache=tmp_path)
    assert np.array_equal(np.array(stored.classes)[stored.target], y.astype(str))
    assert said(read("big-integers/bigid.csv", "price", tmp_path), "'id' was dropped: numbers the rows")
    assert said(read("big-integers/hugeid.csv", "price", tmp_path), "'id' was dropped: all values differ")


@pytest.mark.parametrize(
    ("file", "layout"),
    [("tzdate", "ISO8601"), ("offsetdate", "ISO8601"), ("eudate", "%d/%m/%Y"), ("dotdate", "%d.%m.%Y")],
)
def test_times_are_days_since_the_earliest(file: str, layout: str, tmp_path: Path):
    dataset = read(f"iso-time-with-zone/{file}.csv", "price", tmp_path)
    text = pd.read_csv(case("iso-time-with-zone") / f"{file}.csv")["day"]
    times = pd.to_datetime(text, format=layout, utc=True)
    np.testing.assert_allclose(
        dataset.numeric[:, dataset.names.index("day")], (times - times.min()) / pd.Timedelta(days=1), atol=1e-9
    )


def test_sentinels_are_pointed_out_and_missing_once_that_is_stated(tmp_path: Path):
    assert said(read("sentinels/sentinel.csv", "price", tmp_path), "'age' holds -999 in 27 of 120 rows, far from all")
    assert said(read("sentinels/sentinel_target.csv", "price", tmp_path), "target 'price' holds -999 in 19 of 120 rows")
    stated = read("sentinels/sentinel.csv", "price", tmp_path, Reading(missing=("-999",)))
    assert np.isnan(stated.numeric[:, stated.names.index("age")]).sum() == 27
    assert not said(stated, "far from all")


def test_repeated_rows_groups_and_times_are_said(tmp_path: Path):
    assert said(read("duplicate-rows/dup_rows.csv", "y", tmp_path), "100 of 150 rows repeat another")
    groups = read("groups-time/groups.csv", "y", tmp_path)
    assert said(groups, "'subject' looks like what several rows share")
    assert said(groups, "'visit' looks like a time")


def test_tiny_numbers_are_no_copies(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    assert read("tiny-numbers-leak/unit_tiny.csv", "y", tmp_path).names == ("a", "b")
    assert not recwarn.list


def test_counts_with_many_zeros_are_counts(tmp_path: Path):
    dataset = read("messy/zicount.csv", "visits", tmp_path)
    assert dataset.task == "count"
    assert dataset.n_rows == 500
