"""Tiny checkpoints with random weights, of true architectures, written in the layouts that are found in the wild.

`checkpoint("qwen2_vl")` is what today's transformers saves; `checkpoint("qwen2_vl", hub=True)` is what the hub has had
since 2023: preprocessor_config.json, chat_template.json, torch_dtype.
"""

import atexit
import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers as tk
import torch
import transformers as tf

from qdebias.backends.quiet import quiet

torch.set_num_threads(1)  # for tensors this small, threads cost more than they give

WIDTH = 32
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
SIZE = {"height": 28, "width": 28}
QWEN_SIZE = {"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 12}

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
LLAVA = (  # puts every image first, as the template of LLaVA-1.5 does
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>\n{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }} {% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
BAKLLAVA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}\n"
    "{% endif %}{% endfor %}[/INST]{% else %} {{ message['content'][0]['text'] }}<\\s> {% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else "
    "'user' }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>{% else %}"
    "{{ part['text'] | trim }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}"
    "<start_of_turn>model\n{% endif %}"
)
IDEFICS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """What makes one tiny checkpoint.

    Attributes:
        config: Gives the configuration when told the ids of the special tokens.
        processor: Class name and arguments of the processor.
        images: Type and settings of the image processor.
        special: Special tokens of the tokenizer; those with a name are stored under it too.
        named: name -> special token.
        template: The chat template.
        metaspace: A tokenizer as SentencePiece makes them, instead of a byte-level one.
        after: Whether the template keeps images behind the question.
        trims: Whether the template drops the space at the end of the answer prefix.
    """

    config: Callable[[dict[str, int]], Any]
    processor: dict[str, Any]
    images: dict[str, Any]
    special: tuple[str, ...]
    template: str
    named: dict[str, str] = field(default_factory=dict)
    metaspace: bool = False
    after: bool = True
    trims: bool = False


@functools.cache
def checkpoint(name: str, *, hub: bool = False) -> Path:
    """Return the folder of a tiny checkpoint; it is made once, and to be copied by whoever wants to change it."""
    store = tempfile.TemporaryDirectory(prefix="qdebias-tiny-")
    atexit.register(store.cleanup)
    return build(name, Path(store.name) / name, hub=hub)


def build(name: str, folder: Path, *, hub: bool = False) -> Path:
    """Write a checkpoint of a family and return its folder."""
    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    ids = _save_tokenizer(family, folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tf.AutoModelForImageTextToText.from_config(family.config(ids), dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
    write = _write_hub if hub else _write_today
    write(family, folder)
    return folder


def _write_today(family: Family, folder: Path) -> None:
    _write(folder / "processor_config.json", {**family.processor, "image_processor": family.images})
    (folder / "chat_template.jinja").write_text(family.template)


def _write_hub(family: Family, folder: Path) -> None:
    images = {**family.images, "processor_class": family.processor["processor_class"]}
    if "Qwen2VL" in images["image_processor_type"]:
        size = images.pop("size")
        images |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    _write(folder / "preprocessor_config.json", images)
    _write(folder / "chat_template.json", {"chat_template": family.template})
    if len(family.processor) > 1:
        _write(folder / "processor_config.json", family.processor)
    config = json.loads((folder / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    _write(folder / "config.json", config)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _save_tokenizer(family: Family, folder: Path) -> dict[str, int]:
    special = ["<pad>", "<s>", "</s>", *family.special]
    tokenizer = metaspace_bpe(special) if family.metaspace else byte_bpe(special)
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>" if "bos_token" in family.template or family.metaspace else None,
        eos_token="</s>",  # noqa: S106
        clean_up_tokenization_spaces=False,
        extra_special_tokens=family.named or None,
    )
    fast.save_pretrained(folder)
    return {token: fast.convert_tokens_to_ids(token) for token in special} | {"vocabulary": len(fast)}


_WORDS = (
    "The visual quality of the first image is poor . How about the visual quality of the second image ? Good or poor ?",
    "Do these two images describe the same object ? Yes or no ? Yes No Good good Yes yes no",
    "The quality of the image is good . The quality of the image is bad . is excellent fair Excellent Fair Bad bad",
    "USER : ASSISTANT : user assistant system Rate the quality of the image",
)


def byte_bpe(special: list[str]) -> tk.Tokenizer:
    """A small tokenizer of the GPT-2 and Qwen kind; "poor" is one token only with its space."""
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_WORDS * 4, trainer)
    return tokenizer


def metaspace_bpe(special: list[str]) -> tk.Tokenizer:
    """A small tokenizer of the Llama kind: spaces are a letter, and one stands before the first word."""
    tokenizer = tk.Tokenizer(tk.models.BPE(unk_token="<s>"))  # noqa: S106
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = tk.decoders.Sequence(
        [tk.decoders.Replace("▁", " "), tk.decoders.Fuse(), tk.decoders.Strip(" ", 1, 0)]
    )
    alphabet = [chr(code) for code in range(33, 127)] + ["\n"]
    trainer = tk.trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*_WORDS * 4, "Good", "Poor", "Yes", "No"] * 2, trainer)
    start = special.index("<s>")
    tokenizer.post_processor = tk.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    return tokenizer


def _llava(ids: dict[str, int]) -> Any:
    return tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, projection_dim=WIDTH),
        text_config=tf.LlamaConfig(**TEXT, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
    )


def _bakllava(ids: dict[str, int]) -> Any:
    return tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, projection_dim=WIDTH),
        text_config=tf.MistralConfig(**TEXT, sliding_window=24, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
    )


