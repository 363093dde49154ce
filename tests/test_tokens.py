from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers as tk

from qdebias.backends.prompt import WINDOW, option_tokens
from qdebias.errors import OptionError
from qdebias.prompts import Question
from tiny_models import byte_bpe, metaspace_bpe

PREFIX = "The quality of the image is"


class Plain:
    """A tokenizer of the tokenizers library as `option_tokens` wants it."""

    def __init__(self, tokenizer: tk.Tokenizer) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)


@pytest.fixture(scope="module", params=[byte_bpe, metaspace_bpe])
def tokenizer(request: pytest.FixtureRequest) -> Plain:
    return Plain(request.param(["<pad>", "<s>", "</s>", "<image>"]))


@pytest.fixture(scope="module")
def qwen2(shared: Path) -> Any:
    import transformers

    folder = shared / "qwen2_tokenizer"
    loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return SimpleNamespace(
        encode=partial(loaded.encode, add_special_tokens=False),
        decode=partial(loaded.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False),
    )


def ask(prefix: str, *options: str) -> Question:
    return Question(text="Good or poor?", answer_prefix=prefix, options=options, values=(1.0,) * len(options))


def read(tokenizer: Any, prompt: str, question: Question, lead: str = "") -> tuple[int, ...]:
    return option_tokens(tokenizer, tokenizer.encode(prompt + question.answer_prefix), question, lead)


CASES = [
    ask(PREFIX, " good", " poor"),
    ask(PREFIX, " good", " fair", " bad"),
    ask(PREFIX + " ", "Good", "Bad"),
    ask("", "Yes", "No"),
    ask(PREFIX + " very", " good", " poor"),
]


@pytest.mark.parametrize("question", CASES, ids=lambda question: f"{question.answer_prefix}+{question.options[0]}")
@pytest.mark.parametrize("prompt", ["<s>USER: <image>\nGood or poor?\n", "Good or poor? ASSISTANT: ", "x" * 2 * WINDOW])
def test_option_is_the_only_token_that_continues_the_text(tokenizer: Plain, prompt: str, question: Question) -> None:
    ids = tokenizer.encode(prompt + question.answer_prefix)
    for option, token in zip(question.options, read(tokenizer, prompt, question), strict=True):
        text = tokenizer.decode(ids)
        scan = [t for t in range(tokenizer.tokenizer.get_vocab_size()) if tokenizer.decode([*ids, t]) == text + option]
        assert scan == [token]


def test_two_options_never_share_a_token(tokenizer: Plain) -> None:
    tokens = read(tokenizer, "<s>", ask(PREFIX, " good", " poor", " bad", " fair"))
    assert len(set(tokens)) == 4


def test_space_that_the_template_writes_belongs_to_the_first_word(tokenizer: Plain) -> None:
    glued = read(tokenizer, "USER: Yes or no? ASSISTANT:", ask("", "Yes", "No"))
    spaced = read(tokenizer, "USER: Yes or no? ASSISTANT:", ask("", "Yes", "No"), lead=" ")
    assert not set(glued) & set(spaced)
    assert spaced == read(tokenizer, "USER: Yes or no? ASSISTANT:", ask("", " Yes", " No"))
    assert spaced == read(tokenizer, "USER: Yes or no? ASSISTANT:", ask("", " Yes", " No"), lead=" ")


def test_several_tokens_are_refused_with_the_remedy(tokenizer: Plain) -> None:
    with pytest.raises(OptionError, match=r"option ' magnificent' after .* tokens \[.*choose a word"):
        read(tokenizer, "<s>", ask(PREFIX, " good", " magnificent"))


def test_options_that_begin_alike_are_named(tokenizer: Plain) -> None:
    with pytest.raises(OptionError, match="' excellentish' begins with the same token"):
        read(tokenizer, "<s>", ask(PREFIX, " excellently", " excellentish"))


class Spacing:
    """Reads its one token with a space behind any other, as vocabularies of Mistral's SentencePiece may."""

    def encode(self, text: str) -> list[int]:
        return [7] if text.strip("\n") == "Yes" else [1, 7]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("[/INST]" if token == 1 else " Yes" for token in ids)


def test_a_word_that_reads_otherwise_behind_the_prompt_says_how() -> None:
    with pytest.raises(OptionError, match=r"'Yes' is no token behind '\[/INST\]': token 7, .* reads ' Yes' there"):
        option_tokens(Spacing(), [1], ask("", "Yes", "No"))
    with pytest.raises(OptionError, match="option ' No' after"):
        option_tokens(Spacing(), [1], ask("", " Yes", " No"))


class TestQwen2:
    """The real vocabulary, with the ids that the published code reads."""

    PROMPT = "<|im_start|>user\nGood or poor?<|im_end|>\n<|im_start|>assistant\n"

    def test_ids(self, qwen2: Any, subtests: pytest.Subtests) -> None:
        for question, want in (
            (ask(PREFIX, " good", " poor"), (1661, 7852)),
            (ask(PREFIX + " ", "Good", "Poor"), (15216, 84103)),
            (ask("", "Good", "Poor"), (15216, 84103)),
            (ask("", "Yes", "No"), (9454, 2753)),
            (ask("The answer is", " yes", " no"), (9834, 902)),
        ):
            with subtests.test(question.answer_prefix):
                assert read(qwen2, self.PROMPT, question) == want

    def test_prefix_that_ends_in_a_space_keeps_it_as_a_token(self, qwen2: Any) -> None:
        assert qwen2.encode(PREFIX + " ")[-1] == 220

    def test_poor_without_its_space_is_two_tokens(self, qwen2: Any) -> None:
        for prefix in ("", PREFIX + " "):
            with pytest.raises(OptionError, match=r"option 'poor' .* 2 tokens \[5368, 269\].*write it ' poor'"):
                read(qwen2, self.PROMPT, ask(prefix, "good", "poor"))

    def test_token_is_the_only_one(self, qwen2: Any) -> None:
        ids = qwen2.encode(self.PROMPT + PREFIX)
        for option, token in zip((" good", " poor"), (1661, 7852), strict=True):
            alike = [t for t in range(151643) if option.strip() in qwen2.decode([t])]
            assert [t for t in alike if qwen2.decode([*ids, t]) == qwen2.decode(ids) + option] == [token]

    def test_word_in_another_language(self, qwen2: Any) -> None:
        assert read(qwen2, self.PROMPT, ask("这张图片的质量", "好", "差"))

    def test_options_are_resolved_where_they_stand(self, qwen2: Any) -> None:
        question = ask(PREFIX, " good", " poor")
        moved = replace(question, answer_prefix=PREFIX + " ", options=("good", "fair"))
        assert read(qwen2, self.PROMPT, question)[0] != read(qwen2, self.PROMPT, moved)[0]
