"""Parameters of an address that nobody reads are refused: a condition that is misspelt would let everything through."""

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant

from models.spelling import did_you_mean
from services.api.errors import ApiError


def only_known(request: Request) -> None:
    """Refuse a request with a parameter that its operation does not have; for a router's `dependencies`."""
    known = list(dict.fromkeys(_names_of(request.scope["route"].dependant)))
    for name in request.query_params:
        if name not in known:
            shown = name[:80]
            has = f"there are {', '.join(known)}" if known else "there are none here"
            words = f"unknown parameter {shown!r}; {did_you_mean(name, known, has)}"
            raise ApiError("invalid_request", words, details=[{"at": f"query.{shown}", "message": words}])


def _names_of(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names_of(each)
