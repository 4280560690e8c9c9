"""A dataset as arrays, and one partition of it as the parts that learners see."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from models.spec.settings import Settings, Share, Task

LARGEST_COUNT = 2**31 - 1
"""Counts are integers of 32 bits on their way to a likelihood."""


class DataError(ValueError):
    """Data that cannot be used as asked: the message names the file, column or value, and the remedy."""


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names in quotes, and how many more there are."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


@dataclass(frozen=True)
class Dataset:
    """A table or an array with a target, before it is split. Nothing in it has been learned from the rows.

    Attributes:
        numeric: (n, d) float64, NaN where missing. For images and sequences the examples, flattened row-major.
        names: the d numeric columns.
        factors: categorical columns as (n,) arrays of str objects, None where missing.
        shape: one example's shape with the channel last, `(h, w, c)` or `(t, c)`; None for a table.
        target: (n,) int64 class codes or counts, or float64 values.
        classes: labels by code; empty unless the task is classes.
        fingerprint: hash of the values and the meaning of all of the above, as `sealed` computes it.
        notes: what was done to the data on the way in, in plain words.
        groups: text columns of too many levels to be factors, in the same form, for formulas alone: to group by.
    """

    name: str
    task: Task
    numeric: np.ndarray
    names: tuple[str, ...]
    factors: Mapping[str, np.ndarray]
    shape: tuple[int, ...] | None
    target: np.ndarray
    target_name: str
    classes: tuple[str, ...]
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.target)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 unless the task is classes."""
        return len(self.classes)


def sealed(dataset: Dataset) -> Dataset:
    """The same dataset with its fingerprint: what it holds, not where it came from, what it is called or its notes.

    SHA-256 over the names, dtypes, shapes and bytes of the arrays, the task and the classes; its first 128 bits in
    hexadecimal. All missing values hash alike, and so do 0.0 and -0.0.
    """
    meaning = {
        "task": dataset.task,
        "names": dataset.names,
        "shape": dataset.shape,
        "target_name": dataset.target_name,
        "classes": dataset.classes,
        "factors": {name: values.tolist() for name, values in dataset.factors.items()},
    }
    if dataset.groups:  # what has none keeps the fingerprint that it had before there were any
        meaning["groups"] = {name: values.tolist() for name, values in dataset.groups.items()}
    hashed = hashlib.sha256(json.dumps(meaning).encode())
    for array in (dataset.numeric, dataset.target):
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.nan, array + 0.0)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(array.tobytes())
    return replace(dataset, fingerprint=hashed.hexdigest()[:32])


class Partition(Settings):
    """One seeded partition: repetition `index` of a family of random splits, stratified for classes."""

    index: int = 0
    seed: int = 0
    validation: Share = 0.2
    test: Share = 0.2


class Part(NamedTuple):
    """The rows of one part, prepared.

    Attributes:
        x: (n, d) float64 design: standardised columns, treatment-coded factors, missing-value indicators.
        y: (n,) int64 codes or counts; for real targets float64, standardised by the training part.
        rows: (n,) int64 row numbers in the dataset.
        factors: the columns of text as (n,) arrays of str, for formulas; levels that training lacks are as they are.
        numbers: the numeric columns of a table as (n,) float64 in their own units, for formulas.
    """

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    factors: Mapping[str, np.ndarray]
    numbers: Mapping[str, np.ndarray] = {}


@dataclass(frozen=True)
class Split:
    """Train, validation and test parts that share one preparation, learned from the training part alone.

    Real targets are standardised: target = `location` + `scale` * y. `columns` name the design's d columns, each a
    valid Python identifier, so that a formula can use them. `far` tells of test rows that are far from training.
    """

    task: Task
    n_classes: int
    columns: tuple[str, ...]
    shape: tuple[int, ...] | None
    train: Part
    validation: Part
    test: Part
    location: float = 0.0
    scale: float = 1.0
    notes: tuple[str, ...] = field(default=())
    far: tuple[str, ...] = ()
