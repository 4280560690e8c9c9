import dataclasses
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr
from polars.testing import assert_frame_equal

from services import bundles
from services.errors import StoreError
from services.rows import join, rows_of, split
from tests.services import factories


def write(folder: Path, record: bundles.Record) -> Path:
    assert bundles.write(folder, record, join(rows_of(record)))
    return folder / record.name


def test_a_bundle_gives_back_what_was_written(tmp_path: Path) -> None:
    record = factories.record(factories.request(1))
    found = bundles.read(write(tmp_path, record))
    for name, array in record.result.parameters.items():
        assert found.parameters()[name].dtype == array.dtype
        np.testing.assert_array_equal(found.parameters()[name], array)
    np.testing.assert_array_equal(found.predictions()["probabilities"], record.result.predictions["probabilities"])
    for table, rows in split(found.rows()).items():
        assert_frame_equal(rows, rows_of(record)[table])
    manifest = found.manifest
    assert (manifest.learner, manifest.partition, manifest.seed) == (
        record.request.learner,
        record.request.partition,
        record.request.seed,
    )
    assert manifest.stored_at == factories.STORED_AT
    assert manifest.provenance == factories.PROVENANCE
    assert manifest.warnings == record.result.warnings
    assert math.isnan(manifest.compile_seconds)
    assert manifest.device_seconds == 0.5
    assert found.posterior() is None
    found.verify()


def test_a_posterior_comes_back_bit_for_bit(tmp_path: Path) -> None:
    record = factories.record(request := factories.request(bayesian=True), factories.sampled(request))
    found = bundles.read(write(tmp_path, record))
    for group in ("posterior", "sample_stats", "log_likelihood"):
        xr.testing.assert_identical(
            found.posterior()[group].to_dataset().drop_attrs(), record.result.posterior[group].to_dataset().drop_attrs()
        )
    assert found.manifest.summary["r_hat_max"] == math.inf
    assert math.isnan(found.manifest.summary["p_loo"])


def test_a_second_write_keeps_the_first(tmp_path: Path) -> None:
    request = factories.request()
    path = write(tmp_path, factories.record(request))
    before = {part.name: part.read_bytes() for part in path.iterdir()}
    again = factories.record(request, factories.diverged(request))
    assert not bundles.write(tmp_path, again, join(rows_of(again)))
    assert {part.name: part.read_bytes() for part in path.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == [request.run_key]


def test_run_json_is_plain_json_and_its_seal_is_read_by_sha256sum(tmp_path: Path) -> None:
    path = write(tmp_path, factories.record(factories.request()))
    text = (path / "run.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["compile_seconds"] == "NaN"
    subprocess.run(["sha256sum", "-c", "--status", "run.json.sha256"], cwd=path, check=True)


@pytest.mark.parametrize("part", ["run.json", "run.json.sha256", "params.npz", "predictions.npz", "tables.parquet"])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_damaged_bundle_is_refused_by_name(tmp_path: Path, part: str, harm: str) -> None:
    path = write(tmp_path, factories.record(factories.request()))
    content = (path / part).read_bytes()
    if harm == "deleted":
        (path / part).unlink()
    elif harm == "truncated":
        (path / part).write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        (path / part).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    readers = {
        "params.npz": bundles.Bundle.parameters,
        "predictions.npz": bundles.Bundle.predictions,
        "tables.parquet": bundles.Bundle.rows,
    }
    for read in (readers.get(part, bundles.Bundle.verify), bundles.Bundle.verify):
        with pytest.raises(StoreError, match="damaged") as fault:
            read(bundles.read(path))
        assert str(path) in str(fault.value)
        assert part.removesuffix(".sha256") in str(fault.value)


def test_a_bundle_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no bundle abc"):
        bundles.read(tmp_path / "abc")


def test_a_bundle_of_another_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, factories.record(factories.request()))
    manifest = json.loads((path / "run.json").read_text(encoding="utf-8"))
    (path / "run.json").write_text(json.dumps(manifest | {"novelty": 1}), encoding="utf-8")
    (path / "run.json.sha256").write_text(f"{bundles.sha256(path / 'run.json')}  run.json\n", encoding="utf-8")
    with pytest.raises(StoreError, match="another version of Basin"):
        bundles.read(path)


def test_pickles_are_neither_written_nor_read(tmp_path: Path) -> None:
    request = factories.request()
    objects = dataclasses.replace(factories.result(request), parameters={"theta": np.array([{}], object)})
    record = factories.record(request, objects)
    with pytest.raises(ValueError, match="Object arrays"):
        bundles.write(tmp_path, record, join(rows_of(record)))
    assert list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "evil.npz", theta=np.array([{}], object))
    with pytest.raises(ValueError, match="Object arrays"):
        bundles.load_arrays(tmp_path / "evil.npz")


def test_failures_of_one_run_have_bundles_of_their_own(tmp_path: Path) -> None:
    request = factories.request()
    for attempt in range(2):
        write(tmp_path, factories.record(request, factories.failed(request), attempt))
    write(tmp_path, factories.record(request, attempt=2))
    key = request.run_key
    assert sorted(bundles.names(tmp_path)) == [key, f"{key}.failed-0", f"{key}.failed-1"]
    assert isinstance(bundles.read(tmp_path / f"{key}.failed-1").rows(), pl.DataFrame)
