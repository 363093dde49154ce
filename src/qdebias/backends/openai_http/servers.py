"""The kinds of servers, and which kind and model an address serves."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from qdebias.backends.openai_http.chat import candidates, conversation
from qdebias.backends.openai_http.connection import Json, PassingError, RefusedError, Session
from qdebias.backends.prompt import PRESETS, Argument, Tokenizer
from qdebias.errors import BackendError, SettingError

Result = TypeVar("Result")

PLAIN_SAMPLING: Mapping[str, Any] = {"max_tokens": 1, "temperature": 1, "top_p": 1, "logprobs": True}
"""One token, sampled from the unmodified distribution, so that the log-probabilities are those of the logits."""

_FEWEST = 5  # most likely tokens to request if a server refuses more, as some hosted ones do
_META = ("n_params", "size", "ftype")  # what llama.cpp reports about its weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A kind of server; the defaults describe one of which only the common API is known."""

    name: str
    top: int = 20  # most likely tokens to request
    most: int = 0  # the same if an option is missing from them; 0 to not try again
    remedy: str = "ask for a longer list (top_logprobs) where the server allows it"  # if it is still missing
    arguments: bool = False  # whether it passes `chat_template_kwargs` to the chat template
    sampling: Mapping[str, Any] = field(default_factory=dict)  # more fields that keep log-probabilities unprocessed
    logprob_fields: Callable[[Sequence[int]], Json] = lambda _: {}  # to request options by their token ids
    render_path: str = ""  # of its endpoint that shows the prompt of a conversation; empty if it has none
    render_field: str = ""  # the field with the prompt in the answer, as text or as tokens
    text_field: str = ""  # the name of the text in requests to its tokenizer; empty if it has none
    tokenizer_fields: Mapping[str, Any] = field(default_factory=dict)  # more fields of these requests

    def render(self, session: Session, conversation: Json) -> str | None:
        """Return the prompt of a conversation; None if the server does not show it."""
        url = f"{session.connection.root}{self.render_path}"
        reply = _if_there(lambda: session.post(url, conversation)) if self.render_path else None
        if reply is None:
            return None
        prompt = _value(reply, self.render_field, url)
        if isinstance(prompt, list):
            return RemoteTokenizer(session, self.text_field, self.tokenizer_fields).decode(prompt)
        return str(prompt)

    def tokenizer(self, session: Session) -> Tokenizer | None:
        """Return the model's tokenizer, after trying it once; None if the server has no endpoint for it."""
        tokenizer = RemoteTokenizer(session, self.text_field, self.tokenizer_fields)
        works = self.text_field and _if_there(lambda: tokenizer.decode(tokenizer.encode("a"))) is not None
        return tokenizer if works else None


