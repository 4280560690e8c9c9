"""Text that is no cron expression, zone, condition or dataset is refused by a sentence, soon, and does nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from models.data.dataset import DataError
from models.spec.settings import SpecError
from services.datasets import registry
from services.datasets.permitted import permitted
from services.errors import ServiceError
from services.scheduling.cron import cron
from services.store import conditions, queries
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.writer import writing

MANY = 50_000
CODE = (
    "__import__('os').system('touch PWNED')",
    "().__class__.__base__.__subclasses__()",
    "pl.col('status').map_elements(exec)",
    "run_key=''; drop table runs; --",
    "$(touch PWNED)",
    "`touch PWNED`",
    "{{7*7}}",
    "%(x)s{0.__class__}",
    "status=~(a+)+$",
)
CLIMBING = ("../../etc/passwd", "/etc/passwd", "**/../../*", "~/*", "file:///etc/passwd", "a/\0b", "/proc/self/environ")
LONG = (
    "a" * MANY,
    "a." * MANY,
    "*/" * MANY,
    "1," * MANY,
    "1-" * MANY,
    "(" * MANY,
    "<" * MANY,
    "= " * MANY,
    " " * MANY + "x",
    "../" * MANY,
    "a=" * MANY,
    "9" * MANY,
    "run_key:eq" + ":" * MANY,
    "seed=" + "9" * MANY,
    "wall_seconds>" + "1e" * MANY,
    "status:in:" + "a," * MANY,
    "GMT+" + "1" * MANY,
    "\n" * MANY,
    "* * * * " + "1/" * MANY,
    "éß" * MANY,
)
HOSTILE = (*CODE, *CLIMBING, *LONG)
REFUSALS = (ServiceError, DataError, SpecError)
STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "exec", "compile")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store")
    with writing(path):
        pass
    return Store(path)


_seen: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple) -> None:
    reads = event == "open" and str(arguments[0]).startswith(("/etc/", "/proc/self/env"))
    if _watching and (event in STARTS or reads):
        _seen.append(event)


sys.addaudithook(_watch)


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """What was started, connected to, compiled or read that must not be."""
    global _watching
    _seen.clear()
    _watching = True
    yield _seen
    _watching = False


def refused(guard: Callable[[str], object], text: str, *, harmless: bool = False) -> None:
    """It is refused within a second, by a message that a person would read; or taken, where that does nothing."""
    start, said = time.process_time(), None
    try:
        guard(text)
    except REFUSALS as fault:
        said = str(fault)
    assert harmless if said is None else len(said) < 4000, text[:80]
    assert time.process_time() - start < 1.0, text[:80]


def test_no_text_is_a_cron_expression_or_a_zone_by_accident(watched: list[str]) -> None:
    for text in HOSTILE:
        refused(lambda expression: cron(expression, "UTC"), text)
        refused(lambda zone: cron("0 2 * * *", zone), text)
    assert watched == []


def test_conditions_columns_and_orders_are_no_code(store: Store, watched: list[str]) -> None:
    for text in HOSTILE:
        is_condition = text.startswith(("run_key=", "run_key:eq", "status="))  # a value like any other: no row has it
        refused(lambda where: queries.rows(store, "runs", [where]), text, harmless=is_condition)
        refused(lambda name: queries.rows(store, "runs", select=[name]), text)
        refused(lambda name: queries.rows(store, "runs", sort=[name]), text)
        refused(lambda where: conditions.predicate(where, SCHEMAS["runs"], "runs"), text, harmless=is_condition)
    found = queries.rows(store, "runs", ["run_key=''; drop table runs; --"])
    assert found.is_empty()
    assert isinstance(store.scan("runs"), pl.LazyFrame)
    assert watched == []


def test_no_dataset_is_named_outside_its_folder(
    watched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIN_DATA_ROOTS", str(tmp_path))

    def name(text: str) -> None:
        registry.check_name(text)
        path = registry.file_of(text)
        permitted(path if path is not None else Path(text), text)

    for text in HOSTILE:
        refused(name, text)
    assert watched == []
