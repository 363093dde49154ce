"""A connection as Uvicorn serves it, with limits of time and size on what comes before and after a request's body."""

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
"""Largest request line with all headers, in bytes."""

PIECE_BYTES = 64 * 1024
"""So much is taken from the socket before other connections have their turn."""


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """Closes a connection whose headers take too long or are too large, or whose body goes on after the answer.

    Attributes:
        deadline: Seconds until the headers of a request have to be there.
    """

    deadline: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Uvicorn's)
        super().__init__(*args, **kwargs)
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._head_bytes = 0
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first headers."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes are to be written."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes that arrived."""
        self._head_bytes += nbytes
        self.data_received(bytes(self._buffer[:nbytes]))
        if self._limit is not None and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a request."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Hand the request to the application, which has a deadline of its own."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is there, even if nobody wants it any more."""
        super().on_message_complete()
        self.cycle.more_body = False

    def on_response_complete(self) -> None:
        """Give a client that still sends some time to see the answer."""
        super().on_response_complete()
        if self.cycle.more_body:
            self.loop.call_later(self.timeout_keep_alive, self._close_unless_complete, self.cycle)

    def _close_unless_complete(self, cycle: Any) -> None:  # noqa: ANN401
        if cycle.more_body and not self.transport.is_closing():
            self.transport.close()

    def _await_head(self) -> None:
        if self._limit is None:
            self._head_bytes = 0
            self._limit = self.loop.call_later(self.deadline, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def server_config(app: ASGIApp, *, deadline: float, **more: Any) -> uvicorn.Config:  # noqa: ANN401 (Uvicorn's)
    """Return how Uvicorn serves an application of ours: a deadline for headers, and no words of its own."""
    connection = type("Connection", (Connection,), {"deadline": deadline})
    return uvicorn.Config(
        app, http=connection, log_config=None, access_log=False, server_header=False, ws="none", **more
    )