def _vllm(model: str) -> Server:
    """VLLM returns the log-probabilities of given token ids, whatever their rank.

    They are raw by default (--logprobs-mode). In case the server processes them, the sampling fields disable every
    processor, as the defaults in generation_config.json may mask most tokens. Versions without logprob_token_ids ignore
    it and return the most likely tokens.
    """
    return Server(
        name="vLLM",
        remedy="use a vLLM that knows logprob_token_ids (0.30 does), or start it with --max-logprobs 1000 and set "
        "top_logprobs=1000",
        arguments=True,
        logprob_fields=lambda tokens: {"logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True},
        sampling={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
        render_path="/tokenize",
        render_field="tokens",
        text_field="prompt",
        tokenizer_fields={"model": model, "add_special_tokens": False},
    )


def _llama(vocabulary: object) -> Server:
    """llama.cpp returns as many log-probabilities as are requested, raw, with token ids.

    It drops all of them if the sampled token is only a part of a character. So a bias makes it sample an option; the
    bias does not change the log-probabilities.
    """
    return Server(
        name="llama.cpp",
        top=500,  # which takes 45 kB a reply, and a vocabulary 15 MB
        most=vocabulary if isinstance(vocabulary, int) else 0,
        remedy="set top_logprobs to the size of the vocabulary",
        arguments=True,
        logprob_fields=lambda tokens: {"logit_bias": {str(tokens[0]): 100}},
        render_path="/apply-template",
        render_field="prompt",
        text_field="content",
    )


@dataclass(frozen=True, slots=True)
class RemoteTokenizer:
    """A `Tokenizer` on a server, behind /tokenize and /detokenize."""

    session: Session
    text_field: str
    fields: Mapping[str, Any]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        url = f"{self.session.connection.root}/tokenize"
        ids = _value(self.session.post(url, {**self.fields, self.text_field: text}), "tokens", url)
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise BackendError(
                f"{url} answers with tokens that are not numbers; it is not the kind of server that it claims to be"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        url = f"{self.session.connection.root}/detokenize"
        return str(_value(self.session.post(url, {**self.fields, "tokens": list(ids)}), self.text_field, url))


def _if_there(ask: Callable[[], Result]) -> Result | None:
    """Return the result; None if the server has nothing at that path."""
    try:
        return ask()
    except RefusedError as error:
        if not error.absent:
            raise
        return None


def _value(reply: Json, name: str, url: str) -> Any:  # noqa: ANN401  whatever the server sent
    if name not in reply:
        raise BackendError(f"{url} answers without {name!r}; it is another version of the server than is known here")
    return reply[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model on a server."""

    reported: str  # its name in answers; hosted services append a date to the requested name
    server: Server
    identity: Mapping[str, str]  # name, and facts about weights and template
    environment: Mapping[str, str]  # URL, kind and version of the server
    shows_prompts: bool
    template_args: Mapping[str, Argument] | None
    fields: Json  # of every request: the model and the arguments of the template
    sampling: Json  # of a completion: one token from the unmodified distribution


def identify(
    session: Session, top_logprobs: int | None = None, template_args: Mapping[str, Argument] | None = None
) -> Served:
    """Find out which model the server serves, and check that it returns log-probabilities.

    A server that is known to pass arguments to the chat template gets `PRESETS` beside `template_args`.
    """
    entry = _listed_model(session)
    name, owner, meta = str(entry["id"]), entry.get("owned_by"), entry.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    server = Server(name=str(owner or "unknown"), arguments=owner == "sglang")
    if owner == "vllm":
        server = _vllm(name)
    elif owner == "llamacpp":
        server = _llama(meta.get("n_vocab"))
    chosen = {**(PRESETS if server.arguments else {}), **(template_args or {})}
    fields = {"model": name, **({"chat_template_kwargs": chosen} if chosen else {})}
    try:
        reply, sampling = _try_out(session, server, fields, top_logprobs or server.top)
    except RefusedError as error:
        if top_logprobs or "top_logprobs" not in str(error) or server.render_path:
            raise
        server = replace(server, top=_FEWEST)
        reply, sampling = _try_out(session, server, fields, _FEWEST)
    reported = reported_name(reply) or name
    known = PurePosixPath(reported).name if reported.startswith("/") else reported  # without the folder on its machine
    identity = {"backend": "openai", "model": known, **{key: str(meta[key]) for key in _META if key in meta}}
    if chosen:
        identity["template_args"] = json.dumps(chosen, sort_keys=True)
    template = server.render(session, {**conversation("A question?", prefix="An answer"), **fields})
    if template is not None:
        identity["template"] = hashlib.blake2b(template.encode(), digest_size=8).hexdigest()
    environment = {
        "url": session.connection.api,
        "server": server.name,
        "system_fingerprint": str(reply.get("system_fingerprint") or "unknown"),
        "httpx2": importlib.metadata.version("httpx2"),
    }
    return Served(
        reported=reported,
        server=server,
        identity=identity,
        environment=environment,
        shows_prompts=template is not None,
        template_args=template_args,
        fields=fields,
        sampling=sampling,
    )


def reported_name(reply: Json) -> str | None:
    """Return the name of the model in a reply, None if there is none."""
    name = reply.get("model")
    return name if isinstance(name, str) and name else None


def _try_out(session: Session, server: Server, fields: Json, top: int) -> tuple[Json, Json]:
    """Send a short question in the way options are requested; return the reply and the sampling fields that worked."""
    tokenizer = server.tokenizer(session)
    tokens = tokenizer.encode(" good")[:1] if tokenizer else None
    asked = {**fields, **conversation("Good or poor?"), "top_logprobs": top}
    asked |= server.logprob_fields(tokens) if tokens else {}
    sampling = {**PLAIN_SAMPLING, **server.sampling}
    url = f"{session.connection.api}/chat/completions"
    try:
        reply = session.post(url, {**asked, **sampling})
    except RefusedError as error:
        if "max_completion_tokens" not in str(error):
            raise
        sampling["max_completion_tokens"] = sampling.pop("max_tokens")  # its name in newer servers
        reply = session.post(url, {**asked, **sampling})
    candidates(reply)
    return reply, sampling


def _listed_model(session: Session) -> Mapping[str, Any]:
    """Return the entry of the model in the server's list, or its name alone if the list is missing or unreadable."""
    name, url = session.connection.model, f"{session.connection.api}/models"
    try:
        entries = _entries(session.get(url))
    except (RefusedError, PassingError) as error:
        there = error.status not in (401, 403) if isinstance(error, RefusedError) else not error.broken
        if name and there:
            return {"id": name}
        if isinstance(error, RefusedError) and error.absent:
            raise SettingError(f"{url} lists no models; name the one you mean after a #") from error
        raise
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
        raise SettingError(f"{url} lists {len(entries)} models; name the one you mean after a #: {names}")
    raise BackendError(f"{session.connection.api} does not serve the model {name!r}; it serves: {names}")


def _entries(reply: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401  whatever the server sent
    """Return the models of a list, each with its id.

    OpenAI's list has objects with an id under "data"; others have objects with a name, names alone, a bare list, or an
    object with names as keys.
    """
    listed = reply
    if isinstance(reply, dict):
        listed = next((reply[key] for key in ("data", "models") if isinstance(reply.get(key), list | dict)), reply)
    if isinstance(listed, dict):
        listed = [{"id": name, **entry} for name, entry in listed.items() if isinstance(entry, dict)]
    models: list[Mapping[str, Any]] = []
    for entry in listed if isinstance(listed, list) else ():
        fields = entry if isinstance(entry, dict) else {"id": entry}
        name = next((fields[key] for key in ("id", "name", "model") if isinstance(fields.get(key), str)), None)
        if name:
            models.append({**fields, "id": name})
    return models
