import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr
from polars.testing import assert_frame_equal

from services.errors import StoreError
from services.store import bundles
from services.store.archive import DamagedError, names, pack
from services.store.objects import Storage
from services.store.rows import join, rows_of_bundle, rows_of_result
from tests.support import factories


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def write(storage: Storage, record: bundles.Record) -> bool:
    manifest = bundles.manifest_of(record)
    return bundles.write(storage, manifest, record.result, join(rows_of_result(record.result)))


def read(storage: Storage, record: bundles.Record) -> bundles.Bundle:
    assert write(storage, record)
    return bundles.read(storage, bundles.manifest_of(record).bundle)


def test_a_bundle_gives_back_what_was_written(storage: Storage) -> None:
    record = factories.record(factories.request(1))
    found = read(storage, record)
    for name, array in record.result.parameters.items():
        assert found.parameters()[name].dtype == array.dtype
        np.testing.assert_array_equal(found.parameters()[name], array)
    np.testing.assert_array_equal(found.predictions()["probabilities"], record.result.predictions["probabilities"])
    manifest = found.manifest
    assert (manifest.learner, manifest.partition, manifest.seed) == (
        record.request.learner,
        record.request.partition,
        record.request.seed,
    )
    assert manifest.stored_at == factories.STORED_AT
    assert manifest.provenance == factories.PROVENANCE
    assert manifest.warnings == record.result.warnings
    assert found.posterior() is None


@pytest.mark.parametrize("make", [factories.result, factories.diverged, factories.failed, factories.sampled])
def test_rows_of_all_tables_come_back(storage: Storage, make) -> None:
    record = factories.record(request := factories.request(1, bayesian=True), make(request))
    found, expected = rows_of_bundle(read(storage, record)), factories.rows_of(record)
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert_frame_equal(found[table], rows)


def test_a_posterior_comes_back_bit_for_bit(storage: Storage) -> None:
    record = factories.record(request := factories.request(bayesian=True), factories.sampled(request))
    found = read(storage, record)
    posterior = found.posterior()
    assert posterior is not None
    for group in ("posterior", "sample_stats", "log_likelihood"):
        xr.testing.assert_identical(
            posterior[group].to_dataset().drop_attrs(), record.result.posterior[group].to_dataset().drop_attrs()
        )
    assert found.manifest.summary is not None
    assert found.manifest.summary["r_hat_max"] == math.inf
    assert math.isnan(found.manifest.summary["p_loo"])


def test_a_second_write_keeps_the_first(storage: Storage, tmp_path: Path) -> None:
    request = factories.request()
    assert write(storage, factories.record(request))
    before = (tmp_path / "bundles" / f"{request.run_key}.zip").read_bytes()
    assert not write(storage, factories.record(request, factories.diverged(request)))
    assert (tmp_path / "bundles" / f"{request.run_key}.zip").read_bytes() == before
    assert names(storage, "bundles") == {request.run_key}


def test_run_json_is_plain_json() -> None:
    record = factories.record(factories.request())
    text = bundles.manifest_of(record).model_dump_json()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["compile_seconds"] == "NaN"


@pytest.mark.parametrize("harm", ["flipped", "truncated", "emptied"])
def test_a_damaged_bundle_is_refused_by_name(storage: Storage, tmp_path: Path, harm: str) -> None:
    write(storage, factories.record(request := factories.request()))
    path = tmp_path / "bundles" / f"{request.run_key}.zip"
    content = bytearray(path.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"flipped": content, "truncated": content[:-1], "emptied": b""}[harm])
    with pytest.raises(DamagedError, match="is damaged") as fault:
        bundles.read(storage, request.run_key)
    assert str(path) in str(fault.value)


def test_a_bundle_that_is_not_there_is_not_found(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        bundles.read(storage, "abc")


def test_a_bundle_of_another_version_is_refused(storage: Storage) -> None:
    manifest = bundles.manifest_of(factories.record(factories.request())).model_dump(mode="json")
    storage.create("bundles", "k.zip", pack({"run.json": json.dumps(manifest | {"novelty": 1}).encode()}))
    with pytest.raises(StoreError, match="another version of Basin"):
        bundles.read(storage, "k")


def test_an_array_of_objects_is_refused_and_nothing_is_left(storage: Storage) -> None:
    request = factories.request()
    objects = dataclasses.replace(factories.result(request), parameters={"theta": np.array([{}], object)})
    with pytest.raises(ValueError, match="Object arrays"):
        write(storage, factories.record(request, objects))
    assert storage.names("bundles") == []


def test_failures_of_one_run_have_bundles_of_their_own(storage: Storage) -> None:
    request = factories.request()
    for attempt in range(2):
        assert write(storage, factories.record(request, factories.failed(request), attempt))
    assert write(storage, factories.record(request, attempt=2))
    key = request.run_key
    assert names(storage, "bundles") == {key, f"{key}.failed-0", f"{key}.failed-1"}
    assert isinstance(bundles.read(storage, f"{key}.failed-1").rows(), pl.DataFrame)
