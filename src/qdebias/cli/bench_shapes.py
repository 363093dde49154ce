"""Published architectures with random weights, for `qdebias bench`."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf import Config, Model, Processor
from qdebias.backends.hf.pretrained import load_processor, quiet
from qdebias.errors import SettingError
from qdebias.methods import presets

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A published model without its weights and vocabulary."""

    config: Callable[[Mapping[str, int]], Config]  # from the ids of the special tokens
    processor: Mapping[str, Any]
    images: Mapping[str, Any]  # settings of the image processor
    image: str  # what stands for an image in the chat template
    special: tuple[str, ...]


def _smolvlm_256m(ids: Mapping[str, int]) -> Config:
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    text = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    return transformers.SmolVLMConfig(
        vision_config={**vision, "image_size": 512, "patch_size": 16},
        text_config={
            **text,
            "model_type": "llama",
            "num_key_value_heads": 3,
            "vocab_size": 49280,
            "max_position_embeddings": 8192,
        },
        scale_factor=4,
        image_token_id=ids["<image>"],
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def _qwen2_vl(ids: Mapping[str, int], *, width: int, tied: bool, **text: int) -> Config:
    return transformers.Qwen2VLConfig(
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": width, "num_heads": 16, "patch_size": 14},
        text_config={
            **text,
            "hidden_size": width,
            "num_hidden_layers": 28,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )


_QWEN2_VL = Shape(
    config=partial(
        _qwen2_vl,
        width=1536,
        tied=True,
        intermediate_size=8960,
        vocab_size=151936,
        num_attention_heads=12,
        num_key_value_heads=2,
    ),
    processor={"processor_class": "Qwen2VLProcessor"},
    images={
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 14,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
    },
    image="<|vision_start|><|image_pad|><|vision_end|>",
    special=("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)

SHAPES: Mapping[str, Shape] = {
    "smolvlm-256m": Shape(
        config=_smolvlm_256m,
        processor={"processor_class": "SmolVLMProcessor", "image_seq_len": 64},
        images={
            "image_processor_type": "SmolVLMImageProcessor",
            "do_image_splitting": False,
            "size": {"longest_edge": 512},
            "max_image_size": {"longest_edge": 512},
        },
        image="<image>",
        special=("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"),
    ),
    "qwen2-vl-2b": _QWEN2_VL,
    "qwen2-vl-7b": replace(
        _QWEN2_VL,
        config=partial(
            _qwen2_vl,
            width=3584,
            tied=False,
            intermediate_size=18944,
            vocab_size=152064,
            num_attention_heads=28,
            num_key_value_heads=4,
        ),
    ),
}
"""SmolVLM shows one tile of 64 tokens an image here, as it does where `do_image_splitting` is off."""


def build(
    name: str, device: torch.device, dtype: torch.dtype, seed: int = 0, *, divide: int = 1
) -> tuple[Model, Processor]:
    """Return a model of one of `SHAPES` with random weights and one layer of `divide`, and a processor of its own."""
    if name not in SHAPES:
        raise SettingError(f"there is no shape {name!r}; choose one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    with quiet(), tempfile.TemporaryDirectory() as store:
        folder = Path(store)
        config = shortened(shape.config(write_processor(shape, folder)), divide)
        processor = load_processor(Checkpoint(folder=folder, name=name), config)
        with device:
            model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype)
    noise = torch.Generator(device).manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # keeps the size of activations, so that the probabilities of the options spread
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=noise)
    return model.eval(), processor


def shortened(config: Config, divide: int) -> Config:
    """Keep one of every `divide` layers in both parts, at least one."""
    for part in (config.text_config, config.vision_config):
        for name in {"num_hidden_layers", "depth"} & set(vars(part)):
            setattr(part, name, max(1, getattr(part, name) // divide))
    if getattr(config.text_config, "layer_types", None):
        config.text_config.layer_types = config.text_config.layer_types[: config.text_config.num_hidden_layers]
    return config


def write_processor(shape: Shape, folder: Path) -> dict[str, int]:
    """Write a processor with a small vocabulary into a folder; return the ids of its special tokens."""
    special = ["<pad>", "</s>", "<|im_start|>", "<|im_end|>", *shape.special]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=small_tokenizer(special),
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({**shape.processor, "image_processor": shape.images}))
    (folder / "chat_template.jinja").write_text(CHATML.replace("IMAGE", shape.image))
    return {token: tokenizer.convert_tokens_to_ids(token) for token in special}


def small_tokenizer(special: list[str]) -> tokenizers.Tokenizer:
    """Return a byte-level tokenizer that has each word of the questions as one token, as real ones do."""
    questions = (presets.CONDITIONAL, presets.SAME_OBJECT, presets.VANILLA)
    texts = [" ".join((one.text, one.answer_prefix + one.options[0], *one.options)) for one in questions]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=special,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, "user", "assistant"] * 2, trainer)
    return tokenizer
