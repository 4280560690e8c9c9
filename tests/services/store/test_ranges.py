import io
import zipfile

import pytest

from services.store import archive, ranges
from services.store.archive import DamagedError
from services.store.objects import Storage
from tests.support.stores import cut, flip

CONTENT = {"run.json": b"{}", "posterior.nc": bytes(range(256)) * 9000, "Gewicht-\N{GREEK SMALL LETTER ALPHA}": b"x"}


@pytest.fixture
def storage(location: str) -> Storage:
    (found := Storage(location)).make()
    assert archive.create(found, "bundles", "r", CONTENT)
    return found


def test_parts_are_read_whole_and_by_range(storage: Storage) -> None:
    where = ranges.directory(storage, "bundles", "r")
    assert {name: part.size for name, part in where.parts.items()} == {n: len(data) for n, data in CONTENT.items()}
    for name, data in CONTENT.items():
        assert b"".join(ranges.chunks(storage, where, name, 0, len(data))) == data
    found = list(ranges.chunks(storage, where, "posterior.nc", 1000, 2_000_001))
    assert b"".join(found) == CONTENT["posterior.nc"][1000:2_000_001]
    assert max(map(len, found)) <= ranges.CHUNK
    assert zipfile.ZipFile(io.BytesIO(storage.read("bundles", "r.zip"))).comment.decode() == where.seal


@pytest.mark.parametrize("harm", [flip, cut])
def test_a_damaged_archive_is_refused(tmp_path, harm) -> None:
    archive.create(storage := Storage(tmp_path), "bundles", "r", CONTENT)
    harm(storage, "bundles", "r.zip")
    with pytest.raises(DamagedError, match="is damaged"):
        ranges.directory(storage, "bundles", "r")


def test_an_empty_object_is_damaged_and_a_missing_one_is_not_there(tmp_path) -> None:
    storage = Storage(tmp_path)
    with pytest.raises(FileNotFoundError):
        ranges.directory(storage, "bundles", "r")
    storage.replace("bundles", "r.zip", b"")
    with pytest.raises(DamagedError):
        ranges.directory(storage, "bundles", "r")
