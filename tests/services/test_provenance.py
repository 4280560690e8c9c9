import platform
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from services import provenance as module
from services.provenance import Provenance, git_state, provenance, reproducing, travelling


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_commit_is_named_and_changes_are_noticed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert git_state(checkout) == (commit, False)
    (checkout / "a").write_text("2")
    assert git_state(checkout) == (commit, True)


def test_a_checkout_without_commits_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) == (None, False)


def test_a_folder_inside_anothers_checkout_does_not_take_its_commit(checkout: Path) -> None:
    (checkout / "site-packages").mkdir()
    assert git_state(checkout / "site-packages") == (None, None)


def test_a_folder_outside_any_checkout_has_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, None)


def test_provenance_names_versions_and_hardware_and_no_host() -> None:
    found = provenance()
    assert found.python == platform.python_version()
    assert found.versions["numpy"] == np.__version__
    assert found.hardware.cpu
    assert found.hardware.threads >= (found.hardware.cores or 1) >= 1
    assert found.hardware.memory_bytes > 2**20
    text = found.model_dump_json()
    assert socket.gethostname() not in text
    assert Provenance.model_validate_json(text) == found


def test_code_that_was_sent_elsewhere_knows_its_commit(checkout: Path, tmp_path: Path, monkeypatch) -> None:
    sha = git(checkout, "rev-parse", "HEAD").strip()
    (sent := tmp_path / "sent").mkdir()
    for changed in (False, True):
        (checkout / "a").write_text("2" if changed else "1")
        monkeypatch.setattr(module, "PROJECT", checkout)
        provenance.cache_clear()
        for name, value in travelling().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(module, "PROJECT", sent)
        provenance.cache_clear()
        assert (provenance().git_commit, provenance().git_dirty) == (sha, changed)
    provenance.cache_clear()


def test_the_command_that_fits_a_run_again_works_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reproducing("ab", "a store") == f"basin reproduce ab --store '{tmp_path}/a store'"
    assert reproducing("ab", "/srv/basin; rm x") == "basin reproduce ab --store '/srv/basin; rm x'"
    assert reproducing("ab", None) == "basin reproduce ab"
    assert reproducing("ab", "s3://lab/basin") == "basin reproduce ab --store s3://lab/basin"
