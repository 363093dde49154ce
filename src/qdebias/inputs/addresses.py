"""Paths, and addresses such as s3://, gs://, hf:// and https://.

Everything is fetched through fsspec, with a limit of time and of size, and a few retries where the network fails.
"""

import logging
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import responses
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from qdebias.errors import ImageError, MissingPackageError, QdebiasError, SettingError

is_there, is_folder = os.path.exists, os.path.isdir  # those of Path raise where the system refuses the name

MAX_BYTES = 200_000_000  # largest image that is fetched, in bytes: more than 50 megapixels take without any compression
SECONDS = 60.0  # how long one image may take to arrive
ATTEMPTS = 3  # how often a fetch is tried before the image fails
BLOCK = 8 << 20  # bytes that are read at a time from a shard or table

_SILENCE = logging.NullHandler()
"""Keeps the log of a package from stderr, where its failures are reported as ours, unless logging is configured."""

_SECRET = re.compile(
    r"x-(amz|goog|oss|cos|ms|obs)-.*|(google)?accessid|awsaccesskeyid|ossaccesskeyid|signature|sig|s[epvrt]|spr|sip|sk(oid|tid|t|e|s|v)|"
    r"key-pair-id|policy|expires|.*token.*|.*secret.*|.*password.*|api_?key|auth|hdnea",
    re.IGNORECASE,
)
"""Parameters of signed addresses: Amazon, Google, Azure, Alibaba, Tencent, Huawei, Akamai, and usual names of keys."""


def is_address(name: str) -> bool:
    """Whether a name is an address and not a path."""
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.isalnum()


def unsigned(name: str) -> str:
    """Return an address without password and signature, as it is shown in results, messages and run folders."""
    if not is_address(name) or not ("?" in name or "@" in name):
        return name
    parts = urlsplit(name)
    query = "&".join(one for one in parts.query.split("&") if not _SECRET.fullmatch(one.partition("=")[0]))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))


def read_address(address: str) -> bytes:
    """Return the bytes behind an address, or raise an ImageError, or a MissingPackageError."""
    from tenacity import Retrying, retry_if_exception_type, retry_if_not_exception_type, stop_after_attempt
    from tenacity import wait_random_exponential as wait

    final = (FileNotFoundError, PermissionError, IsADirectoryError, ValueError)  # not better at another try
    try:
        with explained(address):
            files, path = open_filesystem(address)
            passing = retry_if_exception_type(failures()) & retry_if_not_exception_type(final)
            attempts = 1 if "gs" in files.protocol else ATTEMPTS  # whose package tries for most of a minute by itself
            waits = wait(multiplier=0.2, max=5)
            trying = Retrying(stop=stop_after_attempt(attempts), wait=waits, retry=passing, reraise=True)
            data: bytes = trying(_read, files, path)
    except SettingError as error:
        raise ImageError(str(error)) from error
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"{unsigned(address)}: more than {MAX_BYTES / 1e6:.0f} MB, the most that is fetched for one image"
        )
    return data


def _read(files: Any, path: str) -> bytes:  # noqa: ANN401 (fsspec has no types)
    """Return at most about a megabyte more than `MAX_BYTES`."""
    from fsspec.asyn import sync

    if "http" in files.protocol:  # in parts: a server need not support ranges, nor send the size first
        end, data = time.monotonic() + SECONDS, bytearray()
        with files.open(path, "rb", block_size=0, size=1) as stream:  # both together: one request, no question first
            while len(data) <= MAX_BYTES and (part := stream.read(1 << 20)):
                data += part
                if time.monotonic() > end:
                    raise TimeoutError
        return bytes(data)
    if files.async_impl:
        return bytes(sync(files.loop, files._cat_file, path, start=0, end=MAX_BYTES + 1, timeout=SECONDS))
    return bytes(files.cat_file(path, start=0, end=MAX_BYTES + 1))


