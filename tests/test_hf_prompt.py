"""Chat templates that change what is asked: each is refused, whichever way it does it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image
from typer.testing import CliRunner

from contract import QUALITY, SAME, Encoding, encode, pair, picture
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.cli.app import app
from qdebias.errors import PromptError, SettingError
from qdebias.prompts import Question, Request
from tiny_families import FAMILIES, GEMMA, LLAVA, QWEN
from tiny_models import checkpoint

SPACED = Question(text="Good?", answer_prefix="The quality is ", options=("Good", "Bad"), values=(1.0, 0.0))
THINKING = QWEN.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


@pytest.fixture
def with_template(tmp_path: Path) -> Callable[..., HfBackend]:
    def load(template: str, family: str = "qwen2_vl") -> HfBackend:
        folder = shutil.copytree(checkpoint(family), tmp_path / family, dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        return load_hf(folder, device="cpu")

    return load


def ask(backend: HfBackend, question: Question, placement: str = "before") -> Encoding:
    ((encoding,),) = encode(backend, [replace(pair(1, 2, placement), questions=(question,))])
    return encoding


@pytest.mark.parametrize("family", ["qwen2_vl", "gemma3"])
def test_template_that_trims_leaves_the_prefix_alone(with_template: Callable[..., HfBackend], family: str) -> None:
    """The prefix stands behind what the template writes, and does not go through it."""
    template = FAMILIES[family].template
    backend = with_template(template if "trim" in template else template.replace("['text']", "['text'] | trim"), family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint(family))
    assert tokenizer.decode(ask(backend, SPACED).ids).endswith("\nThe quality is ")


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "llava_interleave"])
def test_templates_that_put_images_first(family: str) -> None:
    backend = load_hf(checkpoint(family), device="cpu")
    with pytest.raises(PromptError, match=r"are not after the question .* use the other placement"):
        ask(backend, QUALITY, "after")


def test_template_that_puts_images_last(with_template: Callable[..., HfBackend]) -> None:
    first = "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    assert first in QWEN
    turned = QWEN.replace("in message['content']", "in message['content'] | sort(attribute='type', reverse=true)")
    backend = with_template(turned)
    with pytest.raises(PromptError, match="are not before the question"):
        ask(backend, QUALITY, "before")
    ask(backend, QUALITY, "after")


def test_template_that_puts_the_question_between_the_images(with_template: Callable[..., HfBackend]) -> None:
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    between = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        + "{% if message['role'] == 'user' %}"
        + image
        + "{{ message['content'] | map(attribute='text', default='') | join('') }}"
        + image
        + "{% else %}{{ message['content'][0]['text'] }}{% endif %}<|im_end|>\n{% endfor %}"
        + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    backend = with_template(between)
    for placement in ("before", "after"):
        with pytest.raises(PromptError, match=f"are not {placement} the question"):
            ask(backend, QUALITY, placement)


@pytest.mark.parametrize(
    ("change", "count"),
    [(("{% if part['type'] == 'image' %}", "{% if part['type'] == 'image' and loop.first %}"), 1), (("pad", "dap"), 0)],
)
def test_template_that_loses_images(
    with_template: Callable[..., HfBackend], change: tuple[str, str], count: int
) -> None:
    with pytest.raises(PromptError, match=f"the prompt shows {count} images instead of 2: the chat template lost some"):
        ask(with_template(QWEN.replace(*change).replace("{{ part['text'] }}", "{{ part['text'] or '' }}")), QUALITY)


def test_question_that_contains_a_placeholder() -> None:
    backend = load_hf(checkpoint("qwen2_vl"), device="cpu")
    with pytest.raises(SettingError, match=r"contains '<\|image_pad\|>', which models read as a special token"):
        ask(backend, replace(QUALITY, text="Is <|image_pad|> good?"))


def test_question_that_contains_a_special_token_of_this_model_alone() -> None:
    """No spelling of others gives it away: it is one of the model's own vocabulary."""
    backend = load_hf(checkpoint("aya_vision"), device="cpu")
    with pytest.raises(SettingError, match="contains 'TILE_GLOBAL', which models read as a special token"):
        ask(backend, replace(QUALITY, text="Is TILE_GLOBAL good?"))


