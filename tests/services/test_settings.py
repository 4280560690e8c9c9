from pathlib import Path

import pydantic
import pytest

from services.settings import Environment, settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASIN_STORE", "BASIN_CACHE", "BASIN_DATA", "BASIN_ADDRESS", "BASIN_LEDGER", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_without_variables_everything_has_its_place() -> None:
    found = Environment()
    assert found.store == "basin-store"
    assert found.cache == Path.home() / ".cache" / "basin"
    assert (found.data, found.address, found.ledger) == (None, None, None)


def test_variables_are_read_and_the_home_folder_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIN_STORE", "~/store")
    monkeypatch.setenv("BASIN_DATA", "/data")
    monkeypatch.setenv("BASIN_LEDGER", "postgresql+psycopg://db/basin")
    monkeypatch.setenv("BASIN_ADDRESS", "ray://head:10001")
    found = Environment()
    assert (found.store, found.data) == (str(Path.home() / "store"), Path("/data"))
    assert found.address == "ray://head:10001"
    assert found.ledger == "postgresql+psycopg://db/basin"


def test_a_store_may_be_on_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIN_STORE", "s3://bucket/prefix")
    assert Environment().store == "s3://bucket/prefix"


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIN_DATA", "")
    monkeypatch.setenv("BASIN_STORE", "")
    assert Environment().data is None
    assert Environment().store == "basin-store"


@pytest.mark.parametrize(
    ("xdg", "expected"), [("/xdg", Path("/xdg/basin")), ("relative", Path.home() / ".cache/basin")]
)
def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, xdg: str, expected: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert Environment().cache == expected


def test_settings_are_read_once_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.cache_clear()
    first = settings()
    monkeypatch.setenv("BASIN_STORE", "/elsewhere")
    assert settings() is first
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        first.store = Path("/elsewhere")
    settings.cache_clear()
