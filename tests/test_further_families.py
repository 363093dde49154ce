"""Families under the templates of their makers: our answers are those of transformers alone, shared or not.

The reference builds its own text, from what `published_templates` writes down by hand, and runs the model on what the
processor makes of it.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from contract import QUALITY, SAME, pair, picture
from further_families import FURTHER
from published_templates import PUBLISHED
from qdebias import presets
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.prompts import fixed
from qdebias.backends.prompt import Form
from qdebias.methods.method import Context
from qdebias.prompts import Request
from test_published_templates import expected
from tiny_families import FAMILIES
from tiny_models import load

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")  # transformers'

ROUNDING = 1e-5
MODEL_OF = {
    "llava": "llava-1.5-7b",
    "bakllava": "bakllava",
    "llava_onevision": "llava-onevision-7b",
    "qwen2_vl": "qwen2-vl-2b",
    "qwen2_5_vl": "qwen2.5-vl-7b",
    "qwen3_vl": "qwen3-vl-8b",
    "qwen3_5": "qwen3.6",
    "internvl": "internvl3-8b",
    "smolvlm": "smolvlm-256m",
    "idefics3": "idefics3-8b",
    "gemma3": "gemma-3-4b",
    "mllama": "llama-3.2-11b-vision",
    "mistral3": "mistral-small-3.1-24b",
    "glm4v": "glm-4.1v-9b",
    "glm46v": "glm-4.6v-flash",
    "gemma4": "gemma-4-31b",
    "vipllava": "llava-1.5-7b",
    "qwen3_vl_moe": "qwen3-vl-8b",
    "qwen3_5_moe": "qwen3.6",
    "idefics2": "idefics3-8b",
    "paddleocr_vl": "paddleocr-vl",
    "minicpmv4_6": "minicpm-v-4.6",
    "minicpmv4_7": "minicpm-v-4.6",
    "janus": "janus-pro-1b",
    "llava_next_video": "llava-next-video-7b",
    "ovis2": "ovis2-2b",
    "llava_interleave": "llava-interleave-7b",
    "llava_next": "llava-1.6-mistral-7b",
    "deepseek_vl": "deepseek-vl-1.3b",
    "deepseek_vl_hybrid": "deepseek-vl-1.3b",
    "aria": "aria",
    "emu3": "emu3-chat",
    "video_llama_3": "videollama3-2b",
    "exaone4_5": "exaone-4.5-33b",
}
"""Tiny families, and the model whose template they are asked with here."""


@cache
def plain(name: str) -> HfBackend:
    return load(name, sharing="off")


def backend_of(name: str, *, template: str | None = None, **options: Any) -> HfBackend:
    """A backend on the tiny model of a family that shares what the family allows, with a template of its own."""
    alone = plain(name)
    processor = copy(alone._processor)
    if template is not None:
        processor.chat_template, _ = fixed(template)
    limits = {"tokens_at_once": 4096, "images_at_once": 1} | options
    return HfBackend(
        model=alone.model,
        processor=processor,
        fingerprint=alone.fingerprint,
        family=family_of(alone.model),
        **limits,
    )


def requests_of(method: str) -> Iterator[Request]:
    yield from presets.get(method).method.plan(picture(3, 64, 80), Context()).requests


def written(name: str, form: Form) -> str:
    """The prompt as it is written down by hand; without a published template, as transformers renders the family's."""
    if name in MODEL_OF:
        return expected(PUBLISHED[MODEL_OF[name]], form)
    content = [{"type": "image"}] * form.images + [{"type": "text", "text": form.question.text}]
    turn = [{"role": "user", "content": content}]
    return plain(name)._processor.apply_chat_template(turn, add_generation_prompt=True) + form.question.answer_prefix


def reference(name: str, request: Request) -> list[np.ndarray]:
    """The logits behind each question of a request, by transformers alone."""
    model, processor = plain(name).model, plain(name)._processor
    found = []
    for question in request.questions:
        text = written(name, Form(question=question, placement="before", images=len(request.images)))
        start = processor.tokenizer.bos_token
        inputs = processor(
            images=[[Image.fromarray(image) for image in request.images]],
            text=[text],
            add_special_tokens=not (start is not None and text.startswith(start)),
            return_tensors="pt",
        )
        with torch.inference_mode():
            found.append(model(**inputs).logits[0, -1].double().numpy())
    return found


@pytest.mark.parametrize("method", ["paper", "vanilla"])
@pytest.mark.parametrize("name", [*MODEL_OF, *(name for name in FURTHER if name not in MODEL_OF)])
def test_answers_are_those_of_transformers_alone(name: str, method: str) -> None:
    """Under the published template; families of which none is known have one of ours."""
    requests = list(requests_of(method))
    template = PUBLISHED[MODEL_OF[name]].template if name in MODEL_OF else None
    got = backend_of(name, template=template).last_logits(requests)
    for ours, request in zip(got, requests, strict=True):
        for one, other in zip(ours, reference(name, request), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize("name", FURTHER)
def test_sharing_changes_no_logit(name: str) -> None:
    placements = ("before", "after") if FURTHER[name].after else ("before",)
    single = Request(images=(picture(7, 100, 41),), questions=(QUALITY, SAME))
    for placement in placements:
        requests = [pair(1, 2, placement), pair(3, 2, placement), replace(single, placement=placement)]  # type: ignore[arg-type]
        requests.append(replace(requests[0], images=(picture(7, 100, 41), picture(2, 64, 80))))  # of unlike shapes
        want = plain(name).last_logits(requests)
        for options in ({}, {"tokens_at_once": 1}, {"images_at_once": 8}):
            got = backend_of(name, **options).last_logits(requests)
            for one, other in zip(chain(*got), chain(*want), strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING * max(1.0, np.abs(other).max()))


def test_what_is_shared_is_what_the_documentation_says() -> None:
    shared = {name: family_of(plain(name).model) for name in FURTHER}
    alone = {"emu3", "hunyuan_vl", "idefics2", "ovis2"}
    assert {name for name, family in shared.items() if family is None} == alone
    whole = {name for name, family in shared.items() if family is not None and family.prefix}
    apart = {"gemma4", "lfm3_vl", "minicpmv4_6", "minicpmv4_7", "qwen3_5_moe"} & set(FURTHER)
    assert whole == set(FURTHER) - alone - apart


def test_every_family_is_asked_with_a_published_template_where_one_is_known() -> None:
    tiny = {"paligemma", "paligemma2"}
    further = {
        *("aya_vision", "cohere_compass", "ernie4_5_vl_moe", "granite4_vision", "hunyuan_vl"),
        *("hyperclovax_vision_v2", "lfm3_vl"),
    }
    assert set(FAMILIES) - set(MODEL_OF) == tiny
    assert set(FURTHER) - set(MODEL_OF) == further & set(CONFIG_MAPPING)
