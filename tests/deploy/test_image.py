"""deploy/Dockerfile: what it installs, copies and runs as. No Docker engine is needed, and none is asked."""

import fnmatch
import re

from tests.support.project import ROOT, installs, is_locked, pins

_TEXT = (ROOT / "deploy" / "Dockerfile").read_text()
_JOINED = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", _TEXT))
INSTRUCTIONS = [line.split(None, 1) for line in _JOINED.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    """The arguments of every instruction of that name, in order."""
    return [arguments for found, arguments in INSTRUCTIONS if found == name]


def test_every_package_is_installed_by_hash_from_a_lock_that_is_there():
    found = [install for command in of("RUN") for install in installs(command)]
    assert found and all(is_locked(install) for install in found)
    assert "LOCK=base" in of("ARG")
    for lock in ("base", "gpu", "build"):
        assert pins(lock)


def test_it_runs_as_a_user_that_is_not_root_and_asks_for_tokens():
    assert of("USER") == ["1000:1000"]
    assert "RAY_AUTH_MODE=token" in " ".join(of("ENV")).split()
    assert [name for name, _ in INSTRUCTIONS].index("USER") > max(
        index for index, (name, _) in enumerate(INSTRUCTIONS) if name in ("RUN", "COPY")
    )


def test_what_is_copied_is_there_and_reaches_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [pattern[1:] for pattern in ignored if pattern.startswith("!")]
    assert "*" in ignored
    for arguments in of("COPY"):
        if arguments.startswith("--from"):
            continue
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source.rstrip("/"), pattern) for pattern in kept), source


def test_the_last_stage_has_nothing_of_the_build_but_the_environment():
    last = max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    assert [arguments for name, arguments in INSTRUCTIONS[last:] if name == "COPY"] == [
        "--from=build /opt/basin /opt/basin"
    ]
