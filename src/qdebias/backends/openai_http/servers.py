"""What differs between servers, which one it is, and which model it serves."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from qdebias.backends.openai_http import Json
from qdebias.backends.openai_http.chat import PLAIN_SAMPLING, candidates, conversation, reported_name
from qdebias.backends.openai_http.connection import PassingError, RefusedError, Session
from qdebias.backends.prompt import PRESETS, Argument, Tokenizer
from qdebias.errors import BackendError, SettingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A kind of server; as it stands, one of which nothing is known beyond the API that all have in common.

    Attributes:
        name: What it is called.
        top: How many of the most likely tokens are requested at first.
        most: How many at most; 0: no more than `top`.
        remedy: What helps where an option is missing nevertheless.
        arguments: Whether it hands `chat_template_kwargs` to the chat template.
    """

    name: str
    top: int = 20
    most: int = 0
    remedy: str = "ask for a longer list (top_logprobs) where the server allows it"
    arguments: bool = False

    def logprob_fields(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the fields of a request that let the server tell the options' probabilities.

        Args:
            tokens: (K,) ids of the options, None where they are not known.
        """
        return {}

    def render(self, session: Session, conversation: Json) -> str | None:  # noqa: ARG002
        """Return the prompt that a conversation becomes, None where the server does not show it."""
        return None

    def tokenizer(self, session: Session) -> Tokenizer | None:  # noqa: ARG002
        """Return the model's tokenizer, None where the server does not lend it."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmServer(Server):
    """vLLM: tells the log-probabilities of tokens that are named by id, whatever their rank.

    The log-probabilities are raw by default (--logprobs-mode). Should the server process them, the fields below leave
    nothing to process: its defaults come from the model's generation_config.json and may cut off all but some tokens.
    Versions that do not know logprob_token_ids ignore it and return the most likely tokens.
    """

    model: str
    name: str = "vLLM"
    remedy: str = (
        "use a vLLM that knows logprob_token_ids (0.30 does), or start it with --max-logprobs 1000 and set "
        "top_logprobs=1000"
    )
    arguments: bool = True

    def logprob_fields(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:
        """Ask for exactly the options, and for ids instead of texts."""
        unprocessed = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        if tokens is None:
            return unprocessed
        return {**unprocessed, "logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True}

    def render(self, session: Session, conversation: Json) -> str | None:
        """Let the server apply its template and its tokenizer, and decode what comes of it."""
        url = f"{session.address.root}/tokenize"
        reply = _if_there(lambda: session.post(url, {"model": self.model, **conversation}))
        return None if reply is None else self._tokenizer(session).decode(_field(reply, "tokens", url))

    def tokenizer(self, session: Session) -> Tokenizer | None:
        """Return the tokenizer behind /tokenize and /detokenize."""
        return _if_there(self._tokenizer(session).tried)

    def _tokenizer(self, session: Session) -> "RemoteTokenizer":
        return RemoteTokenizer(session, "prompt", {"model": self.model, "add_special_tokens": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaServer(Server):
    """llama-server of llama.cpp: returns as many log-probabilities as are requested, raw, with token ids."""

    name: str = "llama.cpp"
    top: int = 500  # which takes 45 kB a reply, and a vocabulary 15 MB
    remedy: str = "set top_logprobs to the size of the vocabulary"
    arguments: bool = True

    def logprob_fields(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:
        """Let an option be the sampled token.

        The bias changes what is sampled and not the log-probabilities. Without it, the server drops all of them when
        it happens to sample a token that is only a part of a letter.
        """
        return {} if tokens is None else {"logit_bias": {str(tokens[0]): 100}}

    def render(self, session: Session, conversation: Json) -> str | None:
        """Let the server apply its template."""
        url = f"{session.address.root}/apply-template"
        reply = _if_there(lambda: session.post(url, conversation))
        return None if reply is None else str(_field(reply, "prompt", url))

    def tokenizer(self, session: Session) -> Tokenizer | None:
        """Return the tokenizer behind /tokenize and /detokenize."""
        return _if_there(RemoteTokenizer(session, "content", {}).tried)


@dataclass(frozen=True, slots=True)
class RemoteTokenizer:
    """The tokenizer on a server; `field` is what it calls the text, `extra` what else it wants."""

    session: Session
    field: str
    extra: Mapping[str, Any]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`: special tokens in it are recognised, none is added."""
        url = f"{self.session.address.root}/tokenize"
        ids = _field(self.session.post(url, {**self.extra, self.field: text}), "tokens", url)
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise BackendError(
                f"{url} answers with tokens that are not numbers; it is not the kind of server that it claims to be"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        url = f"{self.session.address.root}/detokenize"
        return str(_field(self.session.post(url, {**self.extra, "tokens": list(ids)}), self.field, url))

    def tried(self) -> "RemoteTokenizer":
        """Return it after it has worked once."""
        self.decode(self.encode("a"))
        return self


def recognise(entry: Mapping[str, Any], model: str) -> Server:
    """Return the kind of a server, from what its list of models says about the model."""
    owner = entry.get("owned_by")
    if owner == "vllm":
        return VllmServer(model=model)
    if owner == "llamacpp":
        meta = entry.get("meta")
        size = meta.get("n_vocab") if isinstance(meta, Mapping) else 0
        return LlamaServer(most=size if isinstance(size, int) else 0)
    return Server(name=str(owner or "unknown"), arguments=owner == "sglang")


Found = TypeVar("Found")


def _if_there(ask: Callable[[], Found]) -> Found | None:
    """Return what is found; None where the server has nothing at that path."""
    try:
        return ask()
    except RefusedError as error:
        if not error.absent:
            raise
        return None


def _field(reply: Json, name: str, url: str) -> Any:  # noqa: ANN401  whatever the server sent
    if name not in reply:
        raise BackendError(f"{url} answers without {name!r}; it is another version of the server than is known here")
    return reply[name]


FEWEST = 5
"""Of the most likely tokens, requested where a server refuses more; some hosted ones tell of no more."""

_NO_ENTRY = (401, 403)
_META = ("n_params", "size", "ftype")
"""What llama.cpp tells of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model on a server.

    It has the name it is requested by, the name that its answers bear (a hosted service adds a date), what is known
    of its weights and template (`identity`), where and by what it is served (`environment`), and the fields that
    every request takes: `sampling` asks for one token as the model would sample it, `arguments` are the template's.
    """

    requested: str
    reported: str
    server: Server
    identity: Mapping[str, str]
    environment: Mapping[str, str]
    shows_prompts: bool
    sampling: Mapping[str, Any]
    template_args: Mapping[str, Argument] | None
    arguments: Mapping[str, Any]


def identify(
    session: Session, top_logprobs: int | None = None, template_args: Mapping[str, Argument] | None = None
) -> Served:
    """Find out which model the server serves, and that it tells log-probabilities.

    A server that is known to take arguments of the chat template gets `PRESETS` beside `template_args`.

    Raises:
        BackendError: It does not serve the model, or gives no log-probabilities.
        SettingError: None is named, and it serves more or fewer than one.
    """
    entry = _listed_model(session)
    name = str(entry["id"])
    server = recognise(entry, name)
    chosen = {**(PRESETS if server.arguments else {}), **(template_args or {})}
    arguments = {"chat_template_kwargs": chosen} if chosen else {}
    try:
        reply, sampling = _try_out(session, server, name, top_logprobs or server.top, arguments)
    except RefusedError as error:
        if top_logprobs or "top_logprobs" not in str(error) or type(server) is not Server:
            raise
        server = replace(server, top=FEWEST)
        reply, sampling = _try_out(session, server, name, FEWEST, arguments)
    reported = reported_name(reply) or name
    known = PurePosixPath(reported).name if reported.startswith("/") else reported  # without the folder on its machine
    meta = entry.get("meta")
    weights = {field: str(meta[field]) for field in _META if field in meta} if isinstance(meta, Mapping) else {}
    identity = {"backend": "openai", "model": known, **weights}
    if chosen:
        identity["template_args"] = json.dumps(chosen, sort_keys=True)
    template = server.render(session, {**conversation("A question?", prefix="An answer"), **arguments})
    if template is not None:
        identity["template"] = hashlib.blake2b(template.encode(), digest_size=8).hexdigest()
    environment = {
        "url": session.address.api,
        "server": server.name,
        "system_fingerprint": str(reply.get("system_fingerprint") or "unknown"),
        "httpx2": importlib.metadata.version("httpx2"),
    }
    return Served(
        requested=name,
        reported=reported,
        server=server,
        identity=identity,
        environment=environment,
        shows_prompts=template is not None,
        sampling=sampling,
        template_args=template_args,
        arguments=arguments,
    )


def _try_out(session: Session, server: Server, model: str, top: int, arguments: Json) -> tuple[Json, Json]:
    """Ask something short, as options will be requested; return the reply, and the fields that worked."""
    tokenizer = server.tokenizer(session)
    tokens = tokenizer.encode(" good")[:1] if tokenizer else None
    asked = {"model": model, **conversation("Good or poor?"), **arguments}
    fields = {**asked, "top_logprobs": top, **server.logprob_fields(tokens)}
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


def _listed_model(session: Session) -> Mapping[str, Any]:
    """Return what the server's list says about the model; a server may have no list that can be read."""
    name, url = session.address.model, f"{session.address.api}/models"
    try:
        entries = _entries(session.get(url))
    except (RefusedError, PassingError) as error:
        there = error.status not in _NO_ENTRY if isinstance(error, RefusedError) else not error.broken
        if not (name and there):
            if isinstance(error, RefusedError) and error.absent:
                raise SettingError(f"{url} lists no models; name the one you mean after a #") from error
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
        raise SettingError(f"{url} lists {len(entries)} models; name the one you mean after a #: {names}")
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
