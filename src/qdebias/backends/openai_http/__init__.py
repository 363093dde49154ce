"""Any OpenAI-compatible server as a backend: `openai:<url>#<model>`; what each server can do is in docs/servers.md.

- `connection`: how the server is talked to: retries, the key, errors in one line
- `chat`: what is sent, and what is read from the reply
- `servers`: what differs between servers, which one it is, and which model it serves
- `prompt`: the proof that the server asks what was requested
- `backend`: all of it as a `Backend`
"""

from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from qdebias.errors import SettingError

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server and one of its models (empty: the only one).

    `api`, such as "http://localhost:8000/v1", is what the paths of the OpenAI API are put behind, `root`, without
    /v1, those of the server's own.
    """

    api: str
    root: str
    model: str

    @property
    def host(self) -> str:
        """The name of the server's machine, or its number."""
        return urlsplit(self.api).hostname or ""


def parse_address(text: str) -> Address:
    """Return the address that `<url>#<model>` names; where the URL has no path, it is that of the API, /v1.

    Raises:
        SettingError: It is no such URL, or holds a password.
    """
    url, _, model = text.partition("#")
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
        raise SettingError(f"{url!r} is not the URL of a server; write it like openai:http://localhost:8000/v1#model")
    api = parts._replace(path=parts.path.rstrip("/") or "/v1").geturl()
    return Address(api=api, root=api.removesuffix("/v1"), model=model)
