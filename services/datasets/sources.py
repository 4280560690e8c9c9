"""Datasets that have a name: bundled with scikit-learn, in the data folder, or synthetic."""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from sklearn import datasets as sklearn_datasets

from models.data import tasks
from models.data.dataset import DataError, Dataset, listed
from models.spec.settings import Task, shortened
from services.datasets.readers import read_frame, read_idx, read_npz
from services.datasets.table import from_array, from_table

DATA_FOLDER = "BASIN_DATA"
MOST_VALUES = 100_000_000  # of a synthetic dataset: 0.8 GB


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is read."""

    name: str
    about: str
    source: str
    licence: str


class Source(NamedTuple):
    """A dataset that can be read: `read(target, task)`, each None for the dataset's own."""

    info: DatasetInfo
    read: Callable[[str | None, Task | None], Dataset]


def named_sources() -> dict[str, Source]:
    """All datasets with a name, in the order of a listing."""
    return _bundled() | _folder() | _synthetic()


def check_target(name: str, own: str, target: str | None) -> None:
    """Refuse another target than the only one that a dataset has.

    Raises:
        DataError: naming the one that it has.
    """
    if target not in (None, own):
        raise DataError(
            f"{name!r} has no column {target!r} for a target: its only one is {own!r}, so leave --target out"
        )


# --- scikit-learn's own -----------------------------------------------------------------------------------------------


def _bundled() -> dict[str, Source]:
    uci = ("bundled with scikit-learn, from the UCI repository", "CC BY 4.0")
    efron = ("bundled with scikit-learn, from Efron et al. (2004), Annals of Statistics 32", "not stated")
    digits = DatasetInfo("digits", "handwritten digits, 8 x 8 pixels", *uci)
    sources = [
        Source(digits, _digits),
        _bundled_table("iris", "measures of three species of iris", *uci, "species", "classes"),
        _bundled_table("wine", "chemical analyses of three cultivars' wines", *uci, "cultivar", "classes"),
        _bundled_table("breast-cancer", "cell nuclei of breast masses, Wisconsin", *uci, "diagnosis", "classes"),
        _bundled_table("diabetes", "progression of diabetes after one year", *efron, "progression", "real"),
    ]
    return {source.info.name: source for source in sources}


def _digits(target: str | None, task: Task | None) -> Dataset:
    check_target("digits", "digit", target)
    bunch: Any = sklearn_datasets.load_digits()
    return from_array(bunch.data, bunch.target, name="digits", target="digit", task=task, shape=(8, 8, 1))


def _bundled_table(name: str, about: str, source: str, licence: str, column: str, own_task: Task) -> Source:
    def read(target: str | None, task: Task | None) -> Dataset:
        bunch: Any = getattr(sklearn_datasets, f"load_{name.replace('-', '_')}")()
        values = bunch.target_names[bunch.target] if own_task == "classes" else bunch.target
        frame = pl.DataFrame(bunch.data, schema=[str(c) for c in bunch.feature_names])
        frame = frame.with_columns(pl.Series(column, values))
        stated = own_task if task is None and target in (None, column) else task
        return from_table(frame, name=name, target=target or column, task=stated)

    return Source(DatasetInfo(name, about, source, licence), read)


# --- the data folder --------------------------------------------------------------------------------------------------


def _folder() -> dict[str, Source]:
    """Tables `NAME.csv` with a `NAME.SOURCE.txt`, target `y`; and the two MNISTs in folders of their own."""
    if not os.environ.get(DATA_FOLDER):
        return {}
    folder = Path(os.environ[DATA_FOLDER])
    sources = [
        _folder_table(path, about)
        for about in sorted(folder.glob("*.SOURCE.txt"))
        if (path := folder / about.name.replace(".SOURCE.txt", ".csv")).is_file()
    ]
    for name, about, read in (
        ("mnist1d", "sequences of 40 values that caricature ten digits", _mnist1d),
        ("mnist_test", "handwritten digits, 28 x 28 pixels (the 10,000 test images)", _mnist_test),
    ):
        place = folder / name
        if place.is_dir():
            info = DatasetInfo(name, about, *_provenance(place / "SOURCE.txt"))
            sources.append(Source(info, _fixed_target(name, place, read)))
    return {source.info.name: source for source in sources}


