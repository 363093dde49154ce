"""Fetching images by URL, if the server was started with --allow-urls.

A host name is resolved once per connection, all its addresses must be public, and the connection goes to an address
that was checked. Redirects are followed by hand, so that each is checked too. Proxies of the environment are not used,
and nothing is decompressed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urljoin, urlsplit

import httpcore2
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream

from qdebias.service.refusal import Reason, Refusal

PORTS = {"http": 80, "https": 443}
REDIRECTS = 3
SECONDS = 5.0  # for connecting and for each read; the request's deadline holds for all together
LONGEST_URL = 2048

Resolver = Callable[[str, int], Awaitable[list[str]]]  # returns the addresses of a host name, for a port


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses that the system's resolver gives."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


_FAILURES = (
    *(OSError, ValueError, KeyError),
    *(httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException),
)


class PublicOnly(AsyncNetworkBackend):
    """Connects to public addresses only."""

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
        """Resolve, check, and connect to the address that was checked."""
        addresses = await self._resolver(host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise Refusal(Reason.URL_REFUSED)
        return await self._inner.connect_tcp(
            addresses[0], port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )


class Fetcher:
    """Fetches files of at most `most` bytes by URL."""

    def __init__(self, *, most: int, resolver: Resolver = resolve, network: AsyncNetworkBackend | None = None) -> None:
        self._most = most
        self._network = PublicOnly(resolver, network or httpcore2.AnyIOBackend())
        self._ssl = httpcore2.default_ssl_context()

    async def fetch(self, url: str) -> bytes:
        """Return the content of a URL."""
        try:
            for _ in range(1 + REDIRECTS):
                check_url(url)
                body, target = await self._get(url)
                if target is None:
                    return body
                url = urljoin(url, target)
        except _FAILURES as error:
            raise Refusal(Reason.URL_FAILED) from error
        raise Refusal(Reason.URL_FAILED)

    async def _get(self, url: str) -> tuple[bytes, str | None]:
        """Return the body, or the target of a redirect."""
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
            body = bytearray()
            async for chunk in answer.aiter_stream():
                body += chunk
                if len(body) > self._most:
                    raise Refusal(Reason.URL_FAILED)
            return bytes(body), None


def check_url(url: str) -> None:
    """Refuse a URL that is malformed or has an unusual scheme, port, user or character."""
    try:
        parts = urlsplit(url)
        usual = parts.scheme in PORTS and parts.port in (None, PORTS[parts.scheme])
    except ValueError as error:
        raise Refusal(Reason.URL_REFUSED) from error
    plain = url.isascii() and url.isprintable() and not set(url) & set(" \\") and len(url) <= LONGEST_URL
    if not (usual and plain and parts.hostname) or "@" in parts.netloc or "%" in parts.netloc:
        raise Refusal(Reason.URL_REFUSED)


NOT_PUBLIC = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96
64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 5f00::/16
fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
"""This host; private networks, and those of carriers (a cloud's metadata is at 100.100.100.200); a cloud's host that is
public by number (168.63.129.16); link-local (metadata at 169.254.169.254); documentation; relays of 6to4; multicast;
IPv4 inside IPv6: compatible, mapped, translated, NAT64, Teredo, 6to4; unique local (metadata at fd00:ec2::254)."""

_REFUSED = tuple(map(ip_network, NOT_PUBLIC.split()))

_ISATAP = (0x00005EFE, 0x02005EFE)  # third quarter of an IPv6 address that carries an IPv4 address in its last one


def is_public(text: str) -> bool:
    """Return whether an address is on the public Internet; one with a zone never is."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and (address.scope_id or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP):
        return False
    listed = any(address.version == network.version and address in network for network in _REFUSED)
    return address.is_global and not address.is_multicast and not listed
