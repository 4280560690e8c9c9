"""Every measure by its name, and what a person asks for: a name with settings."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from models.geometry.definition import Definition
from models.geometry.families import (
    curvature,
    effective_dimension,
    eigenvalues,
    laplace,
    learning_coefficient,
    margins,
    norms,
    pac_bayes,
    sharpness,
    slices,
    spectral_density,
)
from models.spec.settings import Settings, SpecError, shortened, worded
from models.spelling import did_you_mean

_FAMILIES = (
    curvature,
    eigenvalues,
    spectral_density,
    sharpness,
    norms,
    margins,
    pac_bayes,
    effective_dimension,
    learning_coefficient,
    laplace,
    slices,
)
CATALOGUE: Mapping[str, Definition] = {
    definition.name: definition for family in _FAMILIES for definition in family.DEFINITIONS
}


class Ask(NamedTuple):
    """A measure with all its settings; hashable, so that programs are found again."""

    measure: str
    settings: Settings

    @property
    def definition(self) -> Definition:
        """What is known of the measure."""
        return CATALOGUE[self.measure]


def ask(measure: str, **settings: Any) -> Ask:
    """Ask for a measure; settings that are not given have their defaults.

    Raises:
        SpecError: an unknown measure, with the nearest names, or a setting that it does not have or cannot take.
    """
    if measure not in CATALOGUE:
        hint = did_you_mean(measure, CATALOGUE, f"choose from {', '.join(CATALOGUE)}")
        raise SpecError(f"unknown measure {shortened(measure)!r}: {hint}")
    record = CATALOGUE[measure].settings
    try:
        return Ask(measure, record.model_validate(settings))
    except ValidationError as error:
        known = ", ".join(record.model_fields) or "none"
        faults = [
            f"unknown setting; it has {known}" if e["type"] == "extra_forbidden" else worded(e) for e in error.errors()
        ]
        paths = [".".join([measure, *map(str, e["loc"])]) for e in error.errors()]
        raise SpecError("\n".join(f"{path}: {fault}" for path, fault in zip(paths, faults, strict=True))) from None


def parse_asks(entries: Sequence[Any]) -> tuple[Ask, ...]:
    """Read a list of measures as a file has it: names, or mappings with `measure` and settings. Twins are dropped.

    Raises:
        SpecError: with the fault and its remedy.
    """
    found = []
    for i, entry in enumerate(entries):
        if isinstance(entry, str):
            found.append(ask(entry))
        elif isinstance(entry, Mapping) and isinstance(entry.get("measure"), str):
            found.append(ask(entry["measure"], **{str(k): v for k, v in entry.items() if k != "measure"}))
        else:
            raise SpecError(f"measures.{i}: expected a measure's name, or a mapping with `measure` and its settings")
    return tuple(dict.fromkeys(found))
