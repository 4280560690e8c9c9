from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from formulae import design_matrices
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from models.data.dataset import DataError, Dataset, Partition, sealed
from models.data.preparation import prepare


def make(numeric, target, *, task="real", names=None, factors=None, shape=None, classes=()):
    numeric = np.asarray(numeric, dtype=float)
    return sealed(
        Dataset(
            name="toy",
            task=task,
            numeric=numeric,
            names=names or tuple(f"x{j}" for j in range(numeric.shape[1])),
            factors={k: np.array(v, dtype=object) for k, v in (factors or {}).items()},
            shape=shape,
            target=np.asarray(target),
            target_name="y",
            classes=classes,
        )
    )


def random_table(n=100, seed=0, missing=True):
    rng = np.random.default_rng(seed)
    numeric = rng.standard_normal((n, 3)) * [1.0, 50.0, 1e-3] + [0.0, 1e3, 5.0]
    color = rng.choice(["blue", "green", "red"], n).astype(object)
    if missing:
        numeric[rng.random(n) < 0.2, 1] = np.nan
        color[rng.random(n) < 0.1] = None
    return make(numeric, rng.standard_normal(n) * 3 + 7, names=("a", "b", "c"), factors={"color": color})


def parts(split):
    return (split.train, split.validation, split.test)


def column(split, name, part="train"):
    return getattr(split, part).x[:, split.columns.index(name)]


def changed_outside(dataset, rows, seed=1):
    """The same dataset with other values, but the same gaps and levels, in all rows but these."""
    rng = np.random.default_rng(seed)
    other = np.setdiff1d(np.arange(dataset.n_rows), rows)
    numeric, target = dataset.numeric.copy(), dataset.target.copy()
    numeric[other] *= rng.uniform(2, 9, numeric[other].shape)
    target[other] *= 5
    factors = {k: v.copy() for k, v in dataset.factors.items()}
    for values in factors.values():
        present = np.array([i for i in other if values[i] is not None])
        values[present] = rng.permutation(values[present])
    return replace(dataset, numeric=numeric, target=target, factors=factors)


@pytest.mark.parametrize("count", [3_000_000_000, 10**12])
def test_a_count_that_32_bits_do_not_hold_is_refused_with_its_row(count):
    counts = np.arange(100)
    counts[41] = count
    columns = np.random.default_rng(0).normal(size=(100, 2))
    with pytest.raises(DataError, match=rf"row 42 of 'toy' is {count:,}, .* most 2,147,483,647: state the task 'real'"):
        prepare(make(columns, counts, task="count"), Partition())
    counts[41] = 2**31 - 1
    assert prepare(make(columns, counts, task="count"), Partition()).task == "count"


def test_parts_are_disjoint_cover_all_rows_and_have_sizes_that_depend_on_n_alone():
    dataset = random_table(n=103)
    for index in range(5):
        split = prepare(dataset, Partition(index=index, validation=0.15, test=0.25))
        assert [len(part.rows) for part in parts(split)] == [103 - 15 - 26, 15, 26]
        assert np.array_equal(np.sort(np.concatenate([part.rows for part in parts(split)])), np.arange(103))


def test_partition_depends_on_seed_and_index_and_on_nothing_else():
    dataset = random_table()
    first = prepare(dataset, Partition(seed=1, index=2))
    again = prepare(replace(dataset, name="other"), Partition(seed=1, index=2))
    assert all(
        np.array_equal(a.x, b.x) and np.array_equal(a.rows, b.rows)
        for a, b in zip(parts(first), parts(again), strict=True)
    )
    for partition in (Partition(seed=1, index=3), Partition(seed=2, index=2), Partition(seed=2, index=1)):
        assert not np.array_equal(prepare(dataset, partition).test.rows, first.test.rows)


def test_classes_are_stratified_to_within_one_row():
    target = np.repeat([0, 1, 2], [100, 60, 40])
    dataset = make(np.random.default_rng(0).standard_normal((200, 2)), target, task="classes", classes=("a", "b", "c"))
    split = prepare(dataset, Partition())
    for part, share in zip(parts(split), (0.6, 0.2, 0.2), strict=True):
        assert np.all(np.abs(np.bincount(part.y) - share * np.array([100, 60, 40])) <= 1)


