"""Tables from OpenML by id or name, fetched once by scikit-learn and kept with a checksum."""

import hashlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from sklearn.datasets import fetch_openml

from models.data.dataset import DataError


class OpenMLTable(NamedTuple):
    """A table and what OpenML says of it: `name`, `version`, `target`, `licence`, `source`."""

    frame: pl.DataFrame
    facts: Mapping[str, str]


def open_openml(key: str, cache: Path) -> OpenMLTable:
    """The table with this id or name: from the cache if it is there, else from OpenML into the cache.

    Raises:
        DataError: unknown to OpenML, OpenML out of reach, sparse or without one target, or changed since it was cached.
    """
    check_key(key)
    if not (cache / "openml" / f"{key}.json").exists():
        store(key, cache, _fetch(key))
    return read_cached(key, cache)


def check_key(key: str) -> None:
    """Refuse what is neither an id nor a name.

    Raises:
        DataError: it is neither.
    """
    if not re.fullmatch(r"\w[\w.()-]*", key):
        raise DataError(f"openml:{key} is neither an id nor a name of OpenML: letters, digits and ._-() are expected")


def store(key: str, cache: Path, table: OpenMLTable) -> None:
    """Write the table, then its facts with the table's SHA-256: without facts, a table was not written to its end.

    Raises:
        DataError: the cache folder cannot be written.
    """
    folder = cache / "openml"
    buffer = io.BytesIO()
    table.frame.write_parquet(buffer)
    facts = {**table.facts, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in ((".parquet", buffer.getvalue()), (".json", json.dumps(facts).encode())):
            aside = folder / f"{key}{suffix}.part"
            aside.write_bytes(content)
            aside.replace(folder / f"{key}{suffix}")
    except OSError as error:
        raise DataError(f"cannot write to the cache {folder}: {error.strerror}") from None


def read_cached(key: str, cache: Path) -> OpenMLTable:
    """Read what `store` wrote, and check that it is still that.

    Raises:
        DataError: the cached files are damaged or changed.
    """
    table, about = (cache / "openml" / f"{key}{suffix}" for suffix in (".parquet", ".json"))
    try:
        facts = json.loads(about.read_text())
        content = table.read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.pop("sha256"):
            raise ValueError("checksum")
    except (OSError, ValueError, KeyError):
        raise DataError(
            f"the cached copy of openml:{key} is damaged or was changed: delete {about} to fetch it again"
        ) from None
    return OpenMLTable(pl.read_parquet(io.BytesIO(content)), facts)


def _fetch(key: str) -> OpenMLTable:
    which: dict[str, Any] = {"data_id": int(key)} if key.isdigit() else {"name": key}
    try:
        with warnings.catch_warnings():
            # Of several active versions it takes the oldest, whose number the facts state.
            warnings.filterwarnings("ignore", message="Multiple active versions")
            warnings.filterwarnings("ignore", message="A network error occurred")
            bunch: Any = fetch_openml(**which, as_frame=True, cache=False, n_retries=1)
        frame = pl.from_pandas(bunch.frame)
    except OSError as error:  # URLError, timeouts and closed connections are all OSErrors
        raise DataError(
            f"openml:{key} is not in the cache, and cannot be fetched from OpenML ({getattr(error, 'reason', error)}): "
            f"check the network, or use a file"
        ) from None
    except ValueError as error:
        raise DataError(f"openml:{key} cannot be used: {error}") from None
    if len(bunch.target_names) != 1:
        raise DataError(f"openml:{key} has {len(bunch.target_names)} default targets, expected one: use a file of it")
    details = bunch.details
    facts = {
        "name": details["name"],
        "version": str(details["version"]),
        "target": bunch.target_names[0],
        "licence": details.get("licence", "not stated"),
        "source": f"OpenML, data set {details['id']}",
    }
    return OpenMLTable(frame, facts)
