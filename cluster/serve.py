"""An ASGI application as a deployment of Ray Serve: the only place that knows of it.

serve deploy deploy/serve.yaml
"""

import importlib
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application


class Options(BaseModel):
    """`args` of the application in the file that is deployed.

    Attributes:
        application: `MODULE:FUNCTION` that makes the ASGI application, in each replica.
    """

    model_config = ConfigDict(extra="forbid")

    application: str


@serve.deployment(name="http")
@serve.ingress()
class Server:
    """A replica."""

    def __init__(self, application: str) -> None:
        self._module, _, self._function = application.partition(":")

    def __serve_build_asgi_app__(self) -> Any:
        return getattr(importlib.import_module(self._module), self._function)()


def build(options: Options) -> Application:
    """What Ray Serve deploys."""
    return Server.bind(options.application)
