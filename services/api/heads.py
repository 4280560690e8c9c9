"""HEAD wherever GET is answered: the same status and headers, and no body (RFC 9110, section 9.3.2)."""

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """ASGI middleware: what is inside of it sees a GET, and ends when its answer begins, or a stream would not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}
        with CancelScope() as work:

            async def sending(message: Message) -> None:
                if work.cancel_called:
                    return
                scope.update(as_get | {"method": "HEAD"})  # the route that was found, for what counts and logs
                await send(message)
                if message["type"] == "http.response.start":
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    work.cancel()

            await self._app(as_get, receive, sending)
