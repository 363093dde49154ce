"""A model behind an OpenAI-compatible server."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.openai_http import Json, parse_address
from qdebias.backends.openai_http.chat import (
    EncodedImages,
    MissingOptionError,
    OptionTokens,
    conversation,
    likelier_lead,
    option_logprobs,
    png_url,
    reported_name,
)
from qdebias.backends.openai_http.connection import Connection, PassingError, RefusedError, Session
from qdebias.backends.openai_http.prompt import Lead, PreparedQuestion, check_unseen, find_lead, prepare, tokens_to_read
from qdebias.backends.openai_http.servers import Served, identify
from qdebias.backends.prompt import Argument, Form
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, ImageError, SettingError
from qdebias.prompts import Question, Request

PromptForm: TypeAlias = Literal["checked", "trusted", "no-prefix"]
_FORMS = ("checked", "trusted", "no-prefix")
_GREY = png_url(np.full((64, 64, 3), 128, dtype=np.uint8))
"""Shown where it does not matter what is seen."""


def load_openai(
    address: str,
    *,
    concurrency: int = 8,
    timeout: float = 120.0,
    patience: float = 300.0,
    top_logprobs: int | None = None,
    prompt: PromptForm = "checked",
    template_args: Mapping[str, Argument] | None = None,
) -> "OpenAIBackend":
    """Return a backend for a model on a server, after making sure that both are there.

    The key comes from the environment variable QDEBIAS_API_KEY; for OpenAI's own service, also from OPENAI_API_KEY.

    Args:
        address: `<url>#<model>`; without a model, the only one that the server serves.
        concurrency: How many requests are under way at a time.
        timeout: Seconds until an answer that is not there counts as lost.
        patience: Seconds for which a request is tried again while the server is away or busy.
        top_logprobs: How many of the most likely tokens are requested; None fits the server.
        prompt: See `OpenAIBackend`.
        template_args: Arguments of the chat template, for servers that take them (`chat_template_kwargs`).

    Raises:
        SettingError: The address or another setting is impossible.
        BackendError: The server cannot be reached, does not serve the model, or gives no log-probabilities.
    """
    if prompt not in _FORMS:
        raise SettingError(f"prompt is one of {', '.join(_FORMS)}, got {prompt!r}")
    if top_logprobs is not None and top_logprobs < 1:
        raise SettingError(f"top_logprobs must be 1 or more, got {top_logprobs}")
    place = parse_address(address)
    key = os.environ.get("QDEBIAS_API_KEY", "")
    if not key and place.host == "api.openai.com":  # OpenAI's is not shown to anybody else
        key = os.environ.get("OPENAI_API_KEY", "")
    connection = Connection(place, key=key.strip(), timeout=timeout, patience=patience, concurrency=concurrency)
    with connection.session(waiting=False) as session:
        served = identify(session, top_logprobs, template_args)
    return OpenAIBackend(connection=connection, served=served, top_logprobs=top_logprobs, prompt=prompt)


class OpenAIBackend:
    """A model behind a server; `load_openai` makes one.

    Args:
        connection: How the server is reached.
        served: The model.
        top_logprobs: How many of the most likely tokens are requested; None fits the server.
        prompt: "checked": the question as it is, and an error unless the server proves that it asks it so.
            "trusted": the same, without the proof. "no-prefix": the answer prefix is dropped, and each option read as
            the first word of the reply, without its space and with a capital; for servers that cannot continue a
            started answer. The form is part of the fingerprint's identity.
    """

    def __init__(
        self, *, connection: Connection, served: Served, top_logprobs: int | None = None, prompt: PromptForm = "checked"
    ) -> None:
        self._connection = connection
        self._served = served
        self._top = served.server.top if top_logprobs is None else top_logprobs
        self._prompt = prompt
        self._prepared: dict[Form, PreparedQuestion] = {}
        self._counted: Lead | None = None

    def __repr__(self) -> str:
        return f"OpenAIBackend({self._connection.address.api!r}, model={self._served.reported!r})"

    @property
    def fingerprint(self) -> Fingerprint:
        """What made the answers of this backend."""
        identity = {**self._served.identity, "prompt": self._prompt}
        return Fingerprint(identity=identity, environment=self._served.environment)

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the log-probabilities of every option, see `Backend.option_logits`.

        The questions of one request are asked one after the other, so that the server can keep what it computed for
        the images; different requests are asked at the same time.

        Raises:
            OptionError: An option is no single token, or missing from the server's list.
            PromptError: The server does not ask what was requested, or it cannot be told.
            ImageError: The server refuses these images, or gives no answer that can be used, and answers for others.
            BackendError: The server refuses whatever it is shown, stays away, or serves another model than before.
        """
        if not requests:
            return []
        asked = [replace(request, questions=tuple(map(self._form, request.questions))) for request in requests]
        with self._connection.session() as session:
            for request in asked:
                for question in request.questions:  # each is checked once, before it is asked about the first image
                    form = _form_of(request, question)
                    if form not in self._prepared:
                        self._prepared[form] = self._prepared_question(session, form)
            pictures = EncodedImages(asked)
            answers = session.run_all([partial(self._ask, session, pictures, request) for request in asked])
            if session.interrupted:
                self._check_still_the_same(session)
        return answers

    def _form(self, question: Question) -> Question:
        if self._prompt != "no-prefix" or not question.answer_prefix:
            return question
        options = tuple(option.strip().capitalize() for option in question.options)
        return replace(question, answer_prefix="", options=options)

    def _prepared_question(self, session: Session, form: Form) -> PreparedQuestion:
        server, trusted = self._served.server, self._prompt == "trusted"

        def render(images: int, prefix: str) -> str:
            urls = [_GREY] * images
            fields = conversation(form.question.text, urls, placement=form.placement, prefix=prefix)
            return server.render(session, {**fields, **self._served.arguments}) or ""

        def complete(fields: Json) -> Json:
            return session.post(*self._completion({"top_logprobs": 1, **fields}))

        if self._served.shows_prompts:
            return prepare(form, render, server.tokenizer(session), trusted=trusted)
        if not trusted:
            check_unseen(form, complete)
        lead = "" if form.question.answer_prefix else self._lead(form, complete)
        return PreparedQuestion(
            form.question.answer_prefix, tokens_to_read(form.question, server.tokenizer(session), lead=lead)
        )

    def _lead(self, form: Form, complete: Callable[[Json], Json]) -> str:
        """Return the white space before a reply: by the count of tokens, else by what the model prefers to say."""
        if self._counted is None:
            self._counted = find_lead(complete)
        if self._counted.text is not None:
            return self._counted.text
        fields = conversation(form.question.text, [_GREY] * form.images, placement=form.placement)
        reply = complete({**fields, "top_logprobs": self._top})
        clearly = not self._counted.counted and self._prompt != "trusted"
        return likelier_lead(reply, form.question.options, clearly=clearly)

    async def _ask(self, session: Session, pictures: EncodedImages, request: Request) -> list[FloatArray]:
        urls = await pictures.urls(request)
        return [await self._answer_or_refuse(session, urls, request, question) for question in request.questions]

    async def _answer_or_refuse(
        self, session: Session, urls: Sequence[str], request: Request, question: Question
    ) -> FloatArray:
        """Return the answer about some images; if there is none, find out whether it is for these images alone.

        Then the same is asked once about grey images. What fails for them too is a failure of the server. A failure
        that may pass counts as that of the images only where it comes back after they were answered for.
        """
        answer = partial(self._answer, session, request=request, question=question)
        try:
            return await answer(urls)
        except (RefusedError, PassingError, MissingOptionError) as error:
            if isinstance(error, PassingError) and error.limited:
                raise
            failure = error
        try:
            await answer([_GREY] * len(urls), patient=False)
        except BackendError:
            raise failure from None
        if isinstance(failure, PassingError):
            try:
                return await answer(urls, patient=False)
            except (RefusedError, PassingError) as error:
                failure = error
        told = failure.told if isinstance(failure, RefusedError) else failure
        raise ImageError(f"{told} (a grey image of 64 x 64 pixels is answered)") from failure

    async def _answer(
        self, session: Session, urls: Sequence[str], *, request: Request, question: Question, patient: bool = True
    ) -> FloatArray:
        prepared = self._prepared[_form_of(request, question)]
        fields = conversation(question.text, urls, placement=request.placement, prefix=prepared.reply)
        most = self._served.server.most
        try:
            return await self._read(session, fields, prepared.options, self._top, patient=patient)
        except MissingOptionError:
            if most <= self._top:
                raise
        return await self._read(session, fields, prepared.options, most, patient=patient)

    async def _read(
        self, session: Session, fields: Json, options: OptionTokens, top: int, *, patient: bool
    ) -> FloatArray:
        reading = {"top_logprobs": top, **self._served.server.logprob_fields(options.tokens)}
        reply = await session.send(*self._completion({**fields, **reading}), patient=patient)
        name = reported_name(reply) or self._served.reported
        if name != self._served.reported:
            raise BackendError(
                f"{self._connection.address.api} answers as {name!r} and no longer as "
                f"{self._served.reported!r}; serve that model again, or start a new run"
            )
        return option_logprobs(reply, options, self._served.server.remedy)

    def _completion(self, fields: Json) -> tuple[str, Json]:
        """Return URL and body of a chat completion."""
        body = {"model": self._served.requested, **self._served.sampling, **self._served.arguments, **fields}
        return f"{self._connection.address.api}/chat/completions", body

    def _check_still_the_same(self, session: Session) -> None:
        now = identify(session, self._top, self._served.template_args)
        if now.identity != self._served.identity:
            raise BackendError(
                f"{self._connection.address.api} came back with another model: {dict(now.identity)} instead of "
                f"{dict(self._served.identity)}; serve that one again, or start a new run"
            )


def _form_of(request: Request, question: Question) -> Form:
    return Form(question=question, placement=request.placement, images=len(request.images))
