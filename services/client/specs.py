"""A sweep as it is given to the client: a file, a mapping as a file has it, or one that was made in Python."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.client.errors import BasinError

if TYPE_CHECKING:
    from services.sweeps.definition import Sweep

type Spec = Mapping[str, Any] | Path | str | Sweep


def read(spec: Spec) -> "Sweep | Mapping[str, Any]":
    """What is to be sent: a file is read here, with the learner files that it names; a mapping stays as it is.

    Raises:
        BasinError: the file cannot be read, or is no sweep.
    """
    if isinstance(spec, Mapping):
        return spec
    from models.spec.settings import SpecError
    from services.sweeps.definition import Sweep, read_sweep

    if isinstance(spec, Sweep):
        return spec
    if not isinstance(spec, str | Path):
        kind = type(spec).__name__
        raise BasinError("invalid_sweep", f"a {kind} is no sweep: give a mapping, the path of a sweep file, or a Sweep")
    try:
        return read_sweep(Path(spec))
    except SpecError as error:
        raise BasinError("invalid_sweep", str(error)) from None


def checked(name: str, what: str) -> str:
    """A name that a sweep or a schedule (`what`) can have.

    Raises:
        BasinError: none can have it.
    """
    from services.sweeps.definition import NAME, NAME_WORDS

    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise BasinError("not_found", f"no {what} {name!r}: {NAME_WORDS}")
    return name


def settled(spec: "Sweep | Mapping[str, Any]") -> "Sweep":
    """A sweep that means the same elsewhere and later.

    Raises:
        SpecError: what is wrong with it.
    """
    from services.sweeps.definition import Sweep, parse_sweep, settle

    return settle(spec if isinstance(spec, Sweep) else parse_sweep(spec))