def test_imputing_and_standardising_agree_with_scikit_learn_fitted_on_the_training_part():
    dataset = random_table()
    split = prepare(dataset, Partition())
    imputer, scaler = SimpleImputer(strategy="median"), StandardScaler()
    scaler.fit(imputer.fit_transform(dataset.numeric[split.train.rows]))
    for part in parts(split):
        expected = scaler.transform(imputer.transform(dataset.numeric[part.rows]))
        np.testing.assert_allclose(part.x[:, :3], expected, rtol=1e-12, atol=1e-12)


def test_target_is_standardised_by_the_training_part_and_can_be_restored():
    dataset = random_table()
    split = prepare(dataset, Partition())
    assert abs(split.train.y.mean()) < 1e-12
    assert abs(split.train.y.std() - 1) < 1e-12
    for part in parts(split):
        np.testing.assert_allclose(split.location + split.scale * part.y, dataset.target[part.rows], rtol=1e-12)


def test_nothing_is_learned_from_the_validation_and_test_parts():
    dataset = random_table(n=300)
    split = prepare(dataset, Partition())
    other = prepare(changed_outside(dataset, split.train.rows), Partition())
    assert split.columns == other.columns
    assert np.array_equal(split.train.x, other.train.x)
    assert np.array_equal(split.train.y, other.train.y)
    assert not np.array_equal(split.test.x, other.test.x)


def test_missing_values_get_an_indicator_that_marks_exactly_them():
    dataset = random_table()
    split = prepare(dataset, Partition())
    for name in ("train", "validation", "test"):
        rows = getattr(split, name).rows
        assert np.array_equal(column(split, "b__missing", name) == 1, np.isnan(dataset.numeric[rows, 1]))
        gaps = [v is None for v in dataset.factors["color"][rows]]
        assert np.array_equal(column(split, "color__missing", name) == 1, gaps)
    assert "a__missing" not in split.columns


def test_missing_levels_become_the_most_frequent_training_level():
    dataset = random_table()
    split = prepare(dataset, Partition())
    values = dataset.factors["color"]
    frequent = pd.Series(values[split.train.rows]).mode()[0]
    for part in parts(split):
        expected = [frequent if v is None else v for v in values[part.rows]]
        assert part.factors["color"].tolist() == expected


def test_values_missing_outside_training_only_are_filled_without_an_indicator_and_noted():
    dataset = random_table(missing=False)
    rows = prepare(dataset, Partition()).test.rows
    dataset.numeric[rows[0], 0] = np.nan
    dataset.factors["color"][rows[1]] = None
    split = prepare(dataset, Partition())
    for name in ("a__missing", "color__missing"):
        assert not any(column(split, name, part).any() for part in ("train", "validation", "test"))
    median = np.median(dataset.numeric[split.train.rows, 0])
    mean, sd = dataset.numeric[split.train.rows, 0].mean(), dataset.numeric[split.train.rows, 0].std()
    assert column(split, "a", "test")[0] == pytest.approx((median - mean) / sd)
    assert any("'a', 'color': missing in the validation or test part only" in note for note in split.notes)


def test_design_of_factors_is_what_formulae_builds():
    dataset = random_table(missing=False)
    split = prepare(dataset, Partition())
    frame = pd.DataFrame({"y": split.train.y, "a": column(split, "a"), "color": split.train.factors["color"]})
    common = design_matrices("y ~ a + color", frame).common
    assert common is not None
    columns = ("a", "color__green", "color__red")
    ours = np.column_stack([np.ones(len(frame)), *(column(split, name) for name in columns)])
    assert np.array_equal(ours, np.asarray(common.design_matrix))
    assert split.columns == ("a", "b", "c", "color__green", "color__red")


@pytest.mark.parametrize("level", ["blue", "green", "red"])
def test_a_level_that_training_lacks_reads_as_the_reference_and_is_noted(level):
    rng = np.random.default_rng(3)
    dataset = make(rng.standard_normal((100, 1)), rng.standard_normal(100), factors={"color": ["red"] * 100})
    rows = prepare(dataset, Partition()).test.rows
    values = rng.choice([v for v in ("blue", "green", "red") if v != level], 100).astype(object)
    values[rows[0]] = level
    split = prepare(replace(dataset, factors={"color": values}), Partition())
    reference = "green" if level == "blue" else "blue"
    assert split.columns == ("x0", "color__green", "color__red")
    assert split.test.factors["color"][0] == level  # to a formula it is a group like others
    assert split.test.x[0, 1:].tolist() == [0, 0]
    trained = [c for c in ("green", "red") if c not in (level, reference)]
    for name in ("green", "red"):
        expected = split.train.factors["color"] == name if name in trained else np.zeros(60)
        assert np.array_equal(column(split, f"color__{name}"), expected)
    assert any(f"'color={level}': not in the training part" in note for note in split.notes)


