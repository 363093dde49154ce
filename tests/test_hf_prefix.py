"""PaliGemma, a prefix language model: what is asked is what it would be asked when it generates."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from contract import QUALITY, SAME, encode, pair
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.hf.prompts import Prompt, render_prefix, without_ending
from qdebias.backends.prompt import Form
from qdebias.errors import PromptError
from qdebias.prompts import Question, Request
from tiny_models import checkpoint, load

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")  # transformers'

NAMES = ("paligemma", "paligemma2")
ROUNDING = 1e-5


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@cache
def plain(name: str) -> HfBackend:
    return load(name, sharing="off")


@cache
def reference(name: str) -> tuple[Any, Any]:
    """The model and its processor as transformers loads them by itself."""
    folder = checkpoint(name)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), transformers.AutoProcessor.from_pretrained(folder)


def prompt(name: str, request: Request, question: Question) -> Any:
    """What transformers' own processor makes of images and question, as for generating."""
    images = [Image.fromarray(image) for image in request.images]
    inputs = reference(name)[1](images=[images], text=["<image>" * len(images) + question.text], return_tensors="pt")
    del inputs["labels"]
    return inputs


class _Saying(transformers.LogitsProcessor):
    """Makes a model say given tokens."""

    def __init__(self, tokens: list[int], start: int) -> None:
        self.tokens, self.start = tokens, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        place = input_ids.shape[1] - self.start
        if place < len(self.tokens):
            scores = torch.full_like(scores, float("-inf"))
            scores[:, self.tokens[place]] = 0
        return scores


@pytest.mark.parametrize("question", [QUALITY, SAME], ids=["answer prefix", "none"])
def test_the_answer_is_read_where_the_model_would_write_it(name: str, question: Question) -> None:
    """transformers' own `generate`, made to say the answer prefix: its logits for the next token are ours."""
    request = replace(pair(1, 2), questions=(question,))
    model, processor = reference(name)
    inputs = prompt(name, request, question)
    said = processor.tokenizer.encode(question.answer_prefix, add_special_tokens=False)
    forced = _Saying(said, inputs["input_ids"].shape[1])
    with torch.inference_mode():
        made = model.generate(
            **inputs,
            max_new_tokens=len(said) + 1,
            logits_processor=[forced],
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    ((encoding,),) = encode(plain(name), [request])
    np.testing.assert_array_equal(encoding.ids, made.sequences[0, :-1])
    ((got,),) = plain(name).last_logits([request])
    np.testing.assert_allclose(got, made.logits[-1][0].double(), rtol=0, atol=ROUNDING)


def test_the_ids_are_prefix_line_break_and_the_beginning_of_the_answer(name: str) -> None:
    ((quality, same),) = encode(plain(name), [pair(1, 2)])
    tokenizer = reference(name)[1].tokenizer
    for encoding, question in ((quality, QUALITY), (same, SAME)):
        types = encoding.inputs["token_type_ids"][0]
        before, behind = encoding.ids[types == 0], encoding.ids[types == 1]
        assert tokenizer.decode(before[8:]) == f"<s>{question.text}\n"
        np.testing.assert_array_equal(encoding.ids, np.concatenate([before, behind]))
        assert tokenizer.decode(behind) == question.answer_prefix
        assert "labels" not in encoding.inputs
        assert tokenizer.eos_token_id not in encoding.ids


def test_what_stands_before_the_answer_is_seen_both_ways_and_the_answer_is_not(name: str) -> None:
    """Reading the same ids causally, or with the answer prefix as part of the question, is another model."""
    inputs = dict(encode(plain(name), [pair(1, 2)])[0][0].inputs)
    ((ours, _),) = plain(name).last_logits([pair(1, 2)])
    ids = torch.tensor(encode(plain(name), [pair(1, 2)])[0][0].ids)[None]
    pixels, types = torch.tensor(inputs["pixel_values"]), torch.tensor(inputs["token_type_ids"])
    with torch.inference_mode():
        runs = [
            reference(name)[0](input_ids=ids, pixel_values=pixels, token_type_ids=kind).logits[0, -1].numpy()
            for kind in (types, torch.ones_like(types), torch.zeros_like(types))
        ]
    np.testing.assert_allclose(ours, runs[0], rtol=0, atol=ROUNDING)
    for other in runs[1:]:
        assert np.abs(ours - other).max() > 0.01


def shared(name: str, **changes: bool) -> HfBackend:
    alone = plain(name)
    family = family_of(alone.model)
    assert family is not None
    return HfBackend(
        model=alone.model,
        processor=alone._processor,
        fingerprint=alone.fingerprint,
        family=replace(family, **changes),  # type: ignore[arg-type]
        tokens_at_once=4096,
        images_at_once=1,
    )


def test_questions_share_image_encodings_and_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [pair(1, 2), pair(3, 2), pair(1, 3)]
    want = plain(name).last_logits(requests)
    model = plain(name).model
    encode, encoded = model.model.get_image_features, []

    def counted(pixel_values: torch.Tensor) -> Any:
        encoded.append(len(pixel_values))
        return encode(pixel_values)

    monkeypatch.setattr(model.model, "get_image_features", counted)
    backend = shared(name)
    got = backend.last_logits(requests)
    assert sum(encoded) == 4, "four images are different"
    np.testing.assert_allclose(got, want, rtol=0, atol=ROUNDING)


def test_sharing_the_beginning_would_be_wrong() -> None:
    """The control: the images see the question, so that what is computed for one question does not serve another."""
    want = plain("paligemma").last_logits([pair(1, 2)])
    wrong = shared("paligemma", prefix=True).last_logits([pair(1, 2)])
    assert np.abs(np.asarray(wrong) - np.asarray(want)).max() > 0.01


def test_images_behind_the_question_are_refused(name: str) -> None:
    with pytest.raises(PromptError, match=r"are not after the question .*: this model takes images first; use"):
        plain(name).option_logits([pair(1, 2, "after")])


class _Unmarked:
    """A processor that does not tell the answer from the prompt."""

    def __init__(self, real: Any) -> None:
        self.real, self.tokenizer = real, real.tokenizer

    def __call__(self, **arguments: Any) -> Any:
        made = self.real(**arguments)
        made["token_type_ids"].zero_()
        return made


def test_processor_that_does_not_mark_the_answer_is_refused() -> None:
    processor = reference("paligemma")[1]
    pictures = [Image.fromarray(image) for image in pair(1, 2).images]
    same, quality = (
        render_prefix(processor, Form(question=question, placement="before", images=2)) for question in (SAME, QUALITY)
    )

    def encode(prompt: Prompt) -> None:
        made = _Unmarked(processor)(images=[pictures], text=[prompt.text], return_tensors="pt", **prompt.options)
        without_ending(made, plain("paligemma")._tokenizer, *prompt.options["suffix"] or [""])

    encode(same)
    with pytest.raises(PromptError, match="marks '' as the beginning of the answer instead of 'The quality"):
        encode(quality)


def test_a_chat_template_is_neither_needed_nor_used(tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("paligemma"), tmp_path / "paligemma")
    assert not (folder / "chat_template.jinja").exists()
    (folder / "chat_template.jinja").write_text("{{ raise_exception('used') }}")
    got = load_hf(folder, device="cpu").last_logits([pair(1, 2)])
    np.testing.assert_allclose(got, plain("paligemma").last_logits([pair(1, 2)]), rtol=0, atol=ROUNDING)
