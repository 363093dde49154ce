"""Where a server is: `<url>#<model>`."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from qdebias.errors import SettingError

FORM = "http://localhost:8000/v1#model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server and one of its models.

    Attributes:
        api: URL that the paths of the OpenAI API are put behind, such as "http://localhost:8000/v1".
        root: URL that the server's own paths are put behind, such as "http://localhost:8000".
        model: Name of the model; empty: the only one there is.
    """

    api: str
    root: str
    model: str

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own service."""
        return urlsplit(self.api).hostname == "api.openai.com"

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        host = urlsplit(self.api).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse_address(text: str) -> Address:
    """Return the address that `<url>#<model>` names; where the URL has no path, it is that of the API, /v1.

    Raises:
        SettingError: It is no such URL, or holds a password.
    """
    url, _, model = text.partition("#")
    parts = _split(url)
    path = parts.path.rstrip("/") or "/v1"
    api = parts._replace(path=path).geturl()
    return Address(api=api, root=api.removesuffix("/v1"), model=model)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if "@" in url:  # not quoted: it may hold a password
        raise SettingError(
            "the URL of a server must not hold a user name or password; put the key into QDEBIAS_API_KEY instead"
        )
    if not sound or parts.query:
        raise SettingError(f"{url!r} is no URL of a server; write it like openai:{FORM}")
    return parts