def open_filesystem(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, with our limits of time, and the path in it."""
    try:
        from fsspec import get_filesystem_class
        from fsspec.config import apply_config
        from fsspec.core import url_to_fs

        scheme = address.partition("://")[0]
        users = apply_config(get_filesystem_class(scheme), {})  # FSSPEC_HTTP is meant for https:// too
        options: dict[str, dict[str, Any]] = {}
        if scheme in ("s3", "s3a"):
            waits = {"connect_timeout": 10, "read_timeout": SECONDS, "retries": {"max_attempts": 5}}
            options = {"config_kwargs": waits}
        elif scheme in ("http", "https"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(sock_connect=10, sock_read=SECONDS)
            options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}  # the proxy of the environment
        elif scheme in ("gs", "gcs"):
            options = {"session_kwargs": {"trust_env": True}}
        options = {key: {**value, **users.get(key, {})} for key, value in options.items()}
        files, path = url_to_fs(address, use_listings_cache=False, **options)
    except ImportError as error:
        raise MissingPackageError(f'{unsigned(address)}: {error}; pip install "qdebias[cloud]"') from error
    except ValueError as error:
        raise SettingError(
            f"{unsigned(address)}: {error}; addresses begin with s3://, gs://, hf://, http:// or https://"
        ) from error
    logging.getLogger("gcsfs").addHandler(_SILENCE)
    return files, path


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn the errors of fsspec and the packages below it into one SettingError that names the address."""
    try:
        yield
    except FileNotFoundError as error:
        status = getattr(error.__cause__ or error.__context__, "status", 404)  # fsspec raises it for every refusal
        words = "there is nothing at this address"
        if status not in (404, 410):
            expired = "; a signed address may have expired, or credentials are missing" if status in (401, 403) else ""
            words = f"cannot be read (the server answers {status} {responses.get(status, '')}{expired})"
        raise SettingError(f"{unsigned(address)}: {words}") from error
    except TimeoutError as error:
        raise SettingError(f"{unsigned(address)}: did not arrive within {SECONDS:.0f} s") from error
    except QdebiasError:
        raise
    except failures() as error:
        raise SettingError(f"{unsigned(address)}: cannot be read ({words_of(error)})") from error


def words_of(error: Exception) -> str:
    """Return the message of an error in one line, addresses in it without signatures."""
    own = getattr(error, "strerror", None) if type(error).__module__ == "builtins" else None  # of the system
    words = own or " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"[a-z0-9]+://[^\s'\"]+", lambda found: unsigned(found[0]), words)


def failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that the loaded packages raise where something cannot be read."""
    kinds = {
        "aiohttp": ("ClientError",),
        "botocore.exceptions": ("BotoCoreError", "ClientError"),
        "gcsfs.retry": ("ChecksumError", "HttpError"),
        "google.auth.exceptions": ("GoogleAuthError",),
        "httpx": ("HTTPError",),
        "httpx2": ("HTTPError",),  # huggingface_hub uses one or the other, by its release
    }
    loaded = ((sys.modules[module], names) for module, names in kinds.items() if module in sys.modules)
    known = (OSError, EOFError, ValueError)  # the last is what gcsfs raises where a request is refused as malformed
    return (*known, *(getattr(module, name) for module, names in loaded for name in names))


@contextmanager
def open_container(name: str, *, block: int = BLOCK) -> Iterator[IO[bytes]]:
    """Open a shard, table or list; from an address, `block` bytes are read at a time."""
    if is_address(name):
        with explained(name):
            files, path = open_filesystem(name)
            with files.open(path, "rb", block_size=block) as stream:
                yield stream
        return
    try:
        with Path(name).open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise SettingError(f"{name}: no such file") from error
    except OSError as error:
        raise SettingError(f"{name}: cannot be read ({error.strerror or error})") from error


def beside(container: str, name: str) -> str:
    """Return the path or address of a name in a list or table.

    A relative name is relative to the folder of the list, or, if no such file exists, to the working folder (as
    `datasets` has it).
    """
    if is_address(name):
        return name
    if is_address(container):
        with_query = container.startswith(("http://", "https://"))
        address, mark, query = container.partition("?") if with_query else (container, "", "")
        return f"{address.rpartition('/')[0]}/{name.lstrip('/')}{mark}{query}"
    own = true_name(str(Path(container).parent / name))
    return own if is_there(own) or not is_there(true_name(name)) else true_name(name)


def true_name(path: str) -> str:
    """Return a path in the spelling that exists on disk: accents composed or decomposed, backslashes or slashes."""
    if is_there(path) or (path.isascii() and "\\" not in path):
        return path
    spelled = (unicodedata.normalize(form, one) for one in (path, path.replace("\\", "/")) for form in ("NFC", "NFD"))
    return next(filter(is_there, spelled), path)


def absolute_name(name: str) -> str:
    """Return the absolute form of a path, or of a member of a local container; an address is absolute."""
    return name if is_address(name) else os.path.join(os.getcwd(), name)  # noqa: PTH109, PTH118 (a member is no path)


def true_path(path: str, real_folder: Callable[[str], str]) -> str:
    """Return the true path of a file; `real_folder` is `os.path.realpath`, cached for one pass over many files."""
    if os.path.islink(path):  # noqa: PTH114 (names are text here, which is faster)
        return os.path.realpath(path)
    folder, base = os.path.split(path)
    return os.path.normcase(os.path.join(real_folder(folder or "."), base))  # noqa: PTH118
