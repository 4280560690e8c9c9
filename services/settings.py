"""What the environment says: read once, then fixed for the life of the process."""

import functools
import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Folder = Annotated[Path, AfterValidator(Path.expanduser)]


def _expanded(location: str) -> str:
    return location if "://" in location else str(Path(location).expanduser())


def _default_cache() -> Path:
    """`$XDG_CACHE_HOME/basin`, else `~/.cache/basin` (XDG Base Directory Specification: a relative path is ignored)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "basin"


class Environment(BaseSettings):
    """Settings from environment variables `BASIN_STORE`, `BASIN_CACHE`, `BASIN_DATA`, `BASIN_ADDRESS` and
    `BASIN_LEDGER`.

    Attributes:
        store: where bundles and tables are: a folder, or s3://bucket/prefix.
        cache: folder of what was fetched or compiled, and can be had again.
        data: folder of further datasets, or None.
        address: of a Ray cluster; None starts one on this machine.
        ledger: URL of the database of schedules; None is a file in the store's folder.
    """

    model_config = SettingsConfigDict(env_prefix="BASIN_", env_ignore_empty=True, frozen=True, extra="ignore")

    store: Annotated[str, AfterValidator(_expanded)] = "basin-store"
    cache: Folder = Field(default_factory=_default_cache)
    data: Folder | None = None
    address: str | None = None
    ledger: str | None = None


@functools.cache
def settings() -> Environment:
    """The process's settings, read at the first call."""
    return Environment()
