"""A posterior's file, read by ArviZ."""

from pathlib import Path

import arviz as az
import pytest

from services.errors import ServiceError
from services.exports.netcdf import export_posterior
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with writing(tmp_path / "store") as writer:
        writer.put(factories.record(asked := factories.request(0, bayesian=True), factories.sampled(asked)))
        writer.put(factories.record(factories.request(1)))
    return Store(tmp_path / "store")


def test_arviz_reads_every_group_as_it_was_sampled(store: Store, tmp_path: Path) -> None:
    asked = factories.request(0, bayesian=True)
    export_posterior(store, asked.run_key, tmp_path / "p.nc")
    found, kept = az.from_netcdf(tmp_path / "p.nc"), factories.sampled(asked).posterior
    assert found.equals(kept)
    assert list(az.summary(found, round_to="none").index) == [f"theta[{i}]" for i in range(5)]


def test_a_run_without_a_posterior_is_told_of_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="of learner 'mlp-sgd' has no posterior: those that are sampled have one"):
        export_posterior(store, factories.request(1).run_key, tmp_path / "p.nc")
    with pytest.raises(ServiceError, match="no bundle nonsense in"):
        export_posterior(store, "nonsense", tmp_path / "p.nc")
    assert not (tmp_path / "p.nc").exists()
