import gzip

import numpy as np
import polars as pl
import pytest

from models.data.dataset import DataError, Partition
from models.data.preparation import prepare
from services.datasets.registry import describe, listing, load

RNG = np.random.default_rng(0)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def without_folder(monkeypatch):
    monkeypatch.delenv("BASIN_DATA", raising=False)


def mixed(n=60):
    return pl.DataFrame(
        {
            "size": RNG.standard_normal(n),
            "rooms": RNG.integers(1, 9, n),
            "color": RNG.choice(["red", "blue", "green"], n),
            "furnished": RNG.random(n) < 0.5,
            "seen": pl.Series(RNG.integers(18_000, 19_000, n)).cast(pl.Date),
            "price": RNG.standard_normal(n),
        }
    ).with_columns(pl.when(pl.int_range(n) % 7 == 0).then(None).otherwise(pl.col("size")).alias("size"))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def refused(name, cache, **options):
    with pytest.raises(DataError) as caught:
        load(name, cache=cache, **options)
    message = str(caught.value)
    assert "Traceback" not in message
    return message


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task", "rows", "columns", "shape", "classes"),
    [
        ("digits", "classes", 1797, 64, (8, 8, 1), 10),
        ("iris", "classes", 150, 4, None, 3),
        ("wine", "classes", 178, 13, None, 3),
        ("breast-cancer", "classes", 569, 30, None, 2),
        ("diabetes", "real", 442, 10, None, 0),
        ("linear-gaussian", "real", 200, 5, None, 0),
        ("two-moons", "classes", 500, 2, None, 2),
        ("sparse-parity", "classes", 1000, 20, None, 2),
        ("teacher-student", "real", 1000, 10, None, 0),
    ],
)
def test_named_datasets_are_what_their_sources_say(name, task, rows, columns, shape, classes, cache):
    dataset = load(name, cache=cache)
    assert (dataset.task, dataset.n_rows, dataset.numeric.shape[1]) == (task, rows, columns)
    assert (dataset.shape, dataset.n_classes, dataset.name) == (shape, classes, name)
    assert not np.isnan(dataset.numeric).any()
    assert load(name, cache=cache).fingerprint == dataset.fingerprint
    assert prepare(dataset, Partition()).train.x.shape == (rows - 2 * round(0.2 * rows), columns)


@pytest.mark.parametrize(
    ("name", "task", "rows", "columns", "shape"),
    [
        ("airfoil", "real", 1503, 5, None),
        ("bikesharing", "count", 17379, 11, None),
        ("concrete", "real", 1030, 8, None),
        ("energy", "real", 768, 8, None),
        ("ionosphere", "classes", 351, 33, None),
        ("wine_red", "classes", 1599, 11, None),
        ("mnist1d", "classes", 4000, 40, (40, 1)),
        ("mnist_test", "classes", 10_000, 784, (28, 28, 1)),
    ],
)
def test_datasets_of_the_data_folder_are_read(name, task, rows, columns, shape, basin_data, cache):
    description = describe(name, cache=cache)
    assert (description.task, description.n_rows, description.n_columns) == (task, rows, columns)
    assert description.shape == shape
    assert description.info.source.startswith("https://github.com/")
    assert description.info.licence != "not stated"


def test_the_row_number_of_bikesharing_is_found(basin_data, cache):
    notes = load("bikesharing", cache=cache).notes
    assert any("'x1' was dropped: numbers the rows" in note for note in notes)


def test_the_listing_grows_with_the_data_folder(basin_data, monkeypatch):
    names = [info.name for info in listing()]
    assert {"digits", "two-moons", "airfoil", "mnist1d"} <= set(names)
    assert len(names) == len(set(names))
    monkeypatch.delenv("BASIN_DATA")
    assert {info.name for info in listing()} < set(names)


def test_synthetic_parameters_go_with_the_name(cache):
    dataset = load("two-moons:n=300,noise=0.1", cache=cache)
    assert (dataset.n_rows, dataset.name) == (300, "two-moons:n=300,noise=0.1")
    assert load("two-moons:n=300,noise=0.1,seed=1", cache=cache).fingerprint != dataset.fingerprint
    assert "no parameter 'sigma'" in refused("two-moons:sigma=1", cache)
    assert "seed is -1, expected at least 0" in refused("two-moons:seed=-1", cache)
    assert "is too large" in refused("sparse-parity:n=10000001", cache)  # of 20 columns
    assert "n is 'many', expected a whole number" in refused("two-moons:n=many", cache)
    assert "noise is -1.0" in refused("two-moons:noise=-1", cache)


