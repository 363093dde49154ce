"""What makes a tiny checkpoint of each family: configuration, processor, special tokens, chat template.

The templates are of the kinds that the published models have, cut down to what matters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import transformers as tf

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
ONEVISION = (  # images first, and white space in a reply that its prompt has not, as LLaVA-OneVision's template
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ '\\n' + part['text'] }}{% endgeneration %}"
    "{% else %}{{ '\\n' + part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INTERLEAVE = (  # images first, and an empty line before every text
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
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
        template: The chat template; empty: there is none.
        metaspace: A tokenizer as SentencePiece makes them, instead of a byte-level one.
        leading: Whether that one puts a space before the first word, as Llama's does and Gemma's does not.
        after: Whether the template keeps images behind the question.
        trims: Whether the template drops the space at the end of the answer prefix.
        torchvision: Whether the processor imports torchvision.
    """

    config: Callable[[dict[str, int]], Any]
    processor: dict[str, Any]
    images: dict[str, Any]
    special: tuple[str, ...]
    template: str
    named: dict[str, str] = field(default_factory=dict)
    metaspace: bool = False
    leading: bool = True
    after: bool = True
    trims: bool = False
    torchvision: bool = False


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


def _llava_interleave(ids: dict[str, int]) -> Any:
    return tf.LlavaConfig(
        vision_config=tf.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=tf.Qwen2Config(**TEXT, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
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


def _deepseek_vl(ids: dict[str, int]) -> Any:
    return tf.DeepseekVLConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**TEXT, "model_type": "llama", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<image_placeholder>"],
    )


def _glm4v(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": WIDTH}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    return tf.Glm4vConfig(
        vision_config={**vision, "image_size": 56, "patch_size": 14},
        text_config={**text, "vocab_size": ids["vocabulary"], "rope_parameters": rope},
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )


def _llava_next(ids: dict[str, int]) -> Any:
    return tf.LlavaNextConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, projection_dim=WIDTH),
        text_config=tf.LlamaConfig(**TEXT, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
    )


def _mistral3(ids: dict[str, int]) -> Any:
    return tf.Mistral3Config(
        vision_config={**VISION, "model_type": "pixtral", "image_size": 112, "head_dim": 16},
        text_config={**TEXT, "model_type": "mistral", "vocab_size": ids["vocabulary"]},
        image_token_index=ids["[IMG]"],
        spatial_merge_size=2,
    )


def _mllama(ids: dict[str, int]) -> Any:
    vision = {**VISION, "num_hidden_layers": 2, "attention_heads": 2, "num_global_layers": 1}
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    return tf.MllamaConfig(
        vision_config={
            **{name: value for name, value in vision.items() if name != "num_attention_heads"},
            "vision_output_dim": 2 * WIDTH,
            "intermediate_layers_indices": [0],
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            "max_num_tiles": 2,
        },
        text_config={
            **text,
            "num_hidden_layers": 3,
            "cross_attention_layers": [1],
            "vocab_size": ids["vocabulary"],
            "pad_token_id": ids["<pad>"],
        },
        image_token_index=ids["<|image|>"],
    )


EXTRA = 1024 + 128
"""Tokens for places and segments that PaliGemma's processor adds to the vocabulary."""


def _paligemma(ids: dict[str, int]) -> Any:
    return tf.PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**TEXT, "model_type": "gemma", "vocab_size": ids["vocabulary"] + EXTRA, "pad_token_id": 0},
        image_token_index=ids["<image>"],
        projection_dim=WIDTH,
    )


def _paligemma2(ids: dict[str, int]) -> Any:
    config = _paligemma(ids)
    text = {**TEXT, "sliding_window": 24, "query_pre_attn_scalar": 16, "pad_token_id": 0}
    config.text_config = tf.Gemma2Config(**text, vocab_size=ids["vocabulary"] + EXTRA)
    return config


def _qwen3_5(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2, "patch_size": 14}
    text = {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
    widths = {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
    layers = ["linear_attention", "full_attention"]
    rope = {**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
    return tf.Qwen3_5Config(
        vision_config={**vision, "out_hidden_size": WIDTH, "num_position_embeddings": 16},
        text_config={**_qwen_text(ids), **text, **widths, "layer_types": layers, "rope_parameters": rope},
        **_qwen_ids(ids),
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

_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST]"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}[IMG]{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}[/INST]{% else %}{{ message['content'][0]['text'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}<|end|>\n\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|image|>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)

_PALIGEMMA = {
    "processor": {"processor_class": "PaliGemmaProcessor"},
    "images": {"image_processor_type": "SiglipImageProcessor", "size": SIZE, "image_seq_length": 4},
    "special": ("<image>",),
    "template": "",
    "metaspace": True,
    "leading": False,
    "after": False,
}

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
        template=ONEVISION,
        after=False,
    ),
    "llava_interleave": Family(
        config=_llava_interleave,
        processor={
            "processor_class": "LlavaProcessor",
            "patch_size": 14,
            "vision_feature_select_strategy": "full",
            "num_additional_image_tokens": 0,
        },
        images={"image_processor_type": "SiglipImageProcessor", "size": SIZE},
        special=("<|im_start|>", "<|im_end|>", "<image>"),
        template=INTERLEAVE,
        after=False,
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
    "deepseek_vl": Family(
        config=_deepseek_vl,
        processor={"processor_class": "DeepseekVLProcessor", "num_image_tokens": 4},
        images={"image_processor_type": "DeepseekVLImageProcessor", "size": SIZE},
        special=("<|im_start|>", "<|im_end|>", "<image_placeholder>"),
        named={"image_token": "<image_placeholder>"},
        template=CHATML.replace("IMAGE", "<image_placeholder>"),
    ),
    "glm4v": Family(
        config=_glm4v,
        processor={"processor_class": "Glm4vProcessor"},
        images={
            "image_processor_type": "Glm4vImageProcessor",
            "size": {"shortest_edge": 28 * 28 * 8, "longest_edge": 28 * 28 * 24},
            "patch_size": 14,
        },
        special=(
            *("<|im_start|>", "<|im_end|>", "<|image|>", "<|video|>"),
            *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
        ),
        template=CHATML.replace("IMAGE", "<|begin_of_image|><|image|><|end_of_image|>"),
    ),
    "llava_next": Family(
        config=_llava_next,
        processor={**_LLAVA_PROCESSOR, "processor_class": "LlavaNextProcessor"},
        images={
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": 28},
            "crop_size": SIZE,
            "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]],
        },
        special=("<image>",),
        template=BAKLLAVA,
        metaspace=True,
    ),
    "mistral3": Family(
        config=_mistral3,
        processor={"processor_class": "PixtralProcessor", "patch_size": 14, "spatial_merge_size": 2},
        images={
            "image_processor_type": "PixtralImageProcessor",
            "size": {"longest_edge": 112},
            "patch_size": {"height": 28, "width": 28},
        },
        special=("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        template=_MISTRAL,
        torchvision=True,
    ),
    "mllama": Family(
        config=_mllama,
        processor={"processor_class": "MllamaProcessor"},
        images={"image_processor_type": "MllamaImageProcessor", "size": SIZE, "max_image_tiles": 2},
        special=("<|start|>", "<|end|>", "<|eot|>", "<|image|>", "<|python_tag|>"),
        template=_LLAMA3,
    ),
    "qwen3_5": Family(
        config=_qwen3_5,
        processor={"processor_class": "Qwen3VLProcessor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=QWEN,
    ),
    "paligemma": Family(config=_paligemma, **_PALIGEMMA),
    "paligemma2": Family(config=_paligemma2, **_PALIGEMMA),
}
