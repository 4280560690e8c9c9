"""A learner as decoded YAML or JSON has it: read, or refused in the words of whoever wrote it."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from models.spec.inference import HMC, NUTS, Constant, Cosine, Inference, Library, Optimise, Plateau, PyMC, Schedule
from models.spec.learner import Learner
from models.spec.likelihoods import Likelihood
from models.spec.predictors import MLP, BoostedTrees, ConvNet, Formula, Linear, Predictor, SupportVectors
from models.spec.priors import Flat, Normal, Prior
from models.spec.settings import Settings, SpecError, explained, shortened, worded
from models.spelling import did_you_mean


def parse_learner(data: Any, where: str = "learner") -> Learner:
    """Read a learner from decoded YAML or JSON.

    Raises:
        SpecError: with one line per fault: the path, what is wrong and the remedy.
    """
    try:
        return Learner.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise SpecError("\n".join(explained(faults, lambda fault: _explain(where, fault)))) from None


def _explain(where: str, error: Any) -> str:
    loc = error["loc"]
    path = ".".join([where, *_named(loc)])
    if error["type"] == "extra_forbidden":
        known = _keys_at(loc[:-1])
        hint = did_you_mean(str(loc[-1]), known, f"known keys: {', '.join(known)}")
        return f"{path if str(loc[-1]).isidentifier() else f'{path}.{shortened(str(loc[-1]))}'}: unknown key; {hint}"
    if loc and loc[-1] in _CHOICES:
        key, tags = _CHOICES[loc[-1]]
        if error["type"] == "union_tag_invalid":
            hint = did_you_mean(error["ctx"]["tag"], tags, f"expected {', '.join(map(repr, tags))}")
            return f"{path}.{key} is {shortened(error['ctx']['tag'])!r}: {hint}"
        if error["type"] == "union_tag_not_found":
            return f"{path}: has no `{key}`; expected {', '.join(map(repr, tags))}"
        if error["type"] in ("model_attributes_type", "model_type"):
            return f"{path}: expected a mapping with `{key}`, which is {', '.join(map(repr, tags))}"
    return f"{path}: {worded(error)}"


def _named(loc: tuple[Any, ...]) -> Iterator[str]:
    """An error's place as a person wrote it: without the kinds that were chosen, and pydantic's names for types."""
    for before, part in zip((None, *loc), loc, strict=False):
        chosen = before in _CHOICES and part in _CHOICES[before][1]
        if not chosen and (isinstance(part, int) or part.isidentifier()):
            yield shortened(str(part))


def _choice(union: Any, key: str) -> tuple[str, tuple[str, ...]]:
    members = get_args(get_args(union)[0])
    return key, tuple(member.model_fields[key].default for member in members)


_CHOICES: Mapping[Any, tuple[str, tuple[str, ...]]] = {
    "predictor": _choice(Predictor, "kind"),
    "likelihood": _choice(Likelihood, "kind"),
    "prior": _choice(Prior, "kind"),
    "schedule": _choice(Schedule, "kind"),
    "inference": _choice(Inference, "method"),
}
"""Settings that are one of several records, and the key that says which."""

_RECORDS: Mapping[str, type[Settings]] = {
    **{c.model_fields["kind"].default: c for c in (Linear, MLP, ConvNet, Formula, SupportVectors, BoostedTrees)},
    **{c.model_fields["kind"].default: c for c in get_args(get_args(Likelihood)[0])},
    **{c.model_fields["kind"].default: c for c in (Normal, Flat, Constant, Cosine, Plateau)},
    **{c.model_fields["method"].default: c for c in (Optimise, NUTS, HMC, PyMC, Library)},
    "init": Optimise,
}


def _keys_at(path: tuple[Any, ...]) -> list[str]:
    """The keys of the innermost record along an error's path."""
    record: type[Settings] = Learner
    for part in path:
        record = _RECORDS.get(part, record)
    return sorted(record.model_fields)
