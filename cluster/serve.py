"""An ASGI application as a deployment of Ray Serve: the only place that knows of it.

serve deploy deploy/serve.yaml
"""

import importlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

_REQUEST_ID = b"x-request-id"


class Options(BaseModel):
    """`args` of the application in the file that is deployed.

    Attributes:
        application: `MODULE:FUNCTION` that makes the application, one of Starlette or FastAPI, in each replica.
    """

    model_config = ConfigDict(extra="forbid")

    application: str


class OneRequestId:
    """Leaves the id of a request out of its answer, to which Serve adds it. ASGI middleware.

    Serve gives the application the id that it adds: the caller's, or a new one.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0].lower() != _REQUEST_ID]
            await send(message)

        await self._app(scope, receive, sending)


@serve.deployment(name="http")
@serve.ingress()
class Server:
    """A replica."""

    def __init__(self, application: str) -> None:
        self._module, _, self._function = application.partition(":")

    def __serve_build_asgi_app__(self) -> Any:
        app = getattr(importlib.import_module(self._module), self._function)()
        app.add_middleware(OneRequestId)
        return app


def build(options: Options) -> Application:
    """What Ray Serve deploys."""
    return Server.bind(options.application)
