"""An untrained checkpoint folder: configuration, tokenizer, chat template, processor, random weights."""

from collections.abc import Iterable
from pathlib import Path

import torch
from pretrained import (
    NanoConfig,
    NanoForConditionalGeneration,
    NanoImageProcessor,
    NanoProcessor,
    NanoVisionConfig,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from qdebias.backends.nano.modeling import TOKENS
from qdebias.backends.nano.statistics import SIZE

SPECIAL = ["<|pad|>", "<image>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|' + message['role'] + '|>\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<image>' -}}{%- else -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{- '<|end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}"
)
OPTIONS = """good poor yes no excellent great fair average medium mediocre bad terrible awful high low fine
 first second third one two left right better worse same different neutral neither both acceptable perfect
 sharp blurry clear noisy clean dirty bright dark true false equal positive negative very""".split()  # noqa: SIM905
WORDS = """the a of is are in to and or this that these those it image images picture pictures photo photos
 photograph photographs quality visual perceptual overall technical how about what which does do did show shows
 describe describes depict object objects scene thing content subject rate rating judge assess evaluate say tell
 would you your me please call think consider given compared has have been was not than with for as on at by from
 between there here its their more less most least much level score word answer reply question look looks seem
 seems appear appears contain contains follow following other another former latter next previous begin
 beginning end start shown presented seen view viewer human people opinion describe give choose pick select
 select now then so if but while whereas""".split()  # noqa: SIM905
VOCABULARY = 1536


def tokenizer(sentences: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which every option is one token, with and without a leading space."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    forms = [form for word in OPTIONS * 20 + WORDS for form in (word, word.capitalize())]
    often = [text for form in forms for text in (form, " " + form)] * 5
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*often, *sentences], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[4],
        additional_special_tokens=SPECIAL[1:4],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )
    for word in OPTIONS:
        for form in (word, word.capitalize(), " " + word, " " + word.capitalize()):
            if len(fast.encode(form)) != 1:
                raise ValueError(f"{form!r} becomes {fast.encode(form)}; enlarge VOCABULARY")
    return fast


def untrained(seed: int, words: PreTrainedTokenizerFast) -> tuple[NanoForConditionalGeneration, NanoProcessor]:
    """Return the model with random weights and its processor."""
    torch.manual_seed(seed)
    vision = NanoVisionConfig(statistics_size=SIZE)
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=vision.hidden_size,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    config = NanoConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    processor = NanoProcessor(
        NanoImageProcessor(), words, image_seq_length=config.image_seq_length, chat_template=TEMPLATE
    )
    return NanoForConditionalGeneration(config).eval(), processor


def save(folder: Path, model: NanoForConditionalGeneration, processor: NanoProcessor) -> None:
    """Write everything that the Auto classes need."""
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


if __name__ == "__main__":
    from qdebias.backends.nano import CHECKPOINT

    save(CHECKPOINT, *untrained(0, tokenizer([])))
