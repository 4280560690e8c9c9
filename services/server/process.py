"""The HTTP server around an application: how long, and how large, a request may be before the application sees it."""

import asyncio

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0  # for a request's line and headers to come
IDLE_SECONDS = (
    75  # between requests: longer than clients and proxies keep one, or one may just be asking when it is cut
)
HEAD_BYTES = 64 * 2**10
STALLED_SECONDS = 60.0  # for a client to take some of what it asked for
GRACE_SECONDS = 5  # for answers that are under way when it ends


class Connection(HttpToolsProtocol):
    """A connection that is cut where its client keeps it without ever asking for something, or taking the answer.

    The parser by itself waits for ever, and keeps headers of any size.
    """

    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as its parent's
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on with a request."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._waiting is None:  # it is the first of a later request
                self._wait()
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Its headers are whole: from now on the application says how long it may take."""
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            raise ValueError("the headers are too large")  # it is answered as what is no HTTP
        self._go_on()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Expect another request's head, in peace until some of it comes."""
        if not self.pipeline:
            self._in_head, self._head_bytes = True, 0
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes nothing any more."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for."""
        self._go_on()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._go_on()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _go_on(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def server(application: FastAPI) -> uvicorn.Server:
    """A server that logs nothing by itself but what is wrong, and tells nobody what it is made of."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
