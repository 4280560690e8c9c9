"""What a sweep from the network may ask for: less than one from a person at this machine.

Files of data and of learners must lie in folders that the server names (BASIN_DATA_ROOTS), and be there. Where it names
none, a sweep may name no file at all.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from models.data.dataset import DataError
from models.spec.learner import Learner
from models.spec.settings import SpecError, canonical_json
from services.sweeps.definition import Data, Sweep, check_size, parse_sweep, settle
from services.sweeps.formulas import check_formulas
from services.sweeps.learners import presets
from services.sweeps.search_space import combinations

MAX_ENTRIES = 10_000
MAX_DATASETS = 200
_MAX_WHOLE = 2**63  # what tables hold
_MAX_WORDS = 1000  # characters of a dataset's or learner's name


class Admitted(NamedTuple):
    """A settled sweep, and how many runs it asks for at most."""

    sweep: Sweep
    runs: int


def admit(definition: Any, roots: Sequence[Path]) -> Admitted:
    """Read a sweep from decoded JSON, and settle it.

    Files may be named from the folders of `roots`, as well as by their whole paths.

    Raises:
        SpecError: what is wrong with it, a line for each fault; a file that it may not name; or more than a server
            plans.
        DataError: a dataset of a name that there is nothing of, or a file without the target.
    """
    _check_values(definition)
    sweep = parse_sweep(definition)
    if len(sweep.datasets) > MAX_DATASETS:
        raise SpecError(f"sweep.datasets: {len(sweep.datasets):,} of them, and a server takes at most {MAX_DATASETS}")
    data = tuple(each.model_copy(update={"data": _dataset(each.data, each, roots)}) for each in sweep.datasets)
    known = presets("quick")
    learners = None if sweep.learners is None else tuple(_learner(each, known, roots) for each in sweep.learners)
    sweep = sweep.model_copy(update={"datasets": data, "learners": learners})
    try:
        check_size(sweep, sweep.learners_for(has_shape=True), "a server")
        settled = settle(sweep)
    except SpecError as error:
        raise SpecError(_relative(str(error), roots)) from None
    _check_text(settled)
    check_formulas(settled)
    return Admitted(settled, runs_at_most(settled))


def _dataset(name: str, asked: Data, roots: Sequence[Path]) -> str:
    """A name, or the whole path of a file that has the target."""
    from services.datasets.registry import check_columns, check_name, file_of  # seconds to import

    what = f"dataset {_shown(name)}"
    _check_words(name, what)
    head, colon, rest = name.partition(":")
    if colon and head == "random-labels":
        return f"{head}:{_dataset(rest, asked, roots)}"
    if file_of(name) is not None:
        path = _file(name, roots, what)
        try:
            check_columns(path, asked.target, asked)
        except DataError as error:
            raise DataError(_relative(str(error), roots)) from None
        return str(path)
    check_name(name)
    return name


def _learner(asked: str | Learner, known: Collection[str], roots: Sequence[Path]) -> str | Learner:
    if isinstance(asked, Learner) or asked in known or not asked.endswith((".yaml", ".yml", ".json")):
        return asked  # a name that is unknown is refused with the nearest ones
    _check_words(asked, f"learner {_shown(asked)}")
    return str(_file(asked, roots, f"learner {_shown(asked)}"))


def _file(name: str, roots: Sequence[Path], what: str) -> Path:
    """The whole path of a file in one of the folders.

    Whether there is a file elsewhere makes no difference to the message.
    """
    if "://" in name:
        raise SpecError(f"{what}: nothing is fetched from an address; a set of OpenML goes by openml:ID")
    for root in roots:
        try:
            path, folder = (root / name).resolve(), root.resolve()
            if path.is_relative_to(folder) and path.is_file():
                return path
        except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a loop of links
            continue
    if not roots:
        raise SpecError(
            f"{what}: this server lets sweeps name no files; BASIN_DATA_ROOTS, or `basin serve --data FOLDER`, names "
            "folders whose files they may"
        )
    raise SpecError(f"{what}: there is no such file in the folders that this server lets sweeps read from")


def _relative(message: str, roots: Sequence[Path]) -> str:
    """A message with files named from the folders of `roots`: where these are is nobody's business."""
    for root in roots:
        message = message.replace(f"{root.resolve()}/", "")
    return message


def _check_words(text: str, what: str) -> None:
    if len(text) > _MAX_WORDS or not text.isprintable():
        raise SpecError(f"{what}: expected at most {_MAX_WORDS} characters, all of them printable")


def _check_values(definition: Any) -> None:
    """Before anything looks at each of them."""
    if sum(1 for _ in islice(_leaves(definition), MAX_ENTRIES + 1)) > MAX_ENTRIES:
        raise SpecError(f"sweep: a server takes at most {MAX_ENTRIES:,} values in one: ask for less, or for ranges")
    if any(isinstance(value, int) and abs(value) >= _MAX_WHOLE for value in _leaves(definition)):
        raise SpecError("sweep: it has a whole number in it that is beyond 64 bits")


def runs_at_most(sweep: Sweep) -> int:
    """How many runs a sweep asks for, if all of its learners suit all of its datasets."""
    learners = sweep.learners_for(has_shape=True)
    configurations = sum(combinations(learner, sweep.vary, sweep.drawn) for learner in learners)
    return configurations * len(sweep.datasets) * sweep.n_splits * sweep.n_seeds


def _check_text(sweep: Sweep) -> None:
    """What is no text, and what is no number: neither could be stored."""
    try:
        canonical_json(sweep).encode("utf-8")
    except UnicodeEncodeError:
        raise SpecError("sweep: it has half a character in it (an unpaired surrogate)") from None
    if any(isinstance(value, float) and not math.isfinite(value) for value in _leaves(sweep.model_dump())):
        raise SpecError("sweep: it has a number in it that is infinite or none (NaN)")


def _leaves(value: Any) -> Iterator[Any]:
    """What holds nothing, an empty mapping or list among it."""
    if isinstance(value, Mapping) and value:
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple) and value:
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _shown(text: str) -> str:
    return json.dumps(text if len(text) <= 80 else f"{text[:77]}...")
