"""requirements/: what a node installs is pinned, hashed, of one mind, and names no registry."""

import re
import tomllib

import pytest

from tests.support.project import ROOT, pins

LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.lock"))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_version_and_a_hash_and_nothing_else_is_said(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text().replace(" \\\n", " ")
    for requirement in text.splitlines():
        assert re.fullmatch(r"\S+==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+", requirement), requirement[:80]


def test_the_gpu_lock_is_the_base_lock_and_jaxs_cuda_build():
    base, gpu = pins("base"), pins("gpu")
    assert base.items() <= gpu.items()
    added = gpu.keys() - base.keys()
    assert {"jax-cuda13-plugin", "jax-cuda13-pjrt"} <= added
    assert all(name.startswith(("jax-cuda13-", "nvidia-")) for name in added)
    assert gpu["jax-cuda13-plugin"] == gpu["jax"].split("+")[0]


def test_the_build_lock_has_the_build_backend_and_no_lock_contradicts_another():
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert backend == [f"hatchling=={pins('build')['hatchling']}"]
    development = pins("dev")
    for lock in ("base", "build", "launcher"):
        assert pins(lock).items() <= development.items(), lock
    notebooks = pins("notebooks")
    assert "jupyterlab" in notebooks
    assert all(development.get(name, version) == version for name, version in notebooks.items())