def test_template_that_changes_the_question(with_template: Callable[..., HfBackend]) -> None:
    with pytest.raises(PromptError, match="changes the text of the question"):
        ask(with_template(QWEN.replace("part['text']", "part['text'] | replace('poor', 'bad')")), QUALITY)


def test_template_that_ignores_the_assistant(with_template: Callable[..., HfBackend]) -> None:
    deaf = QWEN.replace("{% for message in messages %}", "{% for message in messages[:1] %}")
    with pytest.raises(PromptError, match="leaves out what the assistant says"):
        ask(with_template(deaf), QUALITY)


def test_template_that_raises(with_template: Callable[..., HfBackend]) -> None:
    with pytest.raises(PromptError, match=r"refuses the question .*: only text here"):
        ask(with_template("{{ raise_exception('only text here') }}" + QWEN), QUALITY)


def test_template_that_wants_plain_strings(with_template: Callable[..., HfBackend]) -> None:
    plain = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"
    with pytest.raises(PromptError, match="refuses the question"):
        ask(with_template(plain), QUALITY)


PRINTED = QWEN.replace(
    "{% for part in", "{% if message['role'] == 'assistant' %}{{ message['content'] }}{% else %}{% for part in"
).replace("{% endfor %}<|im_end|>", "{% endfor %}{% endif %}<|im_end|>")
JOINED = PRINTED.replace("{{ message['content'] }}", "{{ message['content'] + eos_token }}")
TRIMMED = QWEN.replace("{{ part['text'] }}", "{{ part['text'] | trim }}")


@pytest.mark.parametrize("template", [PRINTED, JOINED, TRIMMED])
def test_the_prefix_is_written_alike_whatever_the_template_takes(
    with_template: Callable[..., HfBackend], template: str
) -> None:
    """GLM-4.1V prints the content of a reply as it is, Pixtral adds a token to it, Gemma trims it."""
    np.testing.assert_array_equal(ask(with_template(template), QUALITY).ids, ask(with_template(QWEN), QUALITY).ids)


def test_template_that_prints_lists_alone_is_refused(with_template: Callable[..., HfBackend]) -> None:
    listed = PRINTED.replace("{{ message['content'] }}", "{{ [{'type': 'text', 'text': message['content']}] }}")
    with pytest.raises(PromptError, match="it prints a list, or changes what stands before"):
        ask(with_template(listed), QUALITY)


def test_template_that_opens_a_thought(with_template: Callable[..., HfBackend]) -> None:
    """There is nowhere to read a first word; a prefix stands where the template writes one without a thought."""
    backend = with_template(THINKING)
    with pytest.raises(PromptError, match="opens a chain of thought, or something else first"):
        ask(backend, SAME)
    np.testing.assert_array_equal(ask(backend, QUALITY).ids, ask(with_template(QWEN), QUALITY).ids)


EMPTY = {
    "<think>\n\n</think>\n\n": "{{ '\\n</think>\\n\\n' if enable_thinking is false }}",
    "<|channel>thought\n<channel|>": "",
}
"""Qwen3.5 opens a thought unless it is told not to; Gemma 4 writes an empty one of its own accord."""


