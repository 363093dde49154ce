"""Qwen's vocabulary and prompts: ids against an independent implementation, forms, and what is refused."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from contract import QUALITY, SAME
from qdebias.backends.base import Fingerprint
from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.rows import Prepared
from qdebias.backends.prompt import option_tokens
from qdebias.backends.qwen_vl.processing import (
    FORMS,
    IMAGE,
    IMAGE_END,
    SLOT,
    QwenTokenizer,
    QwenVLProcessor,
    read_vocabulary,
)
from qdebias.errors import BackendError, ImageError, PromptError, SettingError
from qdebias.prompts import Placement, Question, Request
from test_qwen_vl_checkpoint import config_of, empty_model

GOLDEN = Path(__file__).parent / "golden" / "qwen_vl"
SHOWN = f"{IMAGE}{SLOT * 256}{IMAGE_END}"
TWO = f"Picture 1: {SHOWN}\nPicture 2: {SHOWN}\n"
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


@pytest.fixture(scope="module")
def real(shared: Path) -> QwenTokenizer:
    """The true vocabulary, written as `qwen.tiktoken` has it; Qwen2 has the same ranks under the same pattern."""
    return _real(shared / "qwen2_tokenizer")


@cache
def _real(folder: Path) -> QwenTokenizer:
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    entries = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    ranks = sorted((rank, bytes(byte_of[character] for character in piece)) for piece, rank in entries.items())
    return QwenTokenizer([piece for _, piece in ranks])


def test_the_real_vocabulary_has_the_published_ids(real: QwenTokenizer) -> None:
    assert len(real) == 151860
    assert [real.id_of(token) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")] == [151643, 151644, 151645]
    assert [real.id_of(token) for token in ("<|extra_0|>", "<|extra_204|>", "<ref>")] == [151646, 151850, 151851]
    assert [real.id_of(token) for token in (IMAGE, IMAGE_END, SLOT)] == [151857, 151858, 151859]
    words = {"Good": 15216, "Poor": 84103, "Yes": 9454, "No": 2753, " good": 1661, " poor": 7852, "good": 18536}
    assert {word: real.encode(word) for word in words} == {word: [token] for word, token in words.items()}
    assert real.encode("poor") == [5368, 269]
    assert real.encode("The quality of the image is good")[-2:] == [374, 1661]
    assert real.encode("The quality of the image is ")[-1] == 220


@settings(max_examples=150, deadline=None)
@given(
    text=st.text()
    | st.text(alphabet="aAsS'TRllve \n\r\t\u00a0\u200909\u4e2d\u017f\u0301\u1112\u1161\U0001f600.,!?_-", max_size=40)
)
def test_ids_equal_those_of_another_implementation(shared: Path, text: str) -> None:
    real = _real(shared / "qwen2_tokenizer")
    want = _qwen2(shared / "qwen2_tokenizer")(text)
    assert real.encode(text) == want
    assert real.decode(want) == _qwen2_decoded(shared / "qwen2_tokenizer", want)


@cache
def _tokenizer(folder: Path) -> Qwen2Tokenizer:
    return Qwen2Tokenizer.from_pretrained(folder)


def _qwen2(folder: Path) -> Callable[[str], list[int]]:
    return lambda text: list(_tokenizer(folder)(text, add_special_tokens=False)["input_ids"])


def _qwen2_decoded(folder: Path, ids: list[int]) -> str:
    return str(_tokenizer(folder).decode(ids, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: "version https://git-lfs.github.com/spec/v1\n", "damaged or only a Git LFS pointer"),
        (lambda text: text[: len(text) // 2] + "!!!", "damaged"),
        (lambda text: text.split("\n", 1)[1], "does not list every byte and every rank"),
        (lambda _: "".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(255)), "every"),
        (lambda _: "", "does not list every byte"),
    ],
)
def test_a_damaged_vocabulary_is_refused(tmp_path: Path, spoil: Callable[[str], str], message: str) -> None:
    with pytest.raises(BackendError, match=r"holds no vocabulary; it needs qwen\.tiktoken"):
        read_vocabulary(tmp_path)
    (tmp_path / "qwen.tiktoken").write_text(spoil((GOLDEN / "qwen.tiktoken").read_text()))
    with pytest.raises(BackendError, match=message):
        read_vocabulary(tmp_path)


def preparer(form: str, longest: int = 8192, tokenizer: QwenTokenizer | None = None) -> HfBackend:
    config = config_of(GOLDEN)
    config.max_position_embeddings = longest
    processor = QwenVLProcessor.from_folder(Checkpoint(folder=GOLDEN, name="golden"), config, form=form)
    processor.tokenizer = tokenizer or processor.tokenizer
    return HfBackend(model=empty_model(config), processor=processor, fingerprint=Fingerprint(identity={}))


def write(preparer: HfBackend, question: Question, count: int, placement: Placement) -> Prepared:
    images = (np.zeros((32, 32, 3), dtype=np.uint8),) * count
    (prepared,) = preparer.prepare(Request(images=images, questions=(question,), placement=placement))
    return prepared


def text_of(form: str, question: Question, count: int, placement: Placement) -> str:
    return read_vocabulary(GOLDEN).decode(write(preparer(form), question, count, placement).ids)


@pytest.mark.parametrize(
    ("form", "count", "placement", "want"),
    [
        ("base", 1, "before", f"{SHOWN}Good? It is"),
        ("base", 2, "before", f"{TWO}Good? It is"),
        ("base", 1, "after", f"Good?\n{SHOWN}It is"),
        ("base", 2, "after", f"Good?\n{TWO}It is"),
        ("chat", 1, "before", f"Picture 1: {SHOWN}\nGood?"),
        ("chat", 2, "before", f"{TWO}Good?"),
        ("chat", 2, "after", f"Good?\n{TWO}"),
    ],
)
def test_forms_are_written_as_published(form: str, count: int, placement: Placement, want: str) -> None:
    question = replace(QUALITY, text="Good?", answer_prefix="It is")
    if form == "chat":
        want = f"{SYSTEM}<|im_start|>user\n{want}<|im_end|>\n<|im_start|>assistant\nIt is"
    assert text_of(form, question, count, placement) == want


def test_the_base_model_divides_text_and_answer_by_one_space() -> None:
    written = {}
    for text, prefix in (("Good?", ""), ("Good? ", ""), ("Good?\n", "It is"), ("Good?", "\nAnswer:")):
        prompt = write(preparer("base"), replace(SAME, text=text, answer_prefix=prefix), 1, "before")
        written[text, prefix] = (read_vocabulary(GOLDEN).decode(prompt.ids[258:]), prompt.lead)
    assert written == {
        ("Good?", ""): ("Good?", " "),
        ("Good? ", ""): ("Good? ", ""),
        ("Good?\n", "It is"): ("Good?\nIt is", ""),
        ("Good?", "\nAnswer:"): ("Good?\nAnswer:", ""),
    }
    assert write(preparer("base"), SAME, 2, "after").lead == ""


def test_the_first_word_of_a_reply_is_read_with_the_space_of_its_form() -> None:
    question, vocabulary = Question(text="Good?", options=("Good", "No"), values=(1.0, 0.0)), read_vocabulary(GOLDEN)
    words = {}
    for form in FORMS:
        prompt = write(preparer(form), question, 2, "before")
        ids = option_tokens(vocabulary, prompt.ids, question, prompt.lead)
        words[form] = [vocabulary.decode([token]) for token in ids]
    assert words == {"base": [" Good", " No"], "chat": ["Good", "No"]}


def test_boxes_that_a_user_types_are_read_as_boxes() -> None:
    boxed = write(preparer("chat"), replace(SAME, text="Is <box>(1,2),(3,4)</box> good?"), 1, "before")
    assert read_vocabulary(GOLDEN).id_of("<box>") in boxed.ids


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("placement", ["before", "after"])
def test_prompts_that_would_not_be_what_was_asked_are_refused(form: str, placement: Placement) -> None:
    for tag in (IMAGE, IMAGE_END, SLOT):
        with pytest.raises(SettingError, match=f"contains '{tag}', which models read as a special token"):
            replace(QUALITY, answer_prefix=f"It {tag} is")
    with pytest.raises(PromptError, match="not Unicode text"):
        write(preparer(form), replace(QUALITY, text="\ud800?"), 2, placement)
    with pytest.raises(ImageError, match=r"become a prompt of \d+ tokens, but this model reads at most 500"):
        write(preparer(form, longest=500), QUALITY, 2, placement)


class Deaf(QwenTokenizer):
    """A vocabulary that loses something on the way to ids."""

    def __init__(self, lost: str) -> None:
        super().__init__([bytes([byte]) for byte in range(256)])
        self.lost = lost

    def encode(self, text: str, **_: object) -> list[int]:
        return super().encode(text.replace(self.lost, ""))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("placement", ["before", "after"])
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (SLOT, "no image reaches the model"),
        ("How about", "are not .* the question 'The visual|the ids end in .*; choose another answer_prefix"),
        (" image is", "the ids end in .* instead of .*; choose another answer_prefix"),
    ],
)
def test_ids_that_lost_something_are_refused(form: str, placement: Placement, lost: str, message: str) -> None:
    question = replace(QUALITY, text="The visual quality is poor. How about that?")
    broken = preparer(form, tokenizer=Deaf(lost))
    broken.image_token = broken._processor.tokenizer.id_of(SLOT)
    with pytest.raises(PromptError, match=message):
        write(broken, question, 2, placement)


def test_a_text_is_brought_to_its_normal_form() -> None:
    decomposed = replace(QUALITY, text="Is the cafe\u0301 good?", answer_prefix="The cafe\u0301 is")
    for form in FORMS:
        assert text_of(form, decomposed, 1, "before").endswith("The caf\u00e9 is")
