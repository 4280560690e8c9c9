"""A store that an earlier state of the code wrote is read, compared, resumed and reproduced as one of today's.

`tests/support/stored_before` has six runs of three learners on iris with their measurements, and the comparison as it
was told then.
"""

import json
import zipfile
from pathlib import Path

import pytest

from services.comparison.stored import compare_stored
from services.execution.reproduce import reproduce
from services.integrity import check
from services.store.store import Store
from services.store.writer import writing

FOLDER = Path(__file__).parents[2] / "support" / "stored_before"
SWEEP = "before"
LEARNERS = ("linear-map", "net", "svm")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with zipfile.ZipFile(FOLDER / "store.zip") as archive:
        archive.extractall(tmp_path / "store")
    return Store(tmp_path / "store")


def test_nothing_is_wrong_with_it(store: Store):
    assert check(store.storage) == []


def test_it_is_compared_to_the_same_bits(store: Store):
    (compared,) = compare_stored(store, SWEEP)
    told = json.loads((FOLDER / "comparison.json").read_text())
    assert compared.document.model_dump(mode="json", exclude={"invocation", "provenance"}) == told


def test_nothing_of_it_is_fitted_or_measured_again(store: Store, command):
    ended = command("sweep", "resume", SWEEP, "--store", store.location, "--workers", "0")
    assert (ended.status, "0 runs fitted by this command, 6 reused from the store" in ended.out) == (0, True), ended.err
    assert len(store.storage.names("measurements")) == 6


@pytest.mark.parametrize("learner", LEARNERS)
def test_its_runs_come_out_again(store: Store, tmp_path: Path, learner: str):
    """To the bit on the kind of processor that it was written on; on others XLA rounds in another order."""
    key = next(row["run_key"] for row in store.runs().collect().iter_rows(named=True) if row["learner"] == learner)
    with writing(tmp_path / "again") as writer:
        again = reproduce(store, key, writer, tmp_path)
    assert again.again.manifest.run_key == key
    for difference in again.differences:
        assert difference.largest is not None, difference
        assert difference.largest < 1e-4, difference