def _llava_onevision(ids: dict[str, int]) -> Any:
    return tf.LlavaOnevisionConfig(
        vision_config=tf.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=tf.Qwen2Config(**TEXT, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=[[28, 28], [28, 56], [56, 28], [56, 56]],
    )


def _qwen_ids(ids: dict[str, int]) -> dict[str, int]:
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _qwen_text(ids: dict[str, int]) -> dict[str, Any]:
    return {**TEXT, "vocab_size": ids["vocabulary"], "rope_parameters": MROPE}


def _qwen2_vl(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "embed_dim": WIDTH, "hidden_size": WIDTH, "num_heads": 2, "patch_size": 14}
    text = {name: value for name, value in _qwen_text(ids).items() if name != "head_dim"}
    return tf.Qwen2VLConfig(vision_config=vision, text_config=text, **_qwen_ids(ids))


def _qwen2_5_vl(ids: dict[str, int]) -> Any:
    vision = {
        "depth": 2,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    text = {name: value for name, value in _qwen_text(ids).items() if name != "head_dim"}
    return tf.Qwen2_5_VLConfig(vision_config=vision, text_config=text, **_qwen_ids(ids))


def _qwen3_vl(ids: dict[str, int]) -> Any:
    vision = {
        "depth": 2,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 14,
        "out_hidden_size": WIDTH,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    text = {**_qwen_text(ids), "rope_parameters": {**MROPE, "mrope_interleaved": True}}
    return tf.Qwen3VLConfig(vision_config=vision, text_config=text, **_qwen_ids(ids))


def _smolvlm(ids: dict[str, int]) -> Any:
    return tf.SmolVLMConfig(
        vision_config=dict(VISION),
        text_config={**TEXT, "model_type": "llama", "vocab_size": ids["vocabulary"], "pad_token_id": 0},
        image_token_id=ids["<image>"],
        pad_token_id=0,
    )


def _idefics3(ids: dict[str, int]) -> Any:
    return tf.Idefics3Config(
        vision_config=dict(VISION),
        text_config={**TEXT, "model_type": "llama", "vocab_size": ids["vocabulary"], "pad_token_id": 0},
        image_token_id=ids["<image>"],
        pad_token_id=0,
    )


def _internvl(ids: dict[str, int]) -> Any:
    vision = {**VISION, "image_size": [28, 28], "patch_size": [14, 14]}
    return tf.InternVLConfig(
        vision_config=vision,
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=1,
    )


def _gemma3(ids: dict[str, int]) -> Any:
    text = {**TEXT, "vocab_size": ids["vocabulary"], "sliding_window": 24, "query_pre_attn_scalar": 16}
    return tf.Gemma3Config(
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**text, "layer_types": ["sliding_attention", "full_attention"]},
        mm_tokens_per_image=4,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )


_LLAVA_PROCESSOR = {
    "processor_class": "LlavaProcessor",
    "patch_size": 14,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}
_CLIP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 28}, "crop_size": SIZE}
_QWEN_IMAGES = {"image_processor_type": "Qwen2VLImageProcessor", "size": QWEN_SIZE, "patch_size": 14}
_QWEN_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_TILES = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
_IDEFICS_SPECIAL = (
    "<|im_start|>",
    "<image>",
    "<fake_token_around_image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)

FAMILIES = {
    "llava": Family(
        config=_llava,
        processor=_LLAVA_PROCESSOR,
        images=_CLIP,
        special=("<image>",),
        template=LLAVA,
        metaspace=True,
        after=False,
    ),
    "bakllava": Family(
        config=_bakllava,
        processor=_LLAVA_PROCESSOR,
        images=_CLIP,
        special=("<image>",),
        template=BAKLLAVA,
        metaspace=True,
    ),
    "llava_onevision": Family(
        config=_llava_onevision,
        processor={
            "processor_class": "LlavaOnevisionProcessor",
            "num_image_tokens": 4,
            "vision_feature_select_strategy": "full",
        },
        images={
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "size": SIZE,
            "image_grid_pinpoints": [[28, 28], [28, 56], [56, 28], [56, 56]],
        },
        special=("<|im_start|>", "<|im_end|>", "<image>", "<video>"),
        template=CHATML.replace("IMAGE", "<image>"),
    ),
    "qwen2_vl": Family(
        config=_qwen2_vl,
        processor={"processor_class": "Qwen2VLProcessor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=QWEN,
    ),
    "qwen2_5_vl": Family(
        config=_qwen2_5_vl,
        processor={"processor_class": "Qwen2_5_VLProcessor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=QWEN,
    ),
    "qwen3_vl": Family(
        config=_qwen3_vl,
        processor={"processor_class": "Qwen3VLProcessor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=QWEN,
    ),
    "smolvlm": Family(
        config=_smolvlm,
        processor={"processor_class": "SmolVLMProcessor", "image_seq_len": 1},
        images={"image_processor_type": "SmolVLMImageProcessor", **_TILES},
        special=_IDEFICS_SPECIAL,
        template=IDEFICS,
    ),
    "idefics3": Family(
        config=_idefics3,
        processor={"processor_class": "Idefics3Processor", "image_seq_len": 1},
        images={"image_processor_type": "Idefics3ImageProcessor", **_TILES},
        special=_IDEFICS_SPECIAL,
        template=IDEFICS,
    ),
    "internvl": Family(
        config=_internvl,
        processor={"processor_class": "InternVLProcessor", "image_seq_length": 1},
        images={"image_processor_type": "GotOcr2ImageProcessor", "size": SIZE, "crop_to_patches": True},
        special=("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        named={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        template=CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
    ),
    "gemma3": Family(
        config=_gemma3,
        processor={"processor_class": "Gemma3Processor", "image_seq_length": 4},
        images={"image_processor_type": "Gemma3ImageProcessor", "size": SIZE},
        special=("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        named={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        template=GEMMA,
        trims=True,
    ),
}