def test_formulas_see_numbers_in_their_own_units_and_groups_that_the_design_lacks():
    rng = np.random.default_rng(4)
    numeric = rng.integers(0, 9, (100, 2)).astype(float)
    numeric[5, 0] = np.nan
    groups = {"my site": np.array([f"s{i % 70}" for i in range(100)], dtype=object)}
    dataset = make(numeric, rng.standard_normal(100), names=("k", "j"))
    split = prepare(replace(dataset, groups=groups), Partition())
    assert split.columns == ("k", "j", "k__missing")
    median = np.nanmedian(numeric[split.train.rows, 0])
    for part in parts(split):
        assert np.array_equal(part.numbers["j"], numeric[part.rows, 1])
        assert np.array_equal(part.numbers["k"], np.where(part.rows == 5, median, numeric[part.rows, 0]))
        assert part.factors["my_site"].tolist() == groups["my site"][part.rows].tolist()


def test_groups_are_a_part_of_the_fingerprint():
    dataset = make(np.arange(40.0)[:, None], np.arange(40.0))
    grouped = sealed(replace(dataset, groups={"g": np.array(["a", "b"] * 20, dtype=object)}))
    assert sealed(replace(dataset, groups={})).fingerprint == dataset.fingerprint != grouped.fingerprint


def test_constant_columns_are_left_out_and_noted_and_constant_in_training_ones_are_zero():
    rng = np.random.default_rng(0)
    numeric = np.column_stack([rng.standard_normal(100), np.full(100, 0.1), np.full(100, 2.0)])
    dataset = make(numeric, rng.standard_normal(100), names=("good", "flat", "nearly"), factors={"one": ["u"] * 100})
    dataset.numeric[prepare(dataset, Partition()).test.rows[0], 2] = 9.0
    split = prepare(dataset, Partition())
    assert split.columns == ("good", "nearly")
    assert not any(part.x[:, 1].any() for part in parts(split))
    assert "'flat': constant, so left out" in split.notes
    assert "'nearly': constant in training, so 0" in split.notes
    assert "'one': one level only, so left out" in split.notes


def test_all_splits_of_a_dataset_have_the_same_columns():
    rng = np.random.default_rng(5)
    n = 60
    numeric = rng.standard_normal((n, 2))
    numeric[:2, 0] = np.nan
    numeric[:, 1] = 0
    numeric[3, 1] = 1
    levels = np.array(["a", *["b"] * 30, *["c"] * 28, None], dtype=object)
    dataset = make(numeric, rng.standard_normal(n), factors={"f": levels})
    splits = [prepare(dataset, Partition(index=i)) for i in range(20)]
    assert len({split.columns for split in splits}) == 1
    assert len({split.notes for split in splits}) > 1


def test_images_are_centred_per_pixel_with_one_scale_and_keep_constant_pixels_as_exact_zeros():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (100, 12)) * np.linspace(0.1, 1, 12)
    pixels[:, 5] = 0.1
    dataset = make(pixels, rng.standard_normal(100), shape=(3, 4, 1))
    split = prepare(dataset, Partition())
    train = pixels[split.train.rows]
    centred = train - train.mean(axis=0)
    np.testing.assert_allclose(split.train.x, centred / np.sqrt((centred**2).mean()), atol=1e-12)
    assert not any(part.x[:, 5].any() for part in parts(split))
    assert split.shape == (3, 4, 1)
    assert np.sqrt(np.mean(split.train.x**2)) == pytest.approx(1)


def test_missing_pixels_become_the_training_median_at_their_place_without_an_indicator():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(100, 4))
    dataset = make(pixels, rng.standard_normal(100), shape=(4, 1))
    dataset.numeric[7, 2] = np.nan
    split = prepare(dataset, Partition())
    train = pixels[split.train.rows].copy()
    rows = split.train.rows
    observed = dataset.numeric[rows[rows != 7]]
    train[rows == 7, 2] = np.median(observed[:, 2])
    centred = train - train.mean(axis=0)
    assert 7 in rows
    np.testing.assert_allclose(split.train.x, centred / np.sqrt((centred**2).mean()), atol=1e-12)
    assert any("without indicators" in note for note in split.notes)