def test_random_labels_permute_those_of_any_other_set(cache, tmp_path):
    digits, random = load("digits", cache=cache), load("random-labels:digits", cache=cache)
    assert random.name == "random-labels:digits"
    assert np.array_equal(np.bincount(random.target), np.bincount(digits.target))
    assert np.mean(random.target == digits.target) < 0.15
    assert load("random-labels:two-moons:n=100", cache=cache).n_rows == 100
    path = tmp_path / "houses.csv"
    mixed().write_csv(path)
    assert load(f"random-labels:{path}", cache=cache, target="price").task == "real"


def test_a_description_counts_classes_and_missing_cells(cache, tmp_path):
    path = tmp_path / "houses.parquet"
    mixed().write_parquet(path)
    description = describe(str(path), cache=cache, target="color")
    assert sum(description.class_counts.values()) == 60
    assert description.missing == {"size": 9}
    assert description.target == "color"
    assert describe(str(path), cache=cache, target="price").factors == ("color",)


def test_another_target_or_task_is_taken_where_it_is_possible_and_refused_where_not(cache):
    assert load("iris", cache=cache, target="petal width (cm)").task == "real"
    assert load("diabetes", cache=cache, task="count").task == "count"
    assert "its only one is 'digit'" in refused("digits", cache, target="pixel")
    assert "task of 'two-moons' is 'classes' and cannot be 'real'" in refused("two-moons", cache, task="real")
    assert "did you mean 'species'?" in refused("iris", cache, target="specis")


def test_unknown_names_are_refused_with_the_nearest(cache, without_folder):
    assert "no data set 'digit': did you mean 'digits'" in refused("digit", cache)
    assert "no data set 'zzz': known are 'digits'" in refused("zzz", cache)
    assert "BASIN_DATA is not set" in refused("airfoil", cache)
    assert "did you mean 'iris'" in refused("random-labels:irsi", cache)


# --- files ------------------------------------------------------------------------------------------------------------


def test_equal_tables_have_equal_fingerprints_in_every_format(tmp_path, cache):
    frame = mixed()
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "b.csv", separator=";")
    frame.write_csv(tmp_path / "c.tsv", separator="\t")
    frame.write_parquet(tmp_path / "d.parquet")
    frame.write_ipc(tmp_path / "e.arrow")
    frame.write_ipc(tmp_path / "f.feather")
    write(tmp_path / "g.csv", b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes().replace(b"\n", b"\r\n"))
    for target in ("price", "color"):
        datasets = [load(str(path), cache=cache, target=target) for path in sorted(tmp_path.glob("*.*"))]
        assert len(datasets) == 7
        assert len({dataset.fingerprint for dataset in datasets}) == 1
    assert datasets[0].name == "a"


def test_npz_dimensions_say_what_the_examples_are(tmp_path, cache):
    y = np.resize([0, 1], 30)
    for shape, expected in (((5,), None), ((5, 2), (5, 2)), ((4, 3, 2), (4, 3, 2))):
        path = tmp_path / "data.npz"
        np.savez(path, x=RNG.standard_normal((30, *shape)).astype(np.float32), y=y)
        dataset = load(str(path), cache=cache)
        assert dataset.shape == expected
        assert dataset.numeric.shape == (30, np.prod(shape))
    np.savez(path, x=RNG.standard_normal((30, 2)), y=np.resize(["cat", "dog"], 30))
    assert load(str(path), cache=cache).classes == ("cat", "dog")


def test_a_file_in_the_working_folder_needs_no_path(tmp_path, cache, monkeypatch):
    mixed().write_csv(tmp_path / "houses.csv")
    monkeypatch.chdir(tmp_path)
    assert load("houses.csv", cache=cache, target="price").n_rows == 60


def test_a_missing_file_is_refused_with_the_nearest(tmp_path, cache):
    mixed().write_csv(tmp_path / "houses.csv")
    assert "did you mean 'houses.csv'?" in refused(str(tmp_path / "house.csv"), cache, target="price")
    assert "there is no folder" in refused(str(tmp_path / "no" / "house.csv"), cache, target="price")
    assert "no file nothing.csv" in refused("nothing.csv", cache, target="price")


def test_a_folder_or_a_file_of_another_kind_is_refused(tmp_path, cache):
    assert "is a folder" in refused(str(tmp_path), cache, target="y")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(str(tmp_path / "folder.csv"), cache, target="y")
    path = write(tmp_path / "table.rds", "x")
    assert "expected one of .csv, .tsv, .tab, .txt, .data, .dat, .parquet" in refused(path, cache, target="y")


