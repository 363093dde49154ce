"""Which model a server serves, and what kind of server it is; found out before the first image is sent."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from qdebias.backends.base import Fingerprint
from qdebias.backends.openai_http.answer import candidates
from qdebias.backends.openai_http.chat import PLAIN_SAMPLING, Json, conversation
from qdebias.backends.openai_http.connection import Session
from qdebias.backends.openai_http.failures import RefusedError
from qdebias.backends.openai_http.servers import Server, recognise
from qdebias.errors import BackendError, SettingError

_META = ("n_params", "size", "ftype")
"""What llama.cpp tells of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model on a server.

    Attributes:
        asked: The name under which it is asked for.
        reported: The name that its answers bear; a hosted service adds a date, for example.
        server: The kind of server.
        identity: What is known of the weights and the chat template.
        environment: What is known of the server.
        shows_prompts: Whether it shows the prompts that it makes.
    """

    asked: str
    reported: str
    server: Server
    identity: Mapping[str, str]
    environment: Mapping[str, str]
    shows_prompts: bool


def identify(session: Session, top_logprobs: int | None = None) -> Served:
    """Find out which model the server serves, and that it tells log-probabilities.

    Args:
        session: The connection.
        top_logprobs: How many of the most likely tokens will be asked for; None fits the server.

    Raises:
        BackendError: It does not serve the model, or gives no log-probabilities.
        SettingError: None is named, and it serves more or fewer than one.
    """
    entry = _chosen(session)
    asked = str(entry["id"])
    server = recognise(entry, asked)
    reply = _trial(session, server, asked, top_logprobs or server.traits.top)
    reported = str(reply.get("model") or asked)
    identity = {"backend": "openai", "model": _name(reported), **_weights(entry)}
    template = server.render(session, conversation("A question?", prefix="An answer"))
    if template is not None:
        identity["template"] = hashlib.blake2b(template.encode(), digest_size=8).hexdigest()
    environment = {
        "url": session.address.api,
        "server": server.traits.name,
        "system_fingerprint": str(reply.get("system_fingerprint") or "unknown"),
        "httpx2": importlib.metadata.version("httpx2"),
    }
    return Served(
        asked=asked,
        reported=reported,
        server=server,
        identity=identity,
        environment=environment,
        shows_prompts=template is not None,
    )


def _trial(session: Session, server: Server, model: str, top: int) -> Json:
    """Ask something short, as the options of a question will be asked for."""
    tokenizer = server.tokenizer(session)
    tokens = tokenizer.encode(" good")[:1] if tokenizer else None
    fields = {**PLAIN_SAMPLING, "top_logprobs": top, **server.reading(tokens)}
    reply = session.post(
        f"{session.address.api}/chat/completions", {"model": model, **conversation("Good or poor?"), **fields}
    )
    candidates(reply)
    return reply


def fingerprint(served: Served, form: str) -> Fingerprint:
    """Return the fingerprint of a model that is asked in the given form, see `OpenAIBackend`."""
    return Fingerprint(identity={**served.identity, "prompt": form}, environment=served.environment)


def _chosen(session: Session) -> Mapping[str, Any]:
    """Return what the server's list says about the model; a server may have no list."""
    name, url = session.address.model, f"{session.address.api}/models"
    try:
        reply = session.get(url)
    except RefusedError as error:
        if not error.absent:
            raise
        if not name:
            raise SettingError(f"{url} lists no models; name the one that is meant behind a #") from error
        return {"id": name}
    entries = _entries(reply, url)
    if not name and len(entries) == 1:
        return entries[0]
    for entry in entries:
        if name == entry["id"] or name in (entry.get("aliases") or ()):
            return entry
    names = ", ".join(str(entry["id"]) for entry in entries[:20]) or "none"
    if not name:
        raise SettingError(f"{url} lists {len(entries)} models; name the one that is meant behind a #: {names}")
    raise BackendError(f"{session.address.api} does not serve the model {name!r}; it serves: {names}")


def _entries(reply: Json, url: str) -> list[Mapping[str, Any]]:
    entries = reply.get("data")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
        raise BackendError(f"{url} is no list of models; correct the URL: it ends in /v1 on most servers")
    return entries


def _name(model: str) -> str:
    """Return the name of a model without the folder that it lies in on the server's machine."""
    return PurePosixPath(model).name if model.startswith("/") else model


def _weights(entry: Mapping[str, Any]) -> dict[str, str]:
    meta = entry.get("meta")
    return {name: str(meta[name]) for name in _META if name in meta} if isinstance(meta, Mapping) else {}
