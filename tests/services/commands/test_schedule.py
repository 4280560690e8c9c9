"""`basin schedule`: what it prints, keeps and refuses."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from services.ledger.database import Ledger
from services.scheduling.leases import appear
from services.store.writer import writing

SWEEP = {"name": "tiny", "datasets": ["iris"], "learners": ["svm"], "budget": "quick", "splits": 1}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    return Path("tiny.yaml")


def words(text: str) -> str:
    return " ".join(text.split())


def listed(command, *arguments) -> dict:
    return {
        schedule["name"]: schedule for schedule in json.loads(command("schedule", "list", "--json", *arguments).out)
    }


def test_adding_a_schedule_prints_its_next_five_times(command, file):
    ended = command("schedule", "add", file, "--cron", "30 2 * * *", "--timezone", "Asia/Kathmandu")
    assert ended.status == 0
    first, *lines = ended.out.splitlines()
    assert first == "tiny is scheduled. Its next times:"
    assert len(lines) == 5
    days = [datetime.strptime(line.split()[1], "%Y-%m-%d") for line in lines]
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 4
    assert all(line.endswith(" 02:30 +0545 (20:45 UTC)") for line in lines)
    assert "no scheduler is at work on this ledger, so nothing fires: start `basin scheduler`" in ended.err
    again = command("schedule", "add", file, "--cron", "0 3 * * *")
    assert again.out.startswith("tiny is replaced. Its next times:")


def test_nothing_warns_of_a_missing_scheduler_where_there_is_one(command, file, tmp_path: Path):
    command("schedule", "add", file, "--cron", "0 2 * * *")
    ledger = Ledger(f"sqlite:///{tmp_path}/store/ledger/ledger.sqlite", create=False)
    appear(ledger, "somebody")
    ledger.close()
    assert command("schedule", "list").err == ""


def test_what_was_asked_for_is_kept_and_listed(command, file, tmp_path: Path):
    options = ("--overlap", "replace", "--misfire-grace", "1d12h", "--no-coalesce", "--workers", "0", "--gpus", "0.5")
    command("schedule", "add", file, "--cron", "0 2 * * *", "--timezone", "Europe/Paris", "--name", "nightly", *options)
    found = listed(command)["nightly"]
    assert found.pop("planned_through")
    assert datetime.fromisoformat(found.pop("next")).hour == 2
    assert json.loads(found.pop("sweep"))["learners"][0]["name"] == "svm"
    assert found == {
        "name": "nightly",
        "cron": "0 2 * * *",
        "timezone": "Europe/Paris",
        "overlap": "replace",
        "misfire_grace_seconds": 129_600,
        "coalesce": False,
        "state": "active",
        "options": {"store": str(tmp_path / "store"), "address": None, "workers": 0, "gpus": 0.5},
        "last": None,
    }
    table = words(command("schedule", "list").out)
    assert "nightly 0 2 * * * Europe/Paris active 20" in table


def test_a_change_of_the_file_takes_effect_when_it_is_added_again(command, file):
    def datasets() -> list[str]:
        return [data["data"] for data in json.loads(listed(command)["tiny"]["sweep"])["datasets"]]

    command("schedule", "add", file, "--cron", "0 2 * * *")
    file.write_text(yaml.safe_dump(SWEEP | {"datasets": ["wine"]}))
    assert datasets() == ["iris"]
    command("schedule", "add", file, "--cron", "0 2 * * *")
    assert datasets() == ["wine"]


def test_pause_resume_and_remove(command, file):
    command("schedule", "add", file, "--cron", "0 2 * * *")
    assert command("schedule", "pause", "tiny").out == "tiny is paused. Next: basin schedule resume tiny\n"
    assert [listed(command)["tiny"][key] for key in ("state", "next")] == ["paused", None]
    assert command("schedule", "resume", "tiny").out == "tiny is active.\n"
    assert listed(command)["tiny"]["state"] == "active"
    removed = command("schedule", "remove", "tiny")
    assert removed.out == "tiny is removed. Its history stays: basin schedule history tiny\n"
    assert listed(command) == {}
    assert command("schedule", "history", "tiny").status == 0


def test_one_that_is_asked_for_is_in_the_history(command, file):
    command("schedule", "add", file, "--cron", "0 2 * * *", "--timezone", "Europe/Paris")
    asked = command("schedule", "run-now", "tiny")
    assert asked.out == "tiny is asked for. Next: basin schedule history tiny\n"
    (found,) = json.loads(command("schedule", "history", "tiny", "--json").out)
    assert (found["schedule"], found["trigger"], found["status"]) == ("tiny", "manual", "queued")
    assert abs(datetime.fromisoformat(found["planned"]) - datetime.now(UTC)) < timedelta(minutes=5)
    table = command("schedule", "history").out
    assert "CE" in table  # on the schedule's clocks: CET or CEST
    assert "queued" in table
    assert "asked for" in table
    assert listed(command)["tiny"]["last"] == found


def test_a_ledger_may_be_there_before_the_store_is(command, file, tmp_path: Path):
    command("schedule", "add", file, "--cron", "0 2 * * *")
    with writing(tmp_path / "store"):
        pass
    assert list(listed(command)) == ["tiny"]


def test_a_ledger_may_be_named(command, file, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = f"sqlite:///{tmp_path}/elsewhere/l.sqlite"
    command("schedule", "add", file, "--cron", "0 2 * * *", "--ledger", url)
    assert list(listed(command, "--ledger", url)) == ["tiny"]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("what", [["list"], ["history"], ["pause", "x"], ["run-now", "x"]])
def test_looking_makes_no_ledger(command, tmp_path: Path, what):
    ended = command("schedule", *what)
    assert ended.status == 2
    assert "no ledger at sqlite:///" in ended.err
    assert "`basin schedule add` makes one" in ended.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cron", "0 2 * *"], "expected five fields"),
        (["--cron", "0 2 30 2 *"], "never comes round"),
        (["--cron", "0 2 * * *", "--timezone", "Paris"], "did you mean 'Europe/Paris'?"),
        (
            ["--cron", "0 2 * * *", "--misfire-grace", "soon"],
            "--misfire-grace 'soon': expected numbers with d, h, m or s",
        ),
        (["--cron", "0 2 * * *", "--misfire-grace", "32d"], "expected between 1 second and 31 days"),
        (["--cron", "0 2 * * *", "--misfire-grace", "999999999d"], "expected between 1 second and 31 days"),
        (["--cron", "0 2 * * *", "--overlap", "both"], "overlap"),
        (["--cron", "0 2 * * *", "--name", "a b"], "schedule name 'a b': expected letters"),
        (["--cron", "0 2 * * *", "--workers", "0", "--address", "h:1"], "leave the address or workers out"),
        (["--cron", "0 2 * * *", "--ledger", "nonsense"], "the ledger's URL is not understood"),
        ([], "--cron"),
    ],
)
def test_a_mistake_is_told_and_makes_nothing(command, file, tmp_path: Path, options, expected):
    ended = command("schedule", "add", file, *options)
    assert (ended.status, ended.out) == (2, "")
    assert expected in words(ended.err)
    assert "Traceback" not in ended.err
    assert not (tmp_path / "store").exists()


def test_a_wrong_sweep_file_makes_nothing(command, tmp_path: Path):
    (tmp_path / "wrong.yaml").write_text("name: x\ndatasets: []\n")
    ended = command("schedule", "add", "wrong.yaml", "--cron", "0 2 * * *")
    assert ended.status == 2
    assert "wrong.yaml.datasets: expected at least one entry" in ended.err
    assert not (tmp_path / "store").exists()


def test_an_unknown_schedule_is_told_of(command, file):
    command("schedule", "add", file, "--cron", "0 2 * * *")
    ended = command("schedule", "pause", "tyni")
    assert (ended.status, ended.err) == (2, "error: no schedule 'tyni': did you mean 'tiny'?\n")
