"""`basin store`: what it prints, and with which status it ends."""

import json
from pathlib import Path

import pytest

from services.store.archive import object_name
from services.store.objects import Storage
from services.store.writer import writing
from tests.support import factories
from tests.support.stores import assert_holds_exactly, cut, flip
from tests.support.sweeps import Member, put_sweep

RECORDS = [factories.record(factories.request(seed)) for seed in range(12)]


@pytest.fixture
def storage(command, tmp_path: Path) -> Storage:
    with writing(tmp_path / "store") as writer:
        for record in RECORDS:
            writer.put(record)
    return Storage(tmp_path / "store")


def test_a_whole_store_is_said_to_be_whole(command, storage: Storage) -> None:
    assert command("store", "check") == (0, "", "nothing is wrong with the store in store\n")
    assert command("store", "check", "--json") == (0, "[]\n", "")


def test_what_is_wrong_is_listed_by_kind_with_its_remedy_until_it_is_mended(command, storage: Storage) -> None:
    keys = [record.request.run_key for record in RECORDS]
    for key in keys:
        flip(storage, "bundles", object_name(key))
    storage.remove_folder("tables", "curves")
    ended = command("store", "check")
    assert (ended.status, ended.err) == (1, "")
    lines = ended.out.splitlines()
    assert lines[:2] == ["table missing or damaged (1): basin store rebuild", "  curves"]
    assert lines[2] == "bundle damaged (12): basin store rebuild"
    assert lines[3:] == [*(f"  {key}" for key in sorted(keys)[:10]), "  and 2 more: --json has all of them"]
    ended = command("store", "check", "--json")
    assert ended.status == 1
    problems = json.loads(ended.out)
    assert {problem["name"] for problem in problems} == {"curves", *keys}
    assert {problem["remedy"] for problem in problems} == {"basin store rebuild"}
    assert command("results", "curves").err.startswith("error: table store/tables/curves is missing: `basin store reb")
    assert command("store", "rebuild").out == "0 runs are in the tables again\n"
    assert command("store", "check").status == 0
    with writing(storage.location) as writer:
        for record in RECORDS:
            assert writer.put(record)
    assert_holds_exactly(storage.location, RECORDS)


def test_where_there_is_no_store_there_is_nothing_to_check(command, tmp_path: Path) -> None:
    ended = command("store", "check")
    assert ended.status == 2
    assert ended.err.startswith("error: no store in store: ")
    assert not (tmp_path / "store").exists()


def test_the_whole_life_of_a_store_on_s3(command, bucket: str, s3) -> None:
    on_s3 = ("--store", bucket)
    arguments = ("compare", "iris", "--learners", "svm", "--splits", "1", "--seeds", "1", "--workers", "0", *on_s3)
    assert "1 run fitted by this command" in command(*arguments).out
    assert "0 runs fitted by this command, 1 reused from the store" in command(*arguments).out
    assert "1 row" in command("results", "runs", "--select", "learner,status", *on_s3).out
    assert command("store", "check", *on_s3).err == f"nothing is wrong with the store in {bucket}\n"
    assert command("store", "rebuild", *on_s3).out == "1 run is in the tables again\n"
    assert "compare-iris" in command("sweep", "list", *on_s3).out


def test_a_table_that_is_cut_off_is_named_with_its_remedy_and_the_others_stay_usable(command, storage: Storage) -> None:
    (name,) = (name for name in storage.names("tables/metrics") if name.endswith(".parquet"))
    cut(storage, "tables/metrics", name)
    ended = command("results", "metrics")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: table store/tables/metrics is damaged (")
    assert ended.err.endswith("`basin store rebuild` makes it again from what is stored\n")
    assert command("results", "curves").status == 0
    assert command("store", "check").out.splitlines() == [
        "table missing or damaged (1): basin store rebuild",
        "  metrics",
    ]
    assert command("store", "rebuild").status == 0
    assert command("results", "metrics").status == 0


def test_a_damaged_sweep_is_named_and_leaves_the_others_listed(command, storage: Storage) -> None:
    for name in ("a", "b", "c"):
        put_sweep(Path("store"), name, [Member(factories.request(1), None)])
    flip(storage, "sweeps", "b.parquet")
    ended = command("sweep", "list", "--json")
    assert [(row["sweep"], row["runs"], row["state"]) for row in json.loads(ended.out)] == [
        ("a", 1, ""),
        ("b", None, "damaged"),
        ("c", 1, ""),
    ]
    assert ended.err.startswith(
        "warning: sweep 'b' is damaged (store/sweeps/b.parquet): run the same sweep or comparison"
    )
    assert command("sweep", "status", "b").err.startswith("error: sweep 'b' is damaged")
    assert "store/sweeps/b" in command("store", "check").out
