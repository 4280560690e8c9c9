"""The application: its routers, its middleware, and what they share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI

from services.api import analyses, bundles, health, schedules, sweeps, tables
from services.api.context import Context
from services.api.errors import HANDLERS, Faults
from services.api.heads import Heads
from services.api.limits import guard
from services.api.settings import Serving, serving
from services.api.traffic import Traffic
from services.web.routes import pages

ROUTERS = (health.router, tables.router, bundles.router, analyses.router, sweeps.router, schedules.router)

TAGS = [
    {"name": "sweeps", "description": "Sweeps: submitted, followed, stopped and resumed."},
    {"name": "schedules", "description": "Sweeps at planned times."},
    {"name": "tables", "description": "What is stored, as tables: filtered, selected, sorted, page by page."},
    {"name": "runs", "description": "Single runs and the parts of their bundles."},
    {"name": "analyses", "description": "What stored runs tell, computed when it is asked for."},
    {"name": "server", "description": "The server itself."},
]


def create_application(settings: Serving, end: Callable[[], None] | None = None) -> FastAPI:
    """An application with these settings. Store and ledger are opened when they are first asked for.

    Args:
        settings: where things are, who may ask, and how much.
        end: is called when what runs the application shuts it down.
    """
    context = Context(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if end is not None:
            end()
        context.close()

    app = FastAPI(
        title="Basin",
        version=metadata.version("basin"),
        summary="Deterministic nets, Bayesian nets and GLMs compared: runs, sweeps, comparisons.",
        openapi_tags=TAGS,
        docs_url=None,  # its page would be fetched from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # where to would be taken from the header Host
        exception_handlers=dict(HANDLERS),
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
    )
    app.state.context = context
    app.state.registry = health.registry_of(context)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(pages())
    # The last one sees a request first.
    app.add_middleware(Heads)
    app.add_middleware(Faults)
    app.add_middleware(Traffic, registry=app.state.registry)
    guard(app, settings.limits)
    return app


def application() -> FastAPI:
    """The application as the environment says, for servers that are given an import string."""
    return create_application(serving())