def test_columns_are_unique_identifiers_that_start_with_a_letter_and_do_not_depend_on_the_split():
    names = ("my age", "my-age", "2nd", "class", "größe", "_x", "²", "")
    rng = np.random.default_rng(0)
    levels = np.resize(np.array(["light blue", "light-blue", "1"], dtype=object), 100)
    dataset = make(rng.standard_normal((100, 8)), rng.standard_normal(100), names=names, factors={"my_age": levels})
    split = prepare(dataset, Partition())
    assert split.columns[:8] == ("my_age", "my_age_2", "x2nd", "class_", "größe", "x_x", "x2", "x")
    assert split.columns[8:] == ("my_age__light_blue", "my_age__light_blue_2")
    assert list(split.train.factors) == ["my_age_3"]
    assert all(name.isidentifier() for name in split.columns)
    assert prepare(dataset, Partition(index=1)).columns == split.columns


def test_counts_stay_counts():
    counts = np.random.default_rng(0).poisson(3, 100)
    split = prepare(make(np.random.default_rng(1).standard_normal((100, 1)), counts, task="count"), Partition())
    assert (split.location, split.scale) == (0.0, 1.0)
    assert split.train.y.dtype == np.int64
    assert np.array_equal(split.test.y, counts[split.test.rows])


def noise(n):
    return np.random.default_rng(0).standard_normal((n, 1))


def refused(dataset, partition=None):
    with pytest.raises(DataError) as caught:
        prepare(dataset, partition or Partition())
    return str(caught.value)


def test_a_part_without_rows_is_refused():
    dataset = make(noise(30), np.arange(30.0))
    assert "leaves 0 for the train part" in refused(dataset, Partition(validation=0.5, test=0.5))
    assert "leaves 0 for the train part" in refused(dataset, Partition(validation=0.9, test=0.9))
    assert "leaves 1 for the test part" in refused(dataset, Partition(test=0.03))


def test_a_class_too_rare_for_three_parts_is_refused_by_name():
    dataset = make(noise(50), np.repeat([0, 1], [48, 2]), task="classes", classes=("yes", "no"))
    assert "class 'no' of 'toy' has 2 rows" in refused(dataset)


def test_more_classes_than_rows_of_a_part_are_refused():
    classes = tuple("abcdefghij")
    dataset = make(noise(40), np.repeat(np.arange(10), 4), task="classes", classes=classes)
    assert "8 for the validation part; it needs at least 10" in refused(dataset)


def test_one_class_only_in_a_part_is_refused_by_part_and_class():
    dataset = make(noise(100), np.repeat([0, 1], [97, 3]), task="classes", classes=("common", "rare"))
    message = refused(dataset, Partition(validation=0.1, test=0.1))
    assert "part has one class only ('common')" in message


def test_a_class_that_training_lacks_is_refused_by_name():
    dataset = make(noise(100), np.repeat([0, 1, 2], [50, 46, 4]), task="classes", classes=("a", "b", "rare"))
    assert "the training part lacks 'rare'" in refused(dataset, Partition(validation=0.46, test=0.46))


def test_a_target_that_is_constant_in_training_is_refused():
    for task, value in (("real", 2.5), ("count", 3)):
        dataset = make(noise(100), np.full(100, value), task=task)
        assert f"the target 'y' is {value} in all 60 training rows" in refused(dataset)


def test_nothing_that_varies_is_refused():
    assert "no column that varies" in refused(make(np.ones((100, 2)), noise(100)[:, 0]))
    assert "no column that varies" in refused(make(np.ones((100, 4)), noise(100)[:, 0], shape=(2, 2, 1)))


def test_tiny_numbers_are_standardised_as_their_multiples_of_one_are(recwarn):
    dataset = random_table(missing=False)
    tiny = replace(dataset, numeric=dataset.numeric * 1e-290, target=dataset.target * 1e-290)
    for part, expected in zip(parts(prepare(tiny, Partition())), parts(prepare(dataset, Partition())), strict=True):
        np.testing.assert_allclose(part.x, expected.x, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(part.y, expected.y, rtol=1e-9, atol=1e-12)
    assert not recwarn.list


def test_a_class_with_one_row_in_a_part_is_noted():
    codes = np.repeat([0, 1, 2], [60, 35, 5])
    split = prepare(make(noise(100), codes, task="classes", classes=("a", "b", "rare")), Partition())
    assert any("'rare': one row or none in the test part" in note for note in split.notes)
    assert not any("train part" in note or "'b'" in note for note in split.notes)
