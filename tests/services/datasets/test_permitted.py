"""Which files a sweep may read, where that is limited."""

import os
from pathlib import Path

import pytest
import yaml

from models.spec.settings import SpecError
from services.datasets.permitted import permitted
from services.datasets.registry import load
from services.launching.sweep_job import sweep_job
from services.settings import settings
from services.sweeps.definition import Data, parse_sweep, settle
from services.sweeps.learners import choose, presets

TABLE = "x,y\n" + "\n".join(f"{i}.5,{i % 2}" for i in range(30))


@pytest.fixture
def confine(monkeypatch: pytest.MonkeyPatch):
    """`confine(*folders)` sets BASIN_DATA_ROOTS to them."""

    def to(*folders: Path) -> None:
        monkeypatch.setenv("BASIN_DATA_ROOTS", os.pathsep.join(map(str, folders)))
        settings.cache_clear()

    yield to
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A folder that sweeps may read from, and one that they may not, each with a table."""
    for name in ("allowed", "forbidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(TABLE)
    return tmp_path / "allowed", tmp_path / "forbidden"


def sweep_on(*datasets: str):
    return parse_sweep({"name": "s", "datasets": list(datasets), "learners": ["svm"], "budget": "quick"})


def read(name: str, cache: Path):
    return load(name, cache=cache, target="y")


def test_files_in_an_allowed_folder_are_read_and_no_others(confine, places, tmp_path: Path):
    allowed, forbidden = places
    confine(allowed)
    assert settle(sweep_on(f"{allowed}/t.csv")).datasets[0].data == f"{allowed}/t.csv"
    assert read(f"{allowed}/t.csv", tmp_path).n_rows == 30
    for name in (
        f"{forbidden}/t.csv",
        f"{allowed}/../forbidden/t.csv",
        f"{allowed}x/t.csv",
        f"random-labels:{forbidden}/t.csv",
        "/etc/passwd",
        f"{allowed}/\0/t.csv",
        f"file://{forbidden}/t.csv",
        "http://127.0.0.1/t.csv",
        "s3://bucket/t.csv",
    ):
        for ask in (lambda name: settle(sweep_on("iris", name)), lambda name: read(name, tmp_path)):
            with pytest.raises(SpecError, match="BASIN_DATA_ROOTS") as refused:
                ask(name)
            assert repr(name.removeprefix("random-labels:"))[1:-1] in str(refused.value)
            assert str(allowed) in str(refused.value)


def test_links_are_followed_before_they_are_judged(confine, places):
    allowed, forbidden = places
    (allowed / "out.csv").symlink_to(forbidden / "t.csv")
    (allowed / "away").symlink_to(forbidden)
    (forbidden / "in.csv").symlink_to(allowed / "t.csv")
    confine(allowed)
    for name in ("out.csv", "away/t.csv"):
        with pytest.raises(SpecError, match="may not be read"):
            permitted(allowed / name, "it")
    assert permitted(forbidden / "in.csv", "it") == forbidden / "in.csv"


def test_a_root_may_be_a_link_and_there_may_be_several(confine, places, tmp_path: Path):
    (tmp_path / "link").symlink_to(places[0])
    confine(tmp_path / "nothing", tmp_path / "link")
    permitted(places[0] / "t.csv", "it")
    with pytest.raises(SpecError, match=r"nothing or .*link"):
        permitted(places[1] / "t.csv", "it")


def test_names_are_no_files_and_stay_allowed(confine, places):
    confine(places[0])
    names = ["iris", "openml:31", "two-moons:n=90,noise=0.1", "random-labels:iris"]
    assert [each.data for each in settle(sweep_on(*names)).datasets] == names


def test_learner_files_are_confined_too(confine, places):
    for place in places:
        (place / "mine.yaml").write_text(yaml.safe_dump(presets("quick")["svm"].model_dump(mode="json")))
    confine(places[0])
    assert [each.name for each in choose([f"{places[0]}/mine.yaml"], "quick")] == ["svm"]
    with pytest.raises(SpecError, match=r"learner file: '.*forbidden/mine.yaml' may not be read"):
        choose([f"{places[1]}/mine.yaml"], "quick")


def test_without_roots_nothing_is_confined(confine, places):
    confine()
    assert permitted(places[1] / "t.csv", "it") == places[1] / "t.csv"


def test_no_file_of_the_machine_that_submits_travels_unless_it_may_be_read_there(confine, places):
    """As of a scheduler's, whose ledger others write to: on the cluster it would count as brought along."""
    allowed, forbidden = places
    sweep = settle(sweep_on(f"{allowed}/t.csv"))
    theirs = settle(sweep_on(f"{forbidden}/t.csv"))  # where nothing is confined
    (allowed / "out.csv").symlink_to(forbidden / "t.csv")
    confine(allowed)
    assert sweep_job(sweep, "/store").files == (allowed / "t.csv",)
    linked = sweep.model_copy(update={"datasets": (Data(data=f"{allowed}/out.csv"),)})
    for refused in (theirs, linked):
        with pytest.raises(SpecError, match="may not be read"):
            sweep_job(refused, "/store")


def test_files_that_came_with_a_job_stand_in_for_those_of_their_names(confine, places, tmp_path: Path, monkeypatch):
    allowed, forbidden = places
    brought = tmp_path / "files"
    (brought / "home" / "me").mkdir(parents=True)
    (brought / "home" / "me" / "houses.csv").write_text(TABLE)
    monkeypatch.setenv("BASIN_FILES", str(brought))
    confine(allowed)
    assert settle(sweep_on("/home/me/houses.csv")).datasets[0].data == "/home/me/houses.csv"
    assert read("/home/me/houses.csv", tmp_path).name == "houses"
    (brought / "link.csv").symlink_to(forbidden / "t.csv")
    for name in ("/home/me/others.csv", "/../forbidden/t.csv", "/link.csv"):
        with pytest.raises(SpecError, match="may not be read"):
            read(name, tmp_path)


def test_a_command_says_what_may_not_be_read(command, places, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BASIN_DATA_ROOTS", str(places[0]))
    settings.cache_clear()
    for arguments in (("compare", f"{places[1]}/t.csv", "--target", "y"), ("data", "show", f"{places[1]}/t.csv")):
        ended = command(*arguments)
        assert ended.status == 2
        assert "may not be read" in ended.err
