"""Varying settings of a learner, by their dotted paths."""

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.spec import Learner, SpecError, parse_learner


class Variant(NamedTuple):
    """A learner with some of its settings varied.

    Attributes:
        varied: the values, by dotted path, as the learner holds them.
    """

    learner: Learner
    varied: Mapping[str, Any]


def check_varied(learners: Sequence[Learner], vary: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a path that none of the learners has.

    Raises:
        SpecError: with the nearest paths.
    """
    known = list(dict.fromkeys(itertools.chain.from_iterable(map(paths_of, learners))))
    for path in vary:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(known)}"
            raise SpecError(f"vary.{path}: no learner of the sweep has this setting; {hint}")


def paths_of(learner: Learner) -> list[str]:
    """The dotted paths of a learner's settings, groups of settings among them; its name is no setting."""
    return list(_paths(learner.model_dump(mode="json", exclude={"name"})))


def _paths(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def variants(learner: Learner, vary: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """The learner under every combination of those values whose path it has; itself where it has none of them.

    Combinations that mean the same, as of 1 and 1.0, are one.

    Raises:
        SpecError: a combination that the learner cannot have.
    """
    mine = [path for path in vary if path in set(paths_of(learner))]
    found: dict[Learner, Variant] = {}
    for values in itertools.product(*(vary[path] for path in mine)):
        settings = learner.model_dump(mode="json")
        for path, value in zip(mine, values, strict=True):
            *groups, last = path.split(".")
            _group(settings, groups)[last] = value
        try:
            made = parse_learner(settings, learner.name)
        except SpecError as error:
            asked = ", ".join(f"{path} = {json.dumps(value)}" for path, value in zip(mine, values, strict=True))
            raise SpecError(f"vary: {learner.name!r} cannot have {asked}: {error}") from None
        held = made.model_dump(mode="json")
        varied = {path: _group(held, path.split(".")) for path in mine}
        found.setdefault(made, Variant(made, varied))
    return list(found.values())


def _group(settings: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        settings = settings[key]
    return settings
