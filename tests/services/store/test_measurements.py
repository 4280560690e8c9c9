from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from services.store import measurements
from services.store.archive import DamagedError, names, object_name
from services.store.objects import Storage
from services.store.rows import join, rows_of_measurement, split
from services.store.schemas import MEASUREMENT_TABLES
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.stores import cut, flip


def write(storage: Storage, value: float = 1.0) -> bool:
    return measurements.write(storage, "m", join(rows_of_measurement(factories.measurement(value=value))))


def test_a_measurement_gives_back_its_rows_and_a_second_one_keeps_the_first(location: str) -> None:
    (storage := Storage(location)).make()
    assert write(storage)
    assert not write(storage, value=2.0)
    assert names(storage, measurements.FOLDER) == {"m"}
    expected = rows_of_measurement(factories.measurement())
    found = split(measurements.read(storage, "m"))
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert_frame_equal(found[table], rows)


def test_a_measurement_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        measurements.read(Storage(tmp_path), "m")


@pytest.mark.parametrize("harm", [flip, cut])
def test_a_damaged_measurement_is_refused_by_name(tmp_path: Path, harm) -> None:
    write(storage := Storage(tmp_path))
    harm(storage, measurements.FOLDER, "m.zip")
    with pytest.raises(DamagedError, match=r"measurements/m\.zip is damaged"):
        measurements.read(storage, "m")


def test_of_a_measurement_by_two_writers_the_first_is_kept_and_its_rows_are_there_once(location: str) -> None:
    with writing(location) as first, writing(location) as second:
        assert first.put_measurement(factories.measurement())
        assert not second.put_measurement(factories.measurement(value=2.0))
        with writing(location):  # appends what the first has not yet
            pass
    for table in MEASUREMENT_TABLES:
        expected = rows_of_measurement(factories.measurement()).get(table)
        found = Store(location).scan(table).collect()
        assert len(found) == 0 if expected is None else found.equals(expected)


@pytest.mark.parametrize(("location", "harm"), [("local", flip), ("s3", cut)], indirect=["location"])
def test_a_measurement_that_was_harmed_is_set_aside_and_can_be_put_again(location: str, harm) -> None:
    with writing(location) as writer:
        writer.put_measurement(factories.measurement())
        writer.put_measurement(factories.measurement(key="n"))
    harm(Storage(location), measurements.FOLDER, object_name("m"))
    with writing(location) as writer:
        writer.rebuild()
        assert writer.set_aside == ["m"]
        assert writer.put_measurement(factories.measurement())
    assert sorted(Store(location).scan("geometry").collect()["measurement"]) == ["m", "m", "n", "n"]
    assert Storage(location).names("damaged") == [object_name("m")]
