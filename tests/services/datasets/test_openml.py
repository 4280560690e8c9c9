import json

import polars as pl
import pytest

from models.data.dataset import DataError
from services.datasets.openml import OpenMLTable, open_openml, store
from services.datasets.registry import describe, load

TABLE = OpenMLTable(
    pl.DataFrame(
        {"x": [0.5 * k * k for k in range(40)], "label": ["a", "b"] * 20}, schema_overrides={"label": pl.Categorical}
    ),
    {"name": "toy", "version": "3", "target": "label", "licence": "Public", "source": "OpenML, data set 7"},
)


def test_a_cached_table_is_reused_with_its_facts(tmp_path):
    store("7", tmp_path, TABLE)
    found = open_openml("7", tmp_path)
    assert found.frame.equals(TABLE.frame)
    assert found.frame.schema == TABLE.frame.schema
    assert found.facts == TABLE.facts
    description = describe("openml:7", cache=tmp_path)
    assert description.info.licence == "Public"
    assert description.target == "label"
    assert description.class_counts == {"a": 20, "b": 20}


def test_a_changed_cache_is_refused_with_the_remedy(tmp_path):
    store("7", tmp_path, TABLE)
    path = tmp_path / "openml" / "7.parquet"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"openml:7 is damaged or was changed: delete .*7\.json to fetch it again"):
        load("openml:7", cache=tmp_path)


def test_facts_without_a_checksum_are_refused(tmp_path):
    store("7", tmp_path, TABLE)
    (tmp_path / "openml" / "7.json").write_text(json.dumps(dict(TABLE.facts)))
    with pytest.raises(DataError, match="damaged"):
        load("openml:7", cache=tmp_path)


def test_without_a_network_the_message_says_so(tmp_path, monkeypatch):
    # Nothing listens on the discard port, so that every connection is refused at once.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"openml:7 is not in the cache, and cannot be fetched from OpenML .*network"):
        load("openml:7", cache=tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_a_key_that_could_leave_the_cache_is_refused(tmp_path):
    for key in ("../7", "a/b", "", ".."):
        with pytest.raises(DataError, match="neither an id nor a name"):
            load(f"openml:{key}", cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "openml").write_text("in the way")
    with pytest.raises(DataError, match="cannot write to the cache"):
        store("7", tmp_path, TABLE)
