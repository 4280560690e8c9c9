"""Whether the server is up and ready, which version it is, and figures for Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import Field
from starlette.responses import Response

from models.runs.result import Status
from models.spec.settings import SCHEMA_VERSION, Settings
from services.api.access import requires
from services.api.context import Context, Here
from services.api.errors import COMMON, RETRY_SECONDS, ApiError, documented
from services.errors import ServiceError
from services.store.location import VERSION
from services.store.tables import evaluate
from services.submissions.states import SweepState, all_stand, known

router = APIRouter(tags=["server"])


class Health(Settings):
    """That the process is up."""

    status: Literal["ok"] = "ok"


class Readiness(Settings):
    """That store and ledger answer."""

    ready: Literal[True] = True


class Version(Settings):
    """What answers."""

    version: Annotated[str, Field(examples=["0.1.0"])]
    """Of Basin."""
    schema_version: int
    """Of the store and of run keys."""


@router.get("/health", operation_id="health", summary="Whether the process is up", responses=documented("internal"))
async def health() -> Health:
    """Answers as soon as the process does."""
    return Health()


@router.get(
    "/ready", operation_id="ready", summary="Whether store and ledger answer", responses=documented("unavailable")
)
def ready(context: Here) -> Readiness:
    """Whether requests can be answered: says yes, or 503, also where the table that most of them read is damaged."""
    try:
        there = context.store.storage.exists("", VERSION)
        context.store.scan("runs")
        with context.ledger.reading() as connection:
            connection.exec_driver_sql("select 1")
    except ServiceError:
        there = False
    if not there:
        raise ApiError("unavailable", "not ready: try again in some seconds", {"Retry-After": str(RETRY_SECONDS)})
    return Readiness()


@router.get(
    "/api/v1/version", operation_id="version", summary="Version and schema version", responses=documented("internal")
)
async def version() -> Version:
    """The version of Basin, and that of the schema of its stores."""
    return Version(version=metadata.version("basin"), schema_version=SCHEMA_VERSION)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    dependencies=[requires("read")],
    responses={
        200: {
            "description": "In the text format of Prometheus.",
            "content": {CONTENT_TYPE_LATEST.partition(";")[0]: {"schema": {"type": "string"}}},
        },
        **documented(*COMMON),
    },
)
def metrics(request: Request) -> Response:
    """Requests and their latency by route, sweeps by state, runs by status."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


class Stored(Collector):
    """What the store holds, counted when it is asked for."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> Iterable[Metric]:
        """Nothing is known beforehand, so that registering reads no store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Runs by status, sweeps by state, and whether they could be read."""
        up = GaugeMetricFamily("basin_store_up", "Whether the store can be read: 1 or 0.")
        try:
            runs, sweeps = self._runs(), self._sweeps()
        except ServiceError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        yield _gauge("basin_runs", "Stored runs by the status of their last attempt.", "status", runs, get_args(Status))
        yield _gauge("basin_sweeps", "Sweeps by state.", "state", sweeps, get_args(SweepState))

    def _runs(self) -> Counter[str]:
        store = self._context.store
        counts = store.runs().group_by("status").len()
        return Counter(dict(evaluate(store.storage, "runs", counts).iter_rows()))

    def _sweeps(self) -> Counter[str]:
        store, ledger = self._context.store, self._context.ledger
        return Counter(each.state for each in all_stand(store, ledger, known(store, ledger)))


def _gauge(name: str, about: str, label: str, counts: Counter[str], labels: Iterable[str]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, about, labels=(label,))
    for each in labels:
        gauge.add_metric((each,), counts[each])
    return gauge


def registry_of(context: Context) -> CollectorRegistry:
    """A registry of the application's own, with what the store holds."""
    registry = CollectorRegistry()
    registry.register(Stored(context))
    return registry
