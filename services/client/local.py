"""A store's answers, from its files; what a server would do for others is done by processes of this machine."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

import polars as pl

from services.client.backend import Asked, RunFacts, Stands, Submitted, SweepFacts, Timing
from services.client.errors import BasinError
from services.document import Document
from services.geometry.document import GeometryDocument
from services.settings import settings
from services.store import Store

if TYPE_CHECKING:
    import altair as alt

    from services.local_launcher import LocalLauncher
    from services.queries import Query
    from services.sweeps import Sweep

LOOK_SECONDS = 1.0  # between two looks at how a sweep stands


def _told[**P, R](call: Callable[P, R]) -> Callable[P, R]:
    """With the errors of a store, a sweep or a schedule as those that a server would answer."""

    @wraps(call)
    def calling(*given: P.args, **named: P.kwargs) -> R:
        with telling():
            return call(*given, **named)

    return calling


@contextmanager
def telling() -> Iterator[None]:
    """Turn the errors of services into `BasinError`, by the codes of the HTTP interface."""
    from models.dataset import DataError
    from models.spec import SpecError
    from services.errors import ConflictError, NotStoredError, QueryError, ScheduleError, ServiceError

    try:
        yield
    except BasinError:
        raise
    except NotStoredError as error:
        raise BasinError("not_found", str(error)) from None
    except QueryError as error:
        raise BasinError("invalid_query", str(error)) from None
    except (SpecError, DataError) as error:
        raise BasinError("invalid_sweep", str(error)) from None
    except ScheduleError as error:
        raise BasinError("invalid_request", str(error)) from None
    except ConflictError as error:
        raise BasinError("conflict", str(error)) from None
    except ServiceError as error:
        raise BasinError("unavailable", str(error)) from None
