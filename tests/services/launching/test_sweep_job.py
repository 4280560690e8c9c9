"""What a sweep's job is, before any cluster is asked."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from models.spec.settings import SpecError
from services.errors import ServiceError
from services.launching import sweep_job as submission
from services.launching.sweep_job import sweep_job
from services.settings import settings
from services.sweeps.definition import Sweep, parse_sweep, settle

TABLE = "x,y\n1,2\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    (tmp_path / "houses.csv").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep_of(*datasets: str, **more) -> Sweep:
    asked = {"name": "mine", "datasets": list(datasets), "learners": ["svm"], "budget": "quick"}
    return settle(parse_sweep(asked | more))


def test_jobs_that_do_the_same_have_one_key_and_others_another(here: Path):
    sweep = sweep_of("houses.csv")
    key = sweep_job(sweep, "store").key
    assert key.startswith("basin-mine-")
    assert sweep_job(sweep, str(here / "store"), workers=3, gpus=0.5, python="/elsewhere/python").key == key
    others = [
        sweep_job(sweep_of("houses.csv", seeds=2), "store"),
        sweep_job(sweep, "other"),
        sweep_job(sweep, "s3://lab/store"),
    ]
    (here / "houses.csv").write_text(TABLE + "3,4\n")
    others.append(sweep_job(sweep, "store"))
    assert len({key, *(job.key for job in others)}) == 5


def test_the_command_is_one_process_of_an_absolute_interpreter(here: Path, monkeypatch: pytest.MonkeyPatch):
    sweep = sweep_of("iris")
    common = ["-m", "services.cli", "sweep", "run", "sweep.json", "--address", "auto", "--store"]
    assert shlex.split(sweep_job(sweep, "my store").entrypoint) == [
        *("exec", sys.executable, *common, str(here / "my store"))
    ]
    job = sweep_job(sweep, "s3://lab/store", python="/opt/basin/bin/python", workers=8, gpus=0.5)
    assert shlex.split(job.entrypoint) == [
        *("exec", "/opt/basin/bin/python", *common, "s3://lab/store", "--workers", "8", "--gpus", "0.5")
    ]
    monkeypatch.setenv("BASIN_CLUSTER_PYTHON", "/srv/python")
    settings.cache_clear()
    assert sweep_job(sweep, "store").python == "/srv/python"
    monkeypatch.undo()
    settings.cache_clear()


def test_the_sweep_the_packages_and_small_files_travel_and_nothing_else(tmp_path: Path):
    sweep = sweep_of("houses.csv", "random-labels:houses.csv", "iris", "/data/on-the-cluster.csv")
    folder = tmp_path / "folder"
    folder.mkdir()
    sweep_job(sweep, "store").fill(folder)
    assert {path.name for path in folder.iterdir()} == {"sweep.json", "models", "cluster", "services", "files"}
    assert parse_sweep(json.loads((folder / "sweep.json").read_text())) == sweep
    assert (folder / "services" / "rendering" / "templates" / "page.html").is_file()
    assert not list(folder.rglob("__pycache__"))
    files = [path for path in (folder / "files").rglob("*") if path.is_file()]
    assert files == [folder / "files" / str(tmp_path / "houses.csv").lstrip("/")]
    assert files[0].read_text() == TABLE


def test_large_files_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, here: Path):
    monkeypatch.setattr(submission, "MAX_FILES_BYTES", 4)
    with pytest.raises(SpecError, match=r"houses\.csv.*--shared.*BASIN_DATA"):
        sweep_job(sweep_of("houses.csv"), "store")
    assert sweep_job(sweep_of("houses.csv"), "store", shared=[Path("..")]).files == ()
    assert sweep_job(sweep_of("iris"), "store", shared=[here / "elsewhere"]).files == ()


@pytest.mark.parametrize(
    ("datasets", "options", "message"),
    [
        (["barns.csv"], {}, "dataset 'barns.csv': there is no such file here; one that is on the cluster goes by its"),
        (["iris"], {"store": "s3://key:secret@lab/store"}, "secret in it"),
        (["iris"], {"python": "python3"}, "interpreter 'python3': expected its whole path"),
        (["iris"], {"workers": 0}, "a job needs a worker"),
    ],
)
def test_what_could_not_work_is_refused_before_it_is_submitted(datasets, options, message):
    with pytest.raises((SpecError, ServiceError), match=message):
        sweep_job(sweep_of(*datasets), **{"store": "store"} | options)


def test_the_commands_say_what_they_miss(command):
    Path("s.json").write_text(json.dumps({"name": "s", "datasets": ["iris"], "learners": ["svm"]}))
    for arguments in (("submit", "s.json"), ("jobs", "list")):
        ended = command(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert "name the cluster's dashboard: --address http://HOST:8265" in ended.err
    assert "nothing answers at http://127.0.0.1:1:" in command("submit", "s.json", "--address", "127.0.0.1:1").err
