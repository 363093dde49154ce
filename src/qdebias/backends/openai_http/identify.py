"""Which model a server serves, and what kind of server it is; found out before the first image is sent."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from qdebias.backends.base import Fingerprint
from qdebias.backends.openai_http.answer import candidates, reported_name
from qdebias.backends.openai_http.chat import PLAIN_SAMPLING, Json, conversation
from qdebias.backends.openai_http.connection import Session
from qdebias.backends.openai_http.failures import PassingError, RefusedError
from qdebias.backends.openai_http.servers import Server, recognise
from qdebias.backends.prompt import PRESETS, Argument
from qdebias.errors import BackendError, SettingError

_NO_ENTRY = (401, 403)
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
        sampling: Fields of a request that ask for one token as the model would sample it.
        given: Arguments of the chat template that were asked for.
        arguments: The field of a request that gives the chat template its arguments; empty: there is none.
    """

    asked: str
    reported: str
    server: Server
    identity: Mapping[str, str]
    environment: Mapping[str, str]
    shows_prompts: bool
    sampling: Mapping[str, Any]
    given: Mapping[str, Argument] | None
    arguments: Mapping[str, Any]


def identify(
    session: Session, top_logprobs: int | None = None, template_args: Mapping[str, Argument] | None = None
) -> Served:
    """Find out which model the server serves, and that it tells log-probabilities.

    Args:
        session: The connection.
        top_logprobs: How many of the most likely tokens will be asked for; None fits the server.
        template_args: Arguments of the chat template; a server that is known to take some gets `PRESETS` too.

    Raises:
        BackendError: It does not serve the model, or gives no log-probabilities.
        SettingError: None is named, and it serves more or fewer than one.
    """
    entry = _chosen(session)
    asked = str(entry["id"])
    server = recognise(entry, asked)
    chosen = {**(PRESETS if server.traits.arguments else {}), **(template_args or {})}
    arguments = {"chat_template_kwargs": chosen} if chosen else {}
    reply, sampling = _trial(session, server, asked, top_logprobs or server.traits.top, arguments)
    reported = reported_name(reply) or asked
    identity = {"backend": "openai", "model": _name(reported), **_weights(entry)}
    if chosen:
        identity["template_args"] = json.dumps(chosen, sort_keys=True)
    template = server.render(session, {**conversation("A question?", prefix="An answer"), **arguments})
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
        sampling=sampling,
        given=template_args,
        arguments=arguments,
    )


def _trial(session: Session, server: Server, model: str, top: int, arguments: Json) -> tuple[Json, Json]:
    """Ask something short, as options will be asked for; return the reply, and the fields that worked."""
    tokenizer = server.tokenizer(session)
    tokens = tokenizer.encode(" good")[:1] if tokenizer else None
    asked = {"model": model, **conversation("Good or poor?"), **arguments}
    fields = {**asked, "top_logprobs": top, **server.reading(tokens)}
    sampling = dict(PLAIN_SAMPLING)
    url = f"{session.address.api}/chat/completions"
    try:
        reply = session.post(url, {**fields, **sampling})
    except RefusedError as error:
        if "max_completion_tokens" not in str(error):
            raise
        sampling["max_completion_tokens"] = sampling.pop("max_tokens")  # what newer servers call it
        reply = session.post(url, {**fields, **sampling})
    candidates(reply)
    return reply, sampling


def fingerprint(served: Served, form: str) -> Fingerprint:
    """Return the fingerprint of a model that is asked in the given form, see `OpenAIBackend`."""
    return Fingerprint(identity={**served.identity, "prompt": form}, environment=served.environment)


def _chosen(session: Session) -> Mapping[str, Any]:
    """Return what the server's list says about the model; a server may have no list that can be read."""
    name, url = session.address.model, f"{session.address.api}/models"
    try:
        entries = _entries(session.get(url))
    except (RefusedError, PassingError) as error:
        there = error.status not in _NO_ENTRY if isinstance(error, RefusedError) else not error.broken
        if not (name and there):
            if isinstance(error, RefusedError) and error.absent:
                raise SettingError(f"{url} lists no models; name the one that is meant behind a #") from error
            raise
        return {"id": name}
    if not entries and name:
        return {"id": name}
    if not name and len(entries) == 1:
        return entries[0]
    for entry in entries:
        aliases = entry.get("aliases")
        if name == entry["id"] or (isinstance(aliases, list) and name in aliases):
            return entry
    names = ", ".join(entry["id"] for entry in entries[:20]) or "none"
    if not name:
        raise SettingError(f"{url} lists {len(entries)} models; name the one that is meant behind a #: {names}")
    raise BackendError(f"{session.address.api} does not serve the model {name!r}; it serves: {names}")


def _entries(reply: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401  whatever the server sent
    """Return the models of a list, each with its id, whatever form the server gives it.

    OpenAI's has objects with an id under "data"; others have objects with a name, names alone, a bare list, or an
    object whose keys are the names.
    """
    listed = reply
    if isinstance(reply, dict):
        listed = next((reply[key] for key in ("data", "models") if isinstance(reply.get(key), list | dict)), reply)
    if isinstance(listed, dict):
        listed = [{"id": name, **entry} for name, entry in listed.items() if isinstance(entry, dict)]
    found: list[Mapping[str, Any]] = []
    for entry in listed if isinstance(listed, list) else ():
        fields = entry if isinstance(entry, dict) else {"id": entry}
        name = next((fields[key] for key in ("id", "name", "model") if isinstance(fields.get(key), str)), None)
        if name:
            found.append({**fields, "id": name})
    return found


def _name(model: str) -> str:
    """Return the name of a model without the folder that it lies in on the server's machine."""
    return PurePosixPath(model).name if model.startswith("/") else model


def _weights(entry: Mapping[str, Any]) -> dict[str, str]:
    meta = entry.get("meta")
    return {name: str(meta[name]) for name in _META if name in meta} if isinstance(meta, Mapping) else {}
