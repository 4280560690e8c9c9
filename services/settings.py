"""What the environment says: read once, then fixed for the life of the process."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Folder = Annotated[Path, AfterValidator(Path.expanduser)]


def _expanded(location: str) -> str:
    return location if "://" in location else str(Path(location).expanduser())


def _parts(value: str | tuple[Path, ...]) -> Sequence[str | Path]:
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


Folders = Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(_parts)]


def _default_cache() -> Path:
    """`$XDG_CACHE_HOME/basin`, else `~/.cache/basin` (XDG Base Directory Specification: a relative path is ignored)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "basin"


class Environment(BaseSettings):
    """Settings from environment variables: BASIN_ and the attribute's name, as in `BASIN_STORE`.

    Attributes:
        store: where bundles and tables are: a folder, or s3://bucket/prefix.
        cache: folder of what was fetched or compiled, and can be had again.
        data: folder of further datasets, or None.
        data_roots: where alone files of data and of learners may lie, for a machine that runs the sweeps of others;
            empty: anywhere.
        files: folder of files that came with a job, each under its whole path on the machine that it is from; or None.
        address: of a Ray cluster; None starts one on this machine.
        ledger: URL of the database of schedules; None is a file in the store's folder.
        sweeps_at_once: of those that a server accepted, at the cluster at the same time.
        run_hours: that a run may take on a worker before it is ended and has failed.
        token: of a server that the client speaks to, or None.
        cluster_python: interpreter on the cluster's machines, for jobs; None is the path of this one.
    """

    model_config = SettingsConfigDict(env_prefix="BASIN_", env_ignore_empty=True, frozen=True, extra="ignore")

    store: Annotated[str, AfterValidator(_expanded)] = "basin-store"
    cache: Folder = Field(default_factory=_default_cache)
    data: Folder | None = None
    data_roots: Folders = ()
    files: Folder | None = None
    address: str | None = None
    ledger: str | None = None
    sweeps_at_once: Annotated[int, Field(ge=1)] = 4
    run_hours: Annotated[float, Field(gt=0)] = 24.0
    token: Annotated[str | None, Field(repr=False)] = None
    cluster_python: str | None = None


@functools.cache
def settings() -> Environment:
    """The process's settings, read at the first call."""
    return Environment()