def _folder_table(path: Path, about: Path) -> Source:
    def read(target: str | None, task: Task | None) -> Dataset:
        return from_table(read_frame(path).frame, name=path.stem, target=target or "y", task=task)

    return Source(DatasetInfo(path.stem, f"a table in the folder of {DATA_FOLDER}", *_provenance(about)), read)


def _fixed_target(name: str, place: Path, read_from: Callable[[Path, Task | None], Dataset]):
    def read(target: str | None, task: Task | None) -> Dataset:
        check_target(name, "y", target)
        return read_from(place, task)

    return read


def _mnist1d(place: Path, task: Task | None) -> Dataset:
    x, y = read_npz(place / "mnist1d.npz")
    return from_array(x, y, name="mnist1d", task=task, shape=(x.shape[1], 1))


def _mnist_test(place: Path, task: Task | None) -> Dataset:
    x, y = (read_idx(place / f"t10k-{what}-ubyte.gz") for what in ("images-idx3", "labels-idx1"))
    return from_array(x, y, name="mnist_test", task=task, shape=(28, 28, 1))


def _provenance(about: Path) -> tuple[str, str]:
    """Source and licence from lines `repo: ...`, `commit: ...` and `licence: ...`."""
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    source = " ".join(facts[key] for key in ("repo", "commit") if key in facts)
    return source or "not stated", facts.get("licence", "not stated")


# --- synthetic --------------------------------------------------------------------------------------------------------

_GENERATORS: Mapping[str, tuple[Callable[..., tasks.SyntheticTask], str]] = {
    "linear-gaussian": (tasks.linear_gaussian, "a linear function with Gaussian noise"),
    "two-moons": (tasks.two_moons, "two interleaving half circles"),
    "sparse-parity": (tasks.sparse_parity, "the parity of a few of many bits"),
    "teacher-student": (tasks.teacher_student, "a random two-layer net with Gaussian noise"),
}


def _synthetic() -> dict[str, Source]:
    return {name: synthetic_source(name) for name in _GENERATORS}


def synthetic_source(name: str) -> Source:
    """The source of a synthetic dataset by its name with parameters, as in `two-moons:n=300,noise=0.1`.

    Raises:
        DataError: a parameter that it does not have, or a value that it cannot have.
    """
    kind, _, text = name.partition(":")
    generator, about = _GENERATORS[kind]
    arguments = _arguments(kind, generator, text)

    def read(target: str | None, task: Task | None) -> Dataset:
        dataset = replace(generator(**arguments).dataset, name=name)
        check_target(name, dataset.target_name, target)
        if task not in (None, dataset.task):
            raise DataError(f"the task of {name!r} is {dataset.task!r} and cannot be {task!r}: leave --task out")
        return dataset

    settings = ", ".join(f"{p.name}={p.default}" for p in inspect.signature(generator).parameters.values())
    return Source(DatasetInfo(name, f"{about} ({settings})", "generated", "none needed"), read)


def is_synthetic(name: str) -> bool:
    """Whether a name, parameters aside, is that of a synthetic dataset."""
    return name.partition(":")[0] in _GENERATORS


def _arguments(kind: str, generator: Callable[..., tasks.SyntheticTask], text: str) -> dict[str, float]:
    parameters = inspect.signature(generator).parameters
    arguments = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in parameters:
            raise DataError(
                f"{kind} has no parameter {shortened(key)!r}: it has {listed(parameters, 10)}, as in {kind}:n=300"
            )
        if key in arguments:
            raise DataError(f"{kind}:{text} has {key!r} twice: keep one of them")
        wanted = type(parameters[key].default)
        try:
            arguments[key] = wanted(value)
        except ValueError:
            raise DataError(
                f"{kind}: {key} is {shortened(value)!r}, expected {'a whole' if wanted is int else 'a'} number"
            ) from None
    values = {key: parameter.default for key, parameter in parameters.items()} | arguments
    if values["seed"] < 0:
        raise DataError(f"{kind}: seed is {values['seed']}, expected at least 0")
    if math.prod(values.get(key, 1) for key in ("n", "d", "width")) > MOST_VALUES:
        raise DataError(f"{kind}:{text} is too large: n, d and width multiplied may be {MOST_VALUES:,} at most")
    return arguments