@pytest.mark.parametrize("thought", EMPTY)
def test_an_empty_thought_stays_before_the_first_word_and_before_the_prefix(
    with_template: Callable[..., HfBackend], thought: str
) -> None:
    opened = "<think>\n" if EMPTY[thought] else thought
    backend = with_template(QWEN.replace("assistant\n{% endif %}", f"assistant\n{opened}{EMPTY[thought]}{{% endif %}}"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint("qwen2_vl"))
    for question in (QUALITY, SAME):
        written = tokenizer.decode(ask(backend, question).ids)
        assert written.endswith(f"{question.text}<|im_end|>\n<|im_start|>assistant\n{thought}{question.answer_prefix}")
    assert backend.fingerprint.identity.get("template_args") == (
        '{"enable_thinking": false}' if EMPTY[thought] else None
    )


def test_tokenizer_that_ends_the_text(tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("llava"), tmp_path / "ends")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    content["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    path.write_text(json.dumps(content))
    for question in (QUALITY, SAME):
        with pytest.raises(PromptError, match=r"the ids end in '.*</s>' instead of"):
            ask(load_hf(folder, device="cpu"), question)


@pytest.mark.parametrize("family", ["llava", "bakllava"])
def test_start_token_stands_once(family: str) -> None:
    assert ("bos_token" in FAMILIES[family].template) == (family == "bakllava")
    encoding = ask(load_hf(checkpoint(family), device="cpu"), QUALITY)
    assert encoding.ids[0] == 1
    assert np.count_nonzero(encoding.ids == 1) == 1


@pytest.mark.parametrize("family", ["llava", "bakllava", "smolvlm", "qwen2_vl"])
def test_first_word_is_read_with_the_space_that_the_template_writes(family: str) -> None:
    """The token after "ASSISTANT:" is the one that stands there when the template renders the whole reply."""
    backend = load_hf(checkpoint(family), device="cpu")
    request = replace(pair(1, 2), questions=(SAME,))
    ((options,),), ((whole,),) = backend.option_logits([request]), backend.last_logits([request])
    for option, logit in zip(SAME.options, options, strict=True):
        replied = ask(backend, replace(SAME, answer_prefix=option, options=(" so", " no")))
        prompt = ask(backend, SAME)
        np.testing.assert_array_equal(replied.ids[:-1], prompt.ids)
        assert whole[replied.ids[-1]] == logit


@pytest.mark.parametrize("family", ["llava_onevision", "llava_interleave"])
def test_a_reply_is_begun_where_the_prompt_ends_whatever_white_space_earlier_replies_have(family: str) -> None:
    backend = load_hf(checkpoint(family), device="cpu")
    request = replace(pair(1, 2), questions=(SAME,))
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint(family))
    assert tokenizer.decode(ask(backend, SAME).ids).endswith("<|im_start|>assistant\n")
    ((options,),), ((whole,),) = backend.option_logits([request]), backend.last_logits([request])
    tokens = [tokenizer.encode(option) for option in SAME.options]
    np.testing.assert_array_equal(options, whole[np.ravel(tokens)])


def test_one_image_is_asked_about_alone() -> None:
    question = replace(QUALITY, text="Rate the quality of the image. Good or poor?")
    backend = load_hf(checkpoint("internvl"), device="cpu")
    assert backend.option_logits([Request(images=(picture(1, 60, 90),), questions=(question,))])[0][0].shape == (2,)


def test_templates_of_the_battery_are_the_kinds_they_claim_to_be() -> None:
    assert "trim" in GEMMA
    assert LLAVA.index("'image'") < LLAVA.index("'text'")


DATED = "{{ 'Today is ' + strftime_now('%Y-%m-%d') + '. ' }}{% if louder is defined %}{{ louder }}{% endif %}" + QWEN


class Day(datetime):
    """A clock that stands."""

    day_of_month = 1

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime(2026, 11, cls.day_of_month, tzinfo=tz)


def run_answers(run: Path) -> list[str]:
    """Every stored line, without the number of the session that wrote it."""
    lines = (run / "answers.jsonl").read_text().splitlines()
    return [line.partition(',"session"')[0] for line in lines]


def test_a_run_that_goes_on_another_day_equals_one_of_a_single_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, with a template that writes the date as that of Mistral-Small-3.1 does."""
    folder = shutil.copytree(checkpoint("qwen2_vl"), tmp_path / "model")
    (folder / "chat_template.jinja").write_text(DATED)
    for number in (1, 2):
        Image.fromarray(picture(number, 64, 80)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Day)

    def score(run: str, day: int, images: int, *more: str) -> str:
        monkeypatch.setattr(Day, "day_of_month", day)
        paths = [str(tmp_path / f"{number}.png") for number in range(1, images + 1)]
        options = ["-m", f"hf:{folder}", "--run", str(tmp_path / run), "--batch", "1"]
        result = CliRunner().invoke(app, ["score", *paths, *options, *more])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    score("two days", 1, 1)
    assert score("two days", 2, 2) == score("one day", 1, 2)
    one, two = (run_answers(tmp_path / run) for run in ("one day", "two days"))
    assert one == two
    louder = score("louder", 1, 2, "--template-arg", "louder=Be exact.")
    assert louder != score("one day", 1, 2)
    assert '{"louder": "Be exact."}' in json.loads((tmp_path / "louder" / "run.json").read_text())["identity"].values()
