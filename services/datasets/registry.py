"""The registry of datasets: by name, from OpenML, or a person's own file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from models.data.dataset import DataError, Dataset, listed
from models.data.tasks import randomise_labels
from models.spec.settings import Task, shortened
from models.spelling import did_you_mean
from services.datasets.openml import check_key, open_openml
from services.datasets.permitted import LONGEST, permitted
from services.datasets.readers import SUFFIXES, read_columns, read_frame, read_npz
from services.datasets.reading import UNSTATED, Reading
from services.datasets.sources import (
    DATA_FOLDER,
    DatasetInfo,
    Source,
    check_target,
    is_synthetic,
    named_sources,
    synthetic_source,
)
from services.datasets.table import absent_target, from_array, from_table

__all__ = ["DatasetDescription", "DatasetInfo", "check_columns", "check_name", "describe", "file_of", "listing", "load"]


@dataclass(frozen=True)
class DatasetDescription:
    """A dataset in figures.

    Attributes:
        n_columns: numbers and factors together, or the values of one image or sequence.
        class_counts: rows by class; empty unless the task is classes.
        missing: missing cells by column, where there are any.
    """

    info: DatasetInfo
    task: Task
    n_rows: int
    n_columns: int
    shape: tuple[int, ...] | None
    target: str
    class_counts: Mapping[str, int]
    factors: tuple[str, ...]
    missing: Mapping[str, int]
    fingerprint: str
    notes: tuple[str, ...]


def load(
    name: str, *, cache: Path, target: str | None = None, task: Task | None = None, reading: Reading = UNSTATED
) -> Dataset:
    """Load a dataset by a name of `listing`, `openml:ID_OR_NAME`, `random-labels:OTHER`, or a file's path.

    Synthetic names take parameters, as in `two-moons:n=300,noise=0.1`. `target` names the column to predict: needed for
    files of tables, while the others have one of their own. `task` overrides what the target suggests, and `reading`
    what a file's text does. What is fetched from OpenML is kept in the folder `cache`.

    Raises:
        DataError: unknown name, unreadable file, unusable data, or a target or task that this dataset cannot have.
        SpecError: a file that may not be read: see `services.datasets.permitted`.
    """
    return _find(name, cache, reading).read(target, task)


def describe(
    name: str, *, cache: Path, target: str | None = None, task: Task | None = None, reading: Reading = UNSTATED
) -> DatasetDescription:
    """Load a dataset, and say what is in it and where it is from.

    Raises:
        DataError, SpecError: as `load` does.
    """
    source = _find(name, cache, reading)
    dataset = source.read(target, task)
    missing = dict(zip(dataset.names, np.isnan(dataset.numeric).sum(axis=0).tolist(), strict=True))
    missing |= {column: sum(v is None for v in values) for column, values in dataset.factors.items()}
    counts = np.bincount(dataset.target).tolist() if dataset.classes else []
    return DatasetDescription(
        info=source.info,
        task=dataset.task,
        n_rows=dataset.n_rows,
        n_columns=len(dataset.names) + len(dataset.factors),
        shape=dataset.shape,
        target=dataset.target_name,
        class_counts=dict(zip(dataset.classes, counts, strict=True)),
        factors=tuple(dataset.factors),
        missing={column: count for column, count in missing.items() if count},
        fingerprint=dataset.fingerprint,
        notes=dataset.notes,
    )


def listing() -> list[DatasetInfo]:
    """The datasets that can be loaded by a plain name: bundled, in the data folder, synthetic."""
    return [source.info for source in named_sources().values()]


def file_of(name: str) -> Path | None:
    """The file that a dataset's name stands for; None where it is the name of something else, or of nothing."""
    head, colon, rest = name.partition(":")
    if colon and head == "openml":
        return None
    if colon and head == "random-labels":
        return file_of(rest)
    if is_synthetic(name) or name in named_sources():
        return None
    if len(name) > LONGEST:
        return None
    path = Path(name)
    is_path = os.path.exists(name) or path.suffix.lower() in SUFFIXES or os.sep in name  # noqa: PTH110 - takes any text
    return path if is_path else None


def check_name(name: str) -> None:
    """Refuse a name that `load` would know nothing of. Nothing is read, and OpenML is not asked.

    Raises:
        DataError: there is nothing of this name.
    """
    head, colon, rest = name.partition(":")
    if colon and head == "random-labels":
        check_name(rest)
    elif colon and head == "openml":
        check_key(rest)
    elif is_synthetic(name):
        synthetic_source(name)
    elif name not in (known := named_sources()) and file_of(name) is None:
        raise DataError(_unknown(name, list(known)))


