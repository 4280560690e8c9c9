"""Settings for all tests: the environment that workers have, one cache, and shapes checked by beartype."""

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.programs import drop_programs
from cluster.resources import Resources, worker_environment

# One folder of compiled programs for a session: pytest's workers inherit the variable, and fixtures hand it to others.
if "BASIN_TESTS_CACHE" not in os.environ:
    os.environ["BASIN_TESTS_CACHE"] = tempfile.mkdtemp(prefix="basin-tests-")
    atexit.register(shutil.rmtree, os.environ["BASIN_TESTS_CACHE"], ignore_errors=True)
CACHE = Path(os.environ["BASIN_TESTS_CACHE"])
# Before JAX and NumPy start: one thread per computation, as in a worker, so that bits can be compared. Tests compile
# thousands of small programs: they are kept apart from the commands', for a cache with a bound on its size is read
# through with every program that it is given.
_given = {name: value for name, value in os.environ.items() if name.startswith("JAX_COMPILATION_CACHE")}
os.environ.update(worker_environment(Resources(), CACHE))
os.environ.update(
    {
        "JAX_COMPILATION_CACHE_DIR": str(CACHE / "tests"),
        "JAX_COMPILATION_CACHE_MAX_SIZE": "-1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    | _given
)
# One token for every Ray: a process that has read one knows no other. None is written to the home folder.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
if os.environ.get("BASIN_DATA"):  # some tests change the folder they run in
    os.environ["BASIN_DATA"] = str(Path(os.environ["BASIN_DATA"]).resolve())

from jaxtyping import install_import_hook

import tests.support.typecheck  # noqa: F401 - the hook below finds it by name

_hook = install_import_hook("models", "tests.support.typecheck.check")

import pytest
from hypothesis import settings as hypothesis_settings

# How fast a machine is decides no test.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")

if TYPE_CHECKING:
    from tests.support.head import Head


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray has the machine to itself: beside the rest it would be Ray's patience that is tested."""
    for item in items:
        if "starts_ray" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")


@pytest.fixture(scope="session")
def starts_ray() -> None:
    """For fixtures that start Ray to ask for: the tests that use them are marked `ray`."""


@pytest.fixture(scope="session")
def basin_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where BASIN_DATA does not name it."""
    folder = os.environ.get("BASIN_DATA")
    if not folder:
        pytest.skip("BASIN_DATA is not set: it names the folder of real data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def cache() -> Path:
    """What commands, workers and jobs of all tests share: programs that are compiled, and data that were fetched."""
    return CACHE


@pytest.fixture(scope="module", autouse=True)
def _programs() -> Iterator[None]:
    """A process that runs all tests compiles more programs than the kernel grants it memory maps for."""
    yield
    drop_programs()


@pytest.fixture(scope="session")
def head(starts_ray: None, cache: Path) -> "Iterator[Head]":
    """A Ray cluster of its own, with a dashboard; its token is that of the tests."""
    from tests.support.head import start_head

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        started = start_head(Path(folder), os.environ["RAY_AUTH_TOKEN"], cache)
        yield started
        started.stop()


class Ended(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`command(*arguments)` runs `basin` in this process, in an empty folder with a store of its own."""
    from services import cli
    from services.settings import settings

    # The command sets variables of its own: they go with the test.
    before = dict(os.environ)
    os.environ.update(BASIN_STORE="store", BASIN_CACHE=str(CACHE), COLUMNS="100")
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["basin", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Ended(code or 0, *capsys.readouterr())

    yield run
    os.environ.clear()
    os.environ.update(before)
    settings.cache_clear()
