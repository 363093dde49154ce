"""Fetching an image by URL, where the server was started to do so.

A name is resolved once for each connection, every address it has must be public, and the connection goes to the
address that was checked. Redirects are followed by hand, so each passes the same gate. Proxies of the environment are
not used, nothing is decompressed, nothing of the answer but its body is looked at.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore2
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream

from qdebias.service.addresses import is_public
from qdebias.service.refusal import Reason, Refusal

PORTS = {"http": 80, "https": 443}
REDIRECTS = 3
SECONDS = 5.0
"""For connecting and for each read; the request's deadline holds for all together."""
LONGEST_URL = 2048

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host name, for a port."""


async def resolve(host: str, port: int) -> list[str]:
    """Return what the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class PublicOnly(AsyncNetworkBackend):
    """Connects to public addresses alone.

    Args:
        resolver: Finds the addresses.
        inner: Makes the connections.
    """

    def __init__(self, resolver: Resolver, inner: AsyncNetworkBackend) -> None:
        self._resolver = resolver
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Resolve, check, and connect to the address that was checked.

        Raises:
            Refusal: An address of the host is not public.
        """
        addresses = await self._resolver(host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise Refusal(Reason.URL_REFUSED)
        return await self._inner.connect_tcp(
            addresses[0], port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )


class Fetcher:
    """Fetches what URLs name.

    Args:
        most: Largest body, in bytes.
        resolver: Finds the addresses of a host name.
        network: Makes the connections.
    """

    def __init__(self, *, most: int, resolver: Resolver = resolve, network: AsyncNetworkBackend | None = None) -> None:
        self._most = most
        self._network = PublicOnly(resolver, network or httpcore2.AnyIOBackend())
        self._ssl = httpcore2.default_ssl_context()

    async def fetch(self, url: str) -> bytes:
        """Return the body that a URL gives.

        Raises:
            Refusal: The URL or a redirect is not allowed, or there is no body within the limits.
        """
        try:
            for _ in range(1 + REDIRECTS):
                check_url(url)
                body, target = await self._get(url)
                if target is None:
                    return body
                url = urljoin(url, target)
        except (OSError, UnicodeError, ValueError, *_HTTP_ERRORS) as error:
            raise Refusal(Reason.URL_FAILED) from error
        raise Refusal(Reason.URL_FAILED)

    async def _get(self, url: str) -> tuple[bytes, str | None]:
        """Return the body, or where a redirect leads."""
        headers: dict[bytes | str, bytes | str] = {
            "host": urlsplit(url).netloc,
            "user-agent": "qdebias",
            "accept": "image/*",
            "accept-encoding": "identity",
        }
        times = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)}
        async with (
            httpcore2.AsyncConnectionPool(ssl_context=self._ssl, network_backend=self._network) as pool,
            pool.stream("GET", url, headers=headers, extensions=times) as answer,
        ):
            if 300 <= answer.status < 400:
                named = {name.lower(): value for name, value in answer.headers}
                return b"", named[b"location"].decode("ascii")
            if answer.status != 200:
                raise Refusal(Reason.URL_FAILED)
            return await self._read(answer), None

    async def _read(self, answer: httpcore2.Response) -> bytes:
        body = bytearray()
        async for chunk in answer.aiter_stream():
            body += chunk
            if len(body) > self._most:
                raise Refusal(Reason.URL_FAILED)
        return bytes(body)


def check_url(url: str) -> None:
    """Refuse a URL by its form.

    Raises:
        Refusal: It is not http or https, has a user, an odd port, or characters that do not belong in a URL.
    """
    try:
        parts = urlsplit(url)
        sound = _is_sound(url, parts)
    except ValueError as error:
        raise Refusal(Reason.URL_REFUSED) from error
    if not sound:
        raise Refusal(Reason.URL_REFUSED)


def _is_sound(url: str, parts: SplitResult) -> bool:
    plain = url.isascii() and url.isprintable() and not set(url) & set(" \\") and len(url) <= LONGEST_URL
    scheme = parts.scheme in PORTS and parts.port in (None, PORTS[parts.scheme])
    return plain and scheme and bool(parts.hostname) and "@" not in parts.netloc and "%" not in parts.netloc


_HTTP_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, KeyError)
