"""Errors of services as the client's own, with the codes that the HTTP interface has for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from services.client.errors import BasinError


@contextmanager
def telling() -> Iterator[None]:
    """Turn errors that a person can mend into `BasinError`."""
    from models.data.dataset import DataError
    from models.spec.settings import SpecError
    from services.errors import ConflictError, NotStoredError, QueryError, ScheduleError, ServiceError

    codes = {
        NotStoredError: "not_found",
        QueryError: "invalid_query",
        ScheduleError: "invalid_request",
        ConflictError: "conflict",
        SpecError: "invalid_sweep",
        DataError: "invalid_sweep",
        ServiceError: "unavailable",
    }
    try:
        yield
    except BasinError:
        raise
    except tuple(codes) as error:
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        raise BasinError(code, str(error)) from None


def told[**P, R](call: Callable[P, R]) -> Callable[P, R]:
    """The same for all that a method raises."""

    @wraps(call)
    def calling(*given: P.args, **named: P.kwargs) -> R:
        with telling():
            return call(*given, **named)

    return calling