def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path, cache):
    mixed().write_csv(tmp_path / "houses.csv")
    inside = tmp_path / "houses.csv" / "more.csv"
    assert f"{inside} cannot be read: Not a directory" in refused(str(inside), cache, target="price")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 fields, expected 2 as in other lines"),
        (b"a,b\n1,\x81\n", "no UTF-8 text (byte 6 is 0x81, in line 2)"),
        ("a,b\n1,é\n".encode("utf-16")[:-1], "is damaged UTF-16 text"),
        ("a,b\nü,é\nß,".encode() + b"\xff\n", "is damaged UTF-8 text (byte 13 is 0xff, in line 3)"),
        (b"\x00\x01\x02,\x00\n", "no text: it holds"),
        (b"a,b,a\n1,2,3\n", "several columns named 'a'"),
        (b"1,2\n3,4\n", "has no header"),
        (b'"a,b\n1,2\n', "line 1: a quotation mark that opens here is never closed"),
        (b'{"a": 1,\n"b": 2}\n', "line 2: text follows a closing quotation mark"),
        (b'""b,""a"; 1 1ba,\ta\n1,2\n', "text follows a closing quotation mark"),
        (b"a" * 200_000 + b",b\n1,2\n", "line 1: field larger"),
        (b"y\n1\n2\n", "one column only"),
        (b"x,y\n1,2\n", "one row"),
    ],
)
def test_bad_csv_files_are_refused(content, message, tmp_path, cache):
    path = write(tmp_path / "bad.csv", content)
    assert message in refused(path, cache, target="y")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "npz"])
def test_damaged_binary_files_are_refused_in_one_line(suffix, tmp_path, cache):
    for content in (b"hello, this is no table", b"PK\x03\x04 broken", b"PAR1 broken PAR1"):
        message = refused(write(tmp_path / f"bad.{suffix}", content), cache, target="y")
        assert "cannot be read as" in message
        assert "\n" not in message


def test_files_of_tables_need_a_target(tmp_path, cache):
    mixed().write_csv(tmp_path / "houses.csv")
    message = refused(str(tmp_path / "houses.csv"), cache)
    assert (
        "needs a target: name the column to predict (--target, or `target` in a sweep), of 'size', 'rooms'" in message
    )
    pl.DataFrame({f"x{i}": [1, 2] for i in range(12)}).write_csv(tmp_path / "wide.csv")
    assert "and 2 more, the last of which is 'x11'" in refused(str(tmp_path / "wide.csv"), cache)


def test_bad_npz_files_are_refused(tmp_path, cache):
    path = tmp_path / "bad.npz"
    x, y = RNG.standard_normal((30, 3)), np.resize([0, 1], 30)
    for arrays, message in (
        ({"x": x}, "no array 'y': it holds 'x'"),
        ({"x": x, "y": y[:-1]}, "y of"),
        ({"x": x[:, 0], "y": y}, "x of"),
        ({"x": x.astype(str), "y": y}, "expected numbers"),
        ({"x": x, "y": np.array([None] * 30, dtype=object)}, "without objects"),
        ({"x": x, "y": np.where(np.arange(30) == 3, np.nan, x[:, 0])}, "target 'y' is NaN in row 4"),
        ({"x": x[:5], "y": y[:5]}, "5 rows"),
    ):
        np.savez(path, **arrays)
        assert message in refused(str(path), cache)
    np.savez(path, x=x, y=y)
    assert "its only one is 'y'" in refused(str(path), cache, target="label")


def test_damaged_idx_files_are_refused(tmp_path, cache, monkeypatch):
    folder = tmp_path / "data" / "mnist_test"
    folder.mkdir(parents=True)
    monkeypatch.setenv("BASIN_DATA", str(tmp_path / "data"))
    assert "no file" in refused("mnist_test", cache)
    images, labels = folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x02\x01\x02"))
    for content, message in (
        (b"no gzip", "cannot be read as gzip"),
        (gzip.compress(b"something else"), "no IDX file"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05abc"), "cut short: 3 bytes of 5"),
    ):
        images.write_bytes(content)
        assert message in refused("mnist_test", cache)


def test_an_unnamed_index_column_is_dropped_as_a_row_number(tmp_path, cache):
    frame = mixed().with_row_index("")
    frame.write_csv(tmp_path / "pandas.csv")
    dataset = load(str(tmp_path / "pandas.csv"), cache=cache, target="price")
    assert any("'unnamed' was dropped: numbers the rows" in note for note in dataset.notes)
