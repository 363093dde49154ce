"""Prompts under the published templates, character by character."""

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from published_templates import PUBLISHED, Published
from qdebias import presets
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.hf.prompts import fixed, render
from qdebias.backends.prompt import Form
from qdebias.errors import PromptError, SettingError
from qdebias.methods.method import Context
from tiny_models import load

UNNAMED = {  # in no catalogue
    *("aria", "deepseek-vl-1.3b", "emu3-chat", "exaone-4.5-33b", "janus-pro-1b", "llava-1.6-mistral-7b"),
    *("llava-next-video-7b", "videollama3-2b"),
}
METHODS = ("paper", "paper+prefixed", "vanilla", "released", "paper+levels5", "qbench")


@pytest.fixture(scope="module")
def processor() -> Any:
    """A tokenizer with <s> and </s>."""
    return load("bakllava")._processor


def with_template(processor: Any, published: Published, **arguments: str | bool) -> Any:
    changed = copy(processor)
    named = {"image_token": published.token} if "image_token" in published.template else {}  # of its tokenizer
    changed.chat_template, _ = fixed(published.template, arguments | named)
    changed.image_token = published.token
    return changed


def asked(name: str) -> Iterator[Form]:
    """Every question of a method and the way in which it is asked."""
    plan = presets.get(name).method.plan(np.zeros((64, 64, 3), np.uint8), Context())
    for request in plan.requests:
        for question in request.questions:
            yield Form(question=question, placement=request.placement, images=len(request.images))


def expected(published: Published, form: Form) -> str:
    images = published.between.join(published.image for _ in range(form.images))
    prefix = form.question.answer_prefix
    shown = images + published.gap + form.question.text
    return published.start + shown + published.end + (published.lead + prefix if prefix else "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_prompt_is_what_the_makers_wrote(name: str, method: str, processor: Any) -> None:
    published = PUBLISHED[name]
    for form in set(asked(method)):
        got = render(with_template(processor, published), form)
        assert got.text == expected(published, form)
        assert got.lead == ("" if form.question.answer_prefix else published.lead)


@pytest.mark.parametrize("name", PUBLISHED)
def test_images_behind_the_question_are_kept_there_or_refused(name: str, processor: Any) -> None:
    published = PUBLISHED[name]
    form = next(asked("paper-literal"))
    assert form.placement == "after"
    if published.first:
        with pytest.raises(PromptError, match="the images are not after the question"):
            render(with_template(processor, published), form)
    else:
        text = render(with_template(processor, published), form).text
        assert text.index(form.question.text) < text.index(published.token)


@pytest.mark.parametrize("name", ["qwen3.6", "qwen3.8", "minicpm-v-4.6", "exaone-4.5-33b"])
def test_where_thinking_is_wanted_a_first_word_cannot_be_read(name: str, processor: Any) -> None:
    changed = with_template(processor, PUBLISHED[name], enable_thinking=True)
    quality, same = list(asked("paper"))[:2]
    with pytest.raises(PromptError, match="opens a chain of thought"):
        render(changed, same)
    assert render(changed, quality).text.endswith(PUBLISHED[name].end + quality.question.answer_prefix)


def test_images_are_numbered_on_request(processor: Any) -> None:
    form = next(asked("paper"))
    text = render(with_template(processor, PUBLISHED["qwen2-vl-2b"], add_vision_id=True), form).text
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    assert f"Picture 1: {image}Picture 2: {image}{form.question.text}" in text


def test_the_catalogue_claims_no_template_that_was_not_read() -> None:
    read = "its chat template, read in a public copy: tests render the same prompts about one image and two"
    claimed = {model.name for model in KNOWN_MODELS if model.checked.startswith((read, "its prompts, read in"))}
    assert claimed - {"qwen3-vl-30b"} == set(PUBLISHED) - {"pixtral-12b", "qwen3.6", "qwen3.8", *UNNAMED}
    assert sum(bool(model.checked) for model in KNOWN_MODELS) == 24
    assert not any("not seen" in model.form and model.checked.startswith(read) for model in KNOWN_MODELS)


def test_every_template_says_what_it_does() -> None:
    assert all(published.does for published in PUBLISHED.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_marks_of_a_template_cannot_be_typed_into_a_question(name: str) -> None:
    """On every backend: the question is refused before one sees it. Of thoughts one may ask."""
    published = PUBLISHED[name]
    marks = re.findall(
        r"<[^<>\s]+>|\[[^\[\]\s]+\]", published.start + published.image + published.end + published.token
    )
    assert published.token in marks
    for mark in set(marks) - {"<think>", "</think>"}:
        with pytest.raises(SettingError, match=re.escape(f"contains {mark!r}")):
            replace(next(asked("vanilla")).question, text=f"Is it {mark} good?")
