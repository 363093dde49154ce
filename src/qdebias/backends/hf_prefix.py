"""Prompts of a prefix language model: PaliGemma, which has no chat template.

Images and question are the prefix, in which every token sees every other, images the question too; the answer follows
behind a line break that the processor writes, and there a token sees only what stands before it. So the answer prefix
is no part of the prompt: it goes in as the `suffix` that the processor has for training, without the end of sequence
that is written behind it, and the model stands where it would stand had it written those words itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from qdebias.backends.hf_prompt import HfTokenizer, Prompt, check_placeholders
from qdebias.backends.hf_types import Processor
from qdebias.backends.prompt import Form, normal
from qdebias.errors import PromptError

PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids")


def render(processor: Processor, form: Form) -> Prompt:
    """Return the prompt of a question: the images, then the question.

    Raises:
        PromptError: The images should follow the question, or the question contains a placeholder.
    """
    question = form.question
    if form.placement != "before":
        raise PromptError(
            f"the images do not stand {form.placement} the question {question.text!r}: this model takes images "
            f"first; use the other placement"
        )
    text = processor.image_token * form.images + question.text
    check_placeholders(text, processor.image_token, form.images)
    ending = f"{processor.tokenizer.bos_token}{question.text}\n{question.answer_prefix}"
    return Prompt(text=text, lead="", ending=ending, suffix=question.answer_prefix)


def encode(processor: Processor, prompt: Prompt, pictures: Sequence[Image.Image]) -> Mapping[str, Any]:
    """Return what the processor makes of a prompt.

    Raises:
        PromptError: The tokenizer does not tell the answer prefix from what stands before it.
    """
    made = processor(
        images=[list(pictures)],
        text=[prompt.text],
        suffix=[prompt.suffix] if prompt.suffix else None,
        add_special_tokens=False,
        return_tensors="pt",
    )
    inputs = {name: value for name, value in made.items() if name != "labels"}
    if prompt.suffix:  # the end of sequence
        inputs |= {name: inputs[name][:, :-1] for name in PER_TOKEN}
    behind = inputs["input_ids"][inputs["token_type_ids"] == 1].tolist()
    if normal(HfTokenizer(processor).decode(behind)) != normal(prompt.suffix):
        raise PromptError(
            f"the tokenizer marks {HfTokenizer(processor).decode(behind)!r} as the beginning of the answer instead of "
            f"{prompt.suffix!r}; obtain the tokenizer's files again, or choose another answer_prefix"
        )
    return inputs