def check_columns(path: Path, target: str | None, reading: Reading) -> None:
    """Refuse a file that has no such target, without reading its rows.

    Raises:
        DataError: no target is named, or the file has none of this name, or its columns cannot be read.
    """
    if path.suffix.lower() == ".npz":
        check_target(path.name, "y", target)
        return
    columns = read_columns(path, reading)
    if target is None:
        raise DataError(_needs_target(path, columns))
    if target not in columns:
        raise DataError(absent_target(path.stem, target, columns))


def _find(name: str, cache: Path, reading: Reading) -> Source:
    head, colon, rest = name.partition(":")
    if colon and head == "openml":
        return _from_openml(name, rest, cache, reading)
    if colon and head == "random-labels":
        other = _find(rest, cache, reading)
        info = replace(other.info, name=name, about=f"{other.info.about}, with the target permuted")
        return Source(info, lambda target, task: randomise_labels(other.read(target, task)))
    if is_synthetic(name):
        return synthetic_source(name)
    known = named_sources()
    if name in known:
        return known[name]
    path = file_of(name)
    if path is not None:
        return _from_file(permitted(path, f"dataset {name!r}"), reading)
    raise DataError(_unknown(name, list(known)))


def _from_openml(name: str, key: str, cache: Path, reading: Reading) -> Source:
    frame, facts = open_openml(key, cache)
    about = f"{facts['name']}, version {facts['version']}"

    def read(target: str | None, task: Task | None) -> Dataset:
        return from_table(frame, name=name, target=target or facts["target"], task=task, reading=reading)

    return Source(DatasetInfo(name, about, facts["source"], facts["licence"]), read)


def _from_file(path: Path, reading: Reading) -> Source:
    info = DatasetInfo(path.stem, "a file", str(path), "not stated")
    if path.suffix.lower() == ".npz":
        return Source(info, lambda target, task: _read_npz(path, target, task))
    return Source(info, lambda target, task: _read_table(path, target, task, reading))


def _read_table(path: Path, target: str | None, task: Task | None, reading: Reading) -> Dataset:
    table = read_frame(path, reading)
    if target is None:
        raise DataError(_needs_target(path, table.frame.columns))
    dataset = from_table(table.frame, name=path.stem, target=target, task=task, reading=reading)
    return replace(dataset, notes=(*table.notes, *dataset.notes))


def _needs_target(path: Path, columns: list[str]) -> str:
    last = f", the last of which is {columns[-1]!r}" if len(columns) > 10 else ""
    what = f"{path} needs a target: name the column to predict (--target, or `target` in a sweep)"
    return f"{what}, of {listed(columns, 10)}{last}"


def _read_npz(path: Path, target: str | None, task: Task | None) -> Dataset:
    check_target(path.name, "y", target)
    x, y = read_npz(path)
    if x.ndim > 2:
        dataset = from_array(x, y, name=path.stem, task=task, shape=x.shape[1:])
        return replace(dataset, notes=(*_axes(x.shape), *dataset.notes))
    frame = pl.DataFrame(x, schema=[f"x{j}" for j in range(1, x.shape[1] + 1)]).with_columns(pl.Series("y", y))
    return from_table(frame, name=path.stem, target="y", task=task)


def _axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    """What to tell of axes that look as if channels came first: that one is shorter than all others."""
    n, first, *others = shape
    if first >= min(others):
        return ()
    pixels, channels = " x ".join(map(str, (first, *others[:-1]))), others[-1]
    what = f"{pixels} pixels" if len(others) == 2 else f"{pixels} steps"
    axes = "(0, 2, 3, 1)" if len(others) == 2 else "(0, 2, 1)"
    return (
        f"x of shape ({n}, {', '.join(map(str, shape[1:]))}) is read as {what} with {channels} channels: transpose it "
        f"by x.transpose{axes} if channels come first",
    )


def _unknown(name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known, f"known are {listed(known, len(known))}")
    more = "" if os.environ.get(DATA_FOLDER) else f" ({DATA_FOLDER} is not set: it names a folder of further ones)"
    return f"no data set {shortened(name)!r}: {hint}{more}; a file goes by its path, a set of OpenML by openml:ID"
