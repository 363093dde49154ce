"""A model behind an OpenAI-compatible server."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias, get_args

import numpy as np

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.openai_http.chat import (
    EncodedImages,
    MissingOptionError,
    conversation,
    likelier_lead,
    option_logprobs,
    png_url,
)
from qdebias.backends.openai_http.connection import Connection, Json, PassingError, RefusedError, Session
from qdebias.backends.openai_http.prompt import PreparedQuestion, check_unseen, find_lead, prepare, readable
from qdebias.backends.openai_http.servers import Served, identify, reported_name
from qdebias.backends.prompt import Argument, Form
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, ImageError, SettingError
from qdebias.prompts import Question, Request

PromptForm: TypeAlias = Literal["checked", "trusted", "no-prefix"]
_GREY = png_url(np.full((64, 64, 3), 128, dtype=np.uint8))  # where the content does not matter


def load_openai(
    address: str,  # <url>#<model>; without a model, the only one that the server serves
    *,
    concurrency: int = 8,  # requests in progress at a time
    timeout: float = 120.0,  # seconds for an answer
    patience: float = 300.0,  # seconds for which a request is retried while the server is down or busy
    top_logprobs: int | None = None,  # number of most likely tokens to request; None chooses by server
    prompt: PromptForm = "checked",  # see `OpenAIBackend`
    template_args: Mapping[str, Argument] | None = None,  # for servers that take `chat_template_kwargs`
) -> "OpenAIBackend":
    """Return a backend for a model on a server, after checking that both are available.

    The key comes from the environment variable QDEBIAS_API_KEY; for OpenAI's own service, also from OPENAI_API_KEY.
    """
    if prompt not in get_args(PromptForm):
        raise SettingError(f"prompt is one of {', '.join(get_args(PromptForm))}, got {prompt!r}")
    if top_logprobs is not None and top_logprobs < 1:
        raise SettingError(f"top_logprobs must be 1 or more, got {top_logprobs}")
    connection = Connection(address, timeout=timeout, patience=patience, concurrency=concurrency)
    with connection.session(waiting=False) as session:
        served = identify(session, top_logprobs, template_args)
    return OpenAIBackend(connection, served, top_logprobs or served.server.top, prompt)


class OpenAIBackend:
    """A model behind a server; `load_openai` makes one.

    `prompt` is "checked": an error unless the server demonstrably asks each question as written; "trusted": without
    this check; or "no-prefix": the answer prefix is dropped and each option read as the first word of the reply,
    without its space and capitalized, for servers that cannot continue a started answer. It is part of the identity.
    """

    def __init__(self, connection: Connection, served: Served, top: int, prompt: PromptForm) -> None:
        self._connection, self._served, self._top, self._prompt = connection, served, top, prompt
        self._prepared: dict[Form, PreparedQuestion] = {}
        self._lead: tuple[str | None, bool] | None = None

    def __repr__(self) -> str:
        return f"OpenAIBackend({self._connection.api!r}, model={self._served.reported!r})"

    @property
    def fingerprint(self) -> Fingerprint:
        """The identity and environment of this backend."""
        identity = {**self._served.identity, "prompt": self._prompt}
        return Fingerprint(identity=identity, environment=self._served.environment)

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the log-probabilities of every option, see `Backend.option_logits`.

        The questions of a request are sent one after the other, so that the server can reuse its cache of the images;
        requests are sent concurrently. An ImageError means that there is no answer for these images but one for others,
        any other BackendError that there is none for any.
        """
        if not requests:
            return []
        if self._prompt == "no-prefix":
            requests = [replace(one, questions=tuple(map(_without_prefix, one.questions))) for one in requests]
        with self._connection.session() as session:
            for request in requests:
                for question in request.questions:  # each is checked once, before the first image
                    form = _form(request, question)
                    if form not in self._prepared:
                        self._prepared[form] = self._prepare(session, form)
            pictures = EncodedImages(requests)
            answers = session.run_all([partial(self._ask, session, pictures, request) for request in requests])
            if session.interrupted:
                now = identify(session, self._top, self._served.template_args)
                if now.identity != self._served.identity:
                    raise BackendError(
                        f"{self._connection.api} came back with another model: {dict(now.identity)} instead of "
                        f"{dict(self._served.identity)}; serve that one again, or start a new run"
                    )
        return answers

    def _prepare(self, session: Session, form: Form) -> PreparedQuestion:
        served, trusted = self._served, self._prompt == "trusted"
        text, prefix = form.question.text, form.question.answer_prefix
        tokenizer = served.server.tokenizer(session)

        def asked(images: int, prefix: str) -> Json:
            return conversation(text, [_GREY] * images, placement=form.placement, prefix=prefix)

        def render(images: int, prefix: str) -> str:
            return served.server.render(session, {**asked(images, prefix), **served.fields}) or ""

        def complete(fields: Json) -> Json:
            return session.post(*self._completion({"top_logprobs": 1, **fields}))

        if served.shows_prompts:
            return prepare(form, render, tokenizer, trusted=trusted)
        if not trusted:
            check_unseen(form, complete)
        if prefix:
            return readable(form, tokenizer, reply=prefix)
        if self._lead is None:
            self._lead = find_lead(complete)
        lead, counted = self._lead
        if lead is None:  # the spelling that the model prefers
            reply = complete({**asked(form.images, ""), "top_logprobs": self._top})
            lead = likelier_lead(reply, form.question.options, clearly=not counted and not trusted)
        return readable(form, tokenizer, lead=lead)

    async def _ask(self, session: Session, pictures: EncodedImages, request: Request) -> list[FloatArray]:
        urls = await pictures.urls(request)
        return [await self._answer_or_refuse(session, urls, request, question) for question in request.questions]

    async def _answer_or_refuse(
        self, session: Session, urls: Sequence[str], request: Request, question: Question
    ) -> FloatArray:
        """Return the answer about some images; on a failure, find out whether these images cause it.

        To do so, the question is sent once with grey images. If that fails too, the server is at fault. A failure that
        may pass is blamed on the images only if it occurs again after the grey images were answered.
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
        told = (failure.told or failure) if isinstance(failure, RefusedError) else failure
        raise ImageError(f"{told} (a grey image of 64 x 64 pixels is answered)") from failure

    async def _answer(
        self, session: Session, urls: Sequence[str], *, request: Request, question: Question, patient: bool = True
    ) -> FloatArray:
        served, prepared = self._served, self._prepared[_form(request, question)]
        fields = conversation(question.text, urls, placement=request.placement, prefix=prepared.reply)
        fields |= served.server.logprob_fields(prepared.tokens) if prepared.tokens else {}
        top = self._top
        while True:
            reply = await session.send(*self._completion({**fields, "top_logprobs": top}), patient=patient)
            name = reported_name(reply) or served.reported
            if name != served.reported:
                raise BackendError(
                    f"{self._connection.api} answers as {name!r} and no longer as {served.reported!r}; serve "
                    f"that model again, or start a new run"
                )
            try:
                return option_logprobs(reply, prepared.words, prepared.tokens, served.server.remedy)
            except MissingOptionError:
                if served.server.most <= top:
                    raise
            top = served.server.most

    def _completion(self, fields: Json) -> tuple[str, Json]:
        """Return URL and body of a chat completion."""
        url = f"{self._connection.api}/chat/completions"
        return url, {**self._served.fields, **self._served.sampling, **fields}


def _form(request: Request, question: Question) -> Form:
    return Form(question=question, placement=request.placement, images=len(request.images))


def _without_prefix(question: Question) -> Question:
    if not question.answer_prefix:
        return question
    options = tuple(option.strip().capitalize() for option in question.options)
    return replace(question, answer_prefix="", options=options)
