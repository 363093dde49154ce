"""A cable between a command and a server on this machine, which can be cut, mended and squeezed."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Cable:
    """Passes on what comes to a port; `plugged` makes one.

    Args:
        target: Port of the server.

    Attributes:
        port: The port that stands for it.
    """

    def __init__(self, target: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._listener: socket.socket | None = None
        self._joins: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    def cut(self) -> None:
        """Break every connection off in the midst of what it says, and take no new one."""
        self._do(self._cut())

    def mend(self) -> None:
        """Take connections again."""
        self._do(self._mend())

    def squeeze(self) -> None:
        """Keep connections open, and let nothing through."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def release(self) -> None:
        """Let everything through again."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def renew(self) -> None:
        """Break off what waits, and let everything else through."""
        self.cut()
        self.release()
        self.mend()

    def close(self) -> None:
        """Remove it."""
        self._do(self._remove())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _remove(self) -> None:
        await self._cut()
        for join in self._joins:
            join.cancel()
        await asyncio.gather(*self._joins, return_exceptions=True)
        await self._cut()  # what was half joined
        await asyncio.sleep(0.05)  # until all sockets are closed

    async def _mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._take, self._listener)

    def _take(self, listener: socket.socket) -> None:
        """Take one connection, where nothing can be cancelled: asyncio forgets connections that it has half taken."""
        with suppress(BlockingIOError, ConnectionError):
            near, _ = listener.accept()
            near.setblocking(False)
            self._joins.add(self._loop.create_task(self._join(near)))

    async def _join(self, near: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=near)
        except asyncio.CancelledError:
            near.close()
            raise
        self._ends.add(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._ends.add(far_writer)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 12):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def plugged(target: int) -> Iterator[Cable]:
    """Put a cable before a server."""
    cable = Cable(target)
    try:
        yield cable
    finally:
        cable.close()
