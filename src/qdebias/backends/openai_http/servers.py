"""What differs between servers, beyond what they have in common with OpenAI's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from qdebias.backends.openai_http.chat import Json
from qdebias.backends.openai_http.connection import Session
from qdebias.backends.openai_http.failures import RefusedError
from qdebias.backends.prompt import Tokenizer
from qdebias.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of a kind of server.

    Attributes:
        name: What it is called.
        top: How many of the most likely tokens are asked for at first.
        most: How many can be asked for where an option is not among them.
        remedy: What helps where an option is missing nevertheless.
        arguments: Whether it is known to hand `chat_template_kwargs` on to the chat template.
    """

    name: str
    top: int
    most: int
    remedy: str
    arguments: bool = False


class Server(Protocol):
    """A kind of server."""

    @property
    def traits(self) -> Traits:
        """What is known of it."""
        ...

    def reading(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:
        """Return the fields of a request that let the server tell the options' probabilities.

        Args:
            tokens: (K,) ids of the options, None where they are not known.
        """
        ...

    def render(self, session: Session, conversation: Json) -> str | None:
        """Return the prompt that a conversation becomes, None where the server does not show it."""
        ...

    def tokenizer(self, session: Session) -> Tokenizer | None:
        """Return the model's tokenizer, None where the server does not lend it."""
        ...


@dataclass(frozen=True, slots=True)
class OtherServer:
    """A server of which nothing is known beyond the API that all have in common."""

    traits: Traits = Traits(
        name="unknown", top=20, most=0, remedy="ask for a longer list (top_logprobs) where the server allows it"
    )

    def reading(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:  # noqa: ARG002
        """Return nothing: there is no way to name tokens."""
        return {}

    def render(self, session: Session, conversation: Json) -> str | None:  # noqa: ARG002
        """Return None: there is no way to see the prompt."""
        return None

    def tokenizer(self, session: Session) -> Tokenizer | None:  # noqa: ARG002
        """Return None: there is no way to see tokens."""
        return None


@dataclass(frozen=True, slots=True)
class VllmServer:
    """vLLM: tells the log-probabilities of tokens that are named by id, whatever their rank.

    The log-probabilities are raw by default (--logprobs-mode). Should the server process them, the fields below leave
    nothing to process: its defaults come from the model's generation_config.json and may cut off all but some tokens.
    Versions that do not know logprob_token_ids ignore it and return the most likely tokens.

    Attributes:
        model: Name of the model.
        traits: See `Traits`.
    """

    model: str
    traits: Traits = Traits(
        name="vLLM",
        top=20,
        most=0,
        arguments=True,
        remedy="use a vLLM that knows logprob_token_ids (0.30 does), or start it with --max-logprobs 1000 and set "
        "top_logprobs=1000",
    )

    def reading(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:
        """Ask for exactly the options, and for ids instead of texts."""
        unprocessed = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        if tokens is None:
            return unprocessed
        return {**unprocessed, "logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True}

    def render(self, session: Session, conversation: Json) -> str | None:
        """Let the server apply its template and its tokenizer, and decode what comes of it."""
        url = f"{session.address.root}/tokenize"
        reply = _if_there(session, url, {"model": self.model, **conversation})
        return None if reply is None else self._tokenizer(session).decode(_field(reply, "tokens", url))

    def tokenizer(self, session: Session) -> Tokenizer | None:
        """Return the tokenizer behind /tokenize and /detokenize."""
        return _if_working(self._tokenizer(session))

    def _tokenizer(self, session: Session) -> "RemoteTokenizer":
        return RemoteTokenizer(session, "prompt", {"model": self.model, "add_special_tokens": False})


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """llama-server of llama.cpp: returns as many log-probabilities as are asked for, raw, with token ids.

    Attributes:
        traits: See `Traits`.
    """

    traits: Traits

    def reading(self, tokens: Sequence[int] | None) -> Mapping[str, Any]:
        """Let an option be the sampled token.

        The bias changes what is sampled and not the log-probabilities. Without it, the server drops all of them when
        it happens to sample a token that is only a part of a letter.
        """
        return {} if tokens is None else {"logit_bias": {str(tokens[0]): 100}}

    def render(self, session: Session, conversation: Json) -> str | None:
        """Let the server apply its template."""
        url = f"{session.address.root}/apply-template"
        reply = _if_there(session, url, conversation)
        return None if reply is None else str(_field(reply, "prompt", url))

    def tokenizer(self, session: Session) -> Tokenizer | None:
        """Return the tokenizer behind /tokenize and /detokenize."""
        return _if_working(RemoteTokenizer(session, "content", {}))


@dataclass(frozen=True, slots=True)
class RemoteTokenizer:
    """The tokenizer of the model on a server, as `option_tokens` wants it.

    Attributes:
        session: The connection.
        field: What the server calls the text.
        extra: What else it wants to be sent.
    """

    session: Session
    field: str
    extra: Mapping[str, Any]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`: special tokens in it are recognised, none is added."""
        url = f"{self.session.address.root}/tokenize"
        ids = _field(self.session.post(url, {**self.extra, self.field: text}), "tokens", url)
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise BackendError(f"{url} answers with other tokens than numbers; it is no server of the kind it says")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        url = f"{self.session.address.root}/detokenize"
        return str(_field(self.session.post(url, {**self.extra, "tokens": list(ids)}), self.field, url))


def recognise(entry: Mapping[str, Any], model: str) -> Server:
    """Return the kind of a server.

    Args:
        entry: What it says about the model in its list of models.
        model: Name of the model.
    """
    owner = entry.get("owned_by")
    if owner == "vllm":
        return VllmServer(model)
    if owner == "llamacpp":
        meta = entry.get("meta")
        size = meta.get("n_vocab") if isinstance(meta, Mapping) else 0
        remedy = "set top_logprobs to the size of the vocabulary"  # which takes 15 MB a reply, and 500 tokens 45 kB
        most = size if isinstance(size, int) else 0
        return LlamaServer(Traits(name="llama.cpp", top=500, most=most, remedy=remedy, arguments=True))
    return OtherServer(replace(OtherServer().traits, name=str(owner or "unknown"), arguments=owner == "sglang"))


def _if_working(tokenizer: RemoteTokenizer) -> RemoteTokenizer | None:
    try:
        tokenizer.decode(tokenizer.encode("a"))
    except RefusedError as error:
        if not error.absent:
            raise
        return None
    return tokenizer


def _if_there(session: Session, url: str, body: Mapping[str, Any]) -> Json | None:
    try:
        return session.post(url, body)
    except RefusedError as error:
        if not error.absent:
            raise
        return None


def _field(reply: Json, name: str, url: str) -> Any:  # noqa: ANN401  whatever the server sent
    if name not in reply:
        raise BackendError(f"{url} answers without {name!r}; it is another version of the server than is known here")
    return reply[name]
