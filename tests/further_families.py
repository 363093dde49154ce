"""Tiny checkpoints of families that people use beyond those of `tiny_families`, for one battery of their own."""

from typing import Any

import transformers as tf
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from published_templates import PUBLISHED
from tiny_families import (
    _CLIP,
    _IDEFICS_SPECIAL,
    _LLAVA_PROCESSOR,
    _QWEN_IMAGES,
    _QWEN_SPECIAL,
    MROPE,
    SIZE,
    TEXT,
    VISION,
    WIDTH,
    Family,
    _qwen3_5,
    _qwen3_vl,
    _qwen_ids,
    _qwen_text,
)

EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
SIGLIP = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
GLM_SPECIAL = (
    *("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|image|>", "<|video|>"),
    *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
)


def _glm46v(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": WIDTH}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    return tf.Glm46VConfig(
        vision_config={**vision, "model_type": "glm4v_vision", "image_size": 56, "patch_size": 14},
        text_config={**text, "model_type": "glm4v_text", "vocab_size": ids["vocabulary"], "rope_parameters": rope},
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )


def _vipllava(ids: dict[str, int]) -> Any:
    return tf.VipLlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, projection_dim=WIDTH),
        text_config=tf.LlamaConfig(**TEXT, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
        vision_feature_layers=[-1, 1],
    )


def _qwen3_vl_moe(ids: dict[str, int]) -> Any:
    dense = _qwen3_vl(ids)
    text = {**_qwen_text(ids), **EXPERTS, "rope_parameters": {**MROPE, "mrope_interleaved": True}}
    vision = {name: value for name, value in dense.vision_config.to_dict().items() if name != "model_type"}
    return tf.Qwen3VLMoeConfig(vision_config=vision, text_config=text, **_qwen_ids(ids))


def _qwen3_5_moe(ids: dict[str, int]) -> Any:
    dense = _qwen3_5(ids)
    text = {name: value for name, value in dense.text_config.to_dict().items() if name != "model_type"}
    vision = {name: value for name, value in dense.vision_config.to_dict().items() if name != "model_type"}
    more = {**EXPERTS, "shared_expert_intermediate_size": 16}
    return tf.Qwen3_5MoeConfig(vision_config=vision, text_config={**text, **more}, **_qwen_ids(ids))


def _idefics2(ids: dict[str, int]) -> Any:
    return tf.Idefics2Config(
        vision_config=dict(VISION),
        perceiver_config={
            "hidden_size": WIDTH,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
            "num_key_value_heads": 1,
        },
        text_config={**TEXT, "model_type": "mistral", "vocab_size": ids["vocabulary"], "pad_token_id": 0},
        image_token_id=ids["<image>"],
    )


GEMMA4_NAMED = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}


def _gemma4(ids: dict[str, int]) -> Any:
    text = {**TEXT, "vocab_size": ids["vocabulary"] + 2, "sliding_window": 24, "hidden_size_per_layer_input": 8}
    return tf.Gemma4Config(
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "position_embedding_size": 128,
        },
        text_config={
            **text,
            "layer_types": ["sliding_attention", "full_attention"],
            "global_head_dim": 16,
            "use_bidirectional_attention": "vision",
            "vocab_size_per_layer_input": ids["vocabulary"] + 2,
        },
        audio_config=None,
        boi_token_id=ids["<|image>"],
        eoi_token_id=ids["<image|>"],
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
    )


def _lfm3_vl(ids: dict[str, int]) -> Any:
    return tf.Lfm3VlConfig(
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "patch_size": 14,
            "layer_types": ["conv", "full_attention"],
        },
        text_config={
            **TEXT,
            "model_type": "lfm3",
            "pad_token_id": 0,
            "vocab_size": ids["vocabulary"],
            "layer_types": ["conv", "full_attention"],
        },
        projector_hidden_size=WIDTH,
        **_qwen_ids(ids),
    )


def _paddleocr_vl(ids: dict[str, int]) -> Any:
    return tf.PaddleOCRVLConfig(
        vision_config={**VISION, "model_type": "paddleocr_vl_vision", "image_size": 56},
        text_config={
            **TEXT,
            "model_type": "paddleocr_vl_text",
            "vocab_size": ids["vocabulary"],
            "rope_parameters": MROPE,
        },
        image_token_id=ids["<|IMAGE_PLACEHOLDER|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|IMAGE_START|>"],
        vision_end_token_id=ids["<|IMAGE_END|>"],
    )


OVIS_SPECIAL = ("<|im_start|>", "<|im_end|>", "<image>", "<IMG_ATOM>")
OVIS_MARKS = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")


def _ovis2(ids: dict[str, int]) -> Any:
    return tf.Ovis2Config(
        vision_config={**VISION, "vocab_size": 32, "hidden_stride": 1},
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<IMG_ATOM>"],
        visual_indicator_token_ids=[ids[token] for token in OVIS_MARKS],
        vocab_size=ids["vocabulary"],
        hidden_size=WIDTH,
    )


AYA_TILES = tuple(f"TILE_{number}" for number in range(1, 5))
AYA_SPECIAL = (
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    *("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL"),
    *AYA_TILES,
)


def _aya_vision(ids: dict[str, int]) -> Any:
    return tf.AyaVisionConfig(
        vision_config=SIGLIP,
        text_config={
            **{name: value for name, value in TEXT.items() if name != "head_dim"},
            "model_type": "cohere2",
            "vocab_size": ids["vocabulary"],
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        image_token_index=ids["<|IMG_PATCH|>"],
        downsample_factor=2,
    )


MINICPM_NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def _minicpmv4_6(ids: dict[str, int]) -> Any:
    return tf.MiniCPMV4_6Config(
        vision_config={**VISION, "image_size": 56, "patch_size": 14},
        text_config={**_qwen3_5(ids | {"<|vision_start|>": 0, "<|vision_end|>": 0}).text_config.to_dict()},
        insert_layer_id=0,
        image_size=56,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )


def _video_llama_3(ids: dict[str, int]) -> Any:
    return tf.VideoLlama3Config(
        vision_config={**{name: value for name, value in VISION.items() if name != "image_size"}, "patch_size": 14},
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<image>"],
        video_token_id=ids["<|video_pad|>"],
    )


def _exaone4_5(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": WIDTH}
    return tf.Exaone4_5_Config(
        vision_config={**vision, "num_key_value_heads": 1, "window_size": 56, "fullatt_block_indexes": [1]},
        text_config={
            **TEXT,
            "model_type": "exaone4",
            "vocab_size": ids["vocabulary"],
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )


def _llava_next_video(ids: dict[str, int]) -> Any:
    return tf.LlavaNextVideoConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, projection_dim=WIDTH),
        text_config=tf.LlamaConfig(**TEXT, vocab_size=ids["vocabulary"]),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
    )


def _janus(ids: dict[str, int]) -> Any:
    vision = {**VISION, "projection_dim": WIDTH, "num_image_tokens": 4, "mlp_ratio": 2.0, "depth": 1}
    return tf.JanusConfig(
        vision_config={name: value for name, value in vision.items() if name != "intermediate_size"},
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 16,
            "latent_channels": 32,
            "base_channels": 32,
            "num_res_blocks": 1,
            "channel_multiplier": [1, 1],
            "projection_dim": WIDTH,
            "image_token_embed_dim": WIDTH,
        },
        text_config={**TEXT, "model_type": "llama", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<image_placeholder>"],
    )


def _hunyuan_vl(ids: dict[str, int]) -> Any:
    vision = {name: value for name, value in VISION.items() if name not in ("image_size", "patch_size")}
    return tf.HunYuanVLConfig(
        vision_config={**vision, "patch_size": 14, "out_hidden_size": WIDTH, "text_hidden_size": WIDTH},
        text_config={
            **TEXT,
            "model_type": "hunyuan_vl_text",
            "vocab_size": ids["vocabulary"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2, 2]},
        },
        image_token_id=ids["<img_pad>"],
        im_start_id=ids["<img_start>"],
        im_end_id=ids["<img_end>"],
        im_newline_id=ids["<img_newline>"],
    )


def _aria(ids: dict[str, int]) -> Any:
    return tf.AriaConfig(
        vision_config={**VISION, "model_type": "idefics3_vision", "image_size": 980, "patch_size": 140},
        text_config={**TEXT, "vocab_size": ids["vocabulary"], "moe_num_experts": 2, "moe_num_shared_experts": 1},
        projector_patch_to_query_dict={49: 2},
        image_token_index=ids["<|img|>"],
    )


COMPASS_MARKS = ("<|IMAGE_PAD|>", "<|VIDEO_PAD|>", "<|VISION_START|>", "<|VISION_END|>")


def _cohere_compass(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2, "patch_size": 14}
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    image, video, start, end = (ids[mark] for mark in COMPASS_MARKS)
    return tf.CohereCompassConfig(
        vision_config={
            **vision,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config={
            **text,
            "vocab_size": ids["vocabulary"],
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {"sliding_attention": MROPE, "full_attention": MROPE},
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )


def _deepseek_vl_hybrid(ids: dict[str, int]) -> Any:
    return tf.DeepseekVLHybridConfig(
        vision_config=SIGLIP,
        high_res_vision_config={
            **VISION,
            "image_size": 64,
            "patch_size": 16,
            "model_type": "sam_vision_model",
            "output_channels": 8,
            "mlp_dim": 64,
            "window_size": 2,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
        },
        text_config={**TEXT, "model_type": "llama", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<image_placeholder>"],
    )


ERNIE_NAMED = {
    "image_token": "<|IMAGE_PLACEHOLDER|>",
    "image_start_token": "<|IMAGE_START|>",
    "image_end_token": "<|IMAGE_END|>",
    "video_token": "<|VIDEO_PLACEHOLDER|>",
    "video_start_token": "<|VIDEO_START|>",
    "video_end_token": "<|VIDEO_END|>",
}


def _ernie4_5_vl_moe(ids: dict[str, int]) -> Any:
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    return tf.Ernie4_5_VLMoeConfig(
        vision_config={"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2},
        text_config={
            **text,
            "vocab_size": ids["vocabulary"],
            "rope_parameters": {"rope_type": "default", "mrope_section": [3, 3, 2], "rope_theta": 10000.0},
            "moe_num_experts": 2,
            "moe_k": 1,
            "moe_num_shared_experts": 1,
            "moe_intermediate_size": [16, 16],
        },
        **{f"{name}_id": ids[token] for name, token in ERNIE_NAMED.items()},
    )


EMU_NAMED = {
    "image_token": "<image>",
    "boi_token": "<|image start|>",
    "eoi_token": "<|image end|>",
    "image_wrapper_token": "<|image token|>",
    "eof_token": "<|extra_201|>",
    "eol_token": "<|extra_200|>",
}
EMU_CODES = tuple(f"<|visual token {number:06d}|>" for number in range(8))


def _emu3(ids: dict[str, int]) -> Any:
    return tf.Emu3Config(
        vq_config={
            "codebook_size": 8,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "hidden_size": 32,
            "attn_resolutions": [],
        },
        text_config={**TEXT, "vocab_size": ids["vocabulary"], "attention_dropout": 0.0, "pad_token_id": 0},
        vocabulary_map={token: ids[token] for token in ids if token != "vocabulary"},  # noqa: S105
    )


def _granite4_vision(ids: dict[str, int]) -> Any:
    return tf.Granite4VisionConfig(
        vision_config={**SIGLIP, "hidden_size": 64, "image_size": 56},
        text_config={**TEXT, "vocab_size": ids["vocabulary"]},
        qformer_config={"model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 64},
        image_token_index=ids["<image>"],
        image_grid_pinpoints=[[56, 112], [112, 56]],
        downsample_rate="1/2",
        deepstack_layer_map=[[-2, 0]],
        spatial_target_layers=[0, 0, 1, 1],
        vision_feature_select_strategy="full",
        projector_dropout=0.0,
    )


def _hyperclovax_vision_v2(ids: dict[str, int]) -> Any:
    vision = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": WIDTH}
    return tf.HyperCLOVAXVisionV2Config(
        vision_config={**vision, "window_size": 56, "fullatt_block_indexes": [1]},
        text_config={**TEXT, "model_type": "hyperclovax", "vocab_size": ids["vocabulary"]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )


def _minicpmv4_7(ids: dict[str, int]) -> Any:
    return tf.MiniCPMV4_7Config(
        vision_config={**VISION, "image_size": 56, "patch_size": 14},
        text_config={**_qwen3_5(ids | {"<|vision_start|>": 0, "<|vision_end|>": 0}).text_config.to_dict()},
        insert_layer_id=0,
        image_size=56,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        **{f"{name}_id": ids[f"<{mark}>"] for name, mark in (("image_start", "image"), ("image_end", "/image"))},
        **{f"{name}_id": ids[f"<{mark}>"] for name, mark in (("slice_start", "slice"), ("slice_end", "/slice"))},
        newline_id=ids["<|im_end|>"],  # the small tokenizer has no token of a line break
    )


HUNYUAN_NAMED = {"image_token": "<img_pad>", "image_start_token": "<img_start>", "image_end_token": "<img_end>"}
JANUS_NAMED = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
CHATML = PUBLISHED["internvl3-8b"].template

_FAMILIES = {
    "video_llama_3": Family(
        config=_video_llama_3,
        processor={"processor_class": "VideoLlama3Processor"},
        images={
            "image_processor_type": "VideoLlama3ImageProcessor",
            "size": {"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 12},
            "patch_size": 14,
            "merge_size": 1,
        },
        special=("<|im_start|>", "<|im_end|>", "<image>", "<|video_pad|>"),
        named={"image_token": "<image>"},
        template=PUBLISHED["videollama3-2b"].template,
    ),
    "exaone4_5": Family(
        config=_exaone4_5,
        processor={"processor_class": "Exaone4_5_Processor"},
        images=_QWEN_IMAGES,
        special=(*_QWEN_SPECIAL, "<vision>", "</vision>"),
        template=PUBLISHED["exaone-4.5-33b"].template,
    ),
    "llava_next_video": Family(
        config=_llava_next_video,
        processor={**_LLAVA_PROCESSOR, "processor_class": "LlavaNextVideoProcessor"},
        images={
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": 28},
            "crop_size": SIZE,
            "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]],
        },
        special=("<image>", "<video>"),
        template=PUBLISHED["llava-1.5-7b"].template,
        metaspace=True,
        after=False,
    ),
    "janus": Family(
        config=_janus,
        processor={"processor_class": "JanusProcessor", "num_image_tokens": 4},
        images={"image_processor_type": "JanusImageProcessor", "size": SIZE},
        special=("<|im_start|>", "<|im_end|>", *JANUS_NAMED.values()),
        named=JANUS_NAMED,
        template=CHATML.replace("<IMG_CONTEXT>", "<image_placeholder>"),
    ),
    "hunyuan_vl": Family(
        config=_hunyuan_vl,
        processor={"processor_class": "HunYuanVLProcessor"},
        images={
            "image_processor_type": "HunYuanVLImageProcessor",
            "size": {"shortest_edge": 28 * 28 * 8, "longest_edge": 28 * 28 * 24},
            "patch_size": 14,
        },
        special=("<|im_start|>", "<|im_end|>", "<img_newline>", *HUNYUAN_NAMED.values()),
        named=HUNYUAN_NAMED,
        template=CHATML.replace("<IMG_CONTEXT>\\n", "<img_start><img_pad><img_end>"),
    ),
    "glm46v": Family(
        config=_glm46v,
        processor={"processor_class": "Glm46VProcessor"},
        images={
            "image_processor_type": "Glm46VImageProcessor",
            "size": {"shortest_edge": 28 * 28 * 8, "longest_edge": 28 * 28 * 24},
            "patch_size": 14,
        },
        special=GLM_SPECIAL,
        template=PUBLISHED["glm-4.6v-flash"].template,
    ),
    "vipllava": Family(
        config=_vipllava,
        processor=_LLAVA_PROCESSOR,
        images=_CLIP,
        special=("<image>",),
        template=PUBLISHED["llava-1.5-7b"].template,
        metaspace=True,
        after=False,
    ),
    "qwen3_vl_moe": Family(
        config=_qwen3_vl_moe,
        processor={"processor_class": "Qwen3VLProcessor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=PUBLISHED["qwen3-vl-8b"].template,
    ),
    "qwen3_5_moe": Family(
        config=_qwen3_5_moe,
        processor={"processor_class": "Qwen3VLProcessor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=PUBLISHED["qwen3.6"].template,
    ),
    "idefics2": Family(
        config=_idefics2,
        processor={"processor_class": "Idefics2Processor", "image_seq_len": 4},
        images={
            "image_processor_type": "Idefics2ImageProcessor",
            "size": {"longest_edge": 28, "shortest_edge": 14},
            "do_image_splitting": False,
        },
        special=_IDEFICS_SPECIAL,
        template=PUBLISHED["idefics3-8b"].template,
        metaspace=True,
    ),
    "gemma4": Family(
        config=_gemma4,
        processor={
            "processor_class": "Gemma4Processor",
            "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
        },
        images={
            "image_processor_type": "Gemma4ImageProcessor",
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "max_soft_tokens": 70,
        },
        special=("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|video|>", *GEMMA4_NAMED.values()),
        named=GEMMA4_NAMED,
        template=PUBLISHED["gemma-4-31b"].template,
        metaspace=True,
        leading=False,
    ),
    "lfm3_vl": Family(
        config=_lfm3_vl,
        processor={"processor_class": "Lfm3VlProcessor"},
        images={"image_processor_type": "Qwen2VLImageProcessor", **_QWEN_IMAGES},
        special=_QWEN_SPECIAL,
        template=PUBLISHED["qwen3-vl-8b"].template,
    ),
    "paddleocr_vl": Family(
        config=_paddleocr_vl,
        processor={"processor_class": "PaddleOCRVLProcessor"},
        images={
            "image_processor_type": "PaddleOCRVLImageProcessor",
            "size": {"shortest_edge": 28 * 28 * 8, "longest_edge": 28 * 28 * 24},
            "patch_size": 14,
        },
        special=(
            *("<|begin_of_sentence|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_START|>", "<|IMAGE_END|>", "<|video_pad|>"),
        ),
        named={"image_token": "<|IMAGE_PLACEHOLDER|>"},
        template=PUBLISHED["paddleocr-vl"].template,
        after=False,
    ),
    "ovis2": Family(
        config=_ovis2,
        processor={"processor_class": "Ovis2Processor", "image_seq_length": 4},
        images={
            "image_processor_type": "Ovis2ImageProcessor",
            "size": SIZE,
            "max_patches": 2,
            "crop_to_patches": True,
        },
        special=(*OVIS_SPECIAL, *OVIS_MARKS),
        template=PUBLISHED["internvl3-8b"].template.replace("<IMG_CONTEXT>", "<image>"),
    ),
    "aya_vision": Family(
        config=_aya_vision,
        processor={"processor_class": "AyaVisionProcessor", "img_size": 28, "patch_size": 14, "downsample_factor": 2},
        images={
            "image_processor_type": "GotOcr2ImageProcessor",
            "size": SIZE,
            "crop_to_patches": True,
            "max_patches": 4,
        },
        special=AYA_SPECIAL,
        template=PUBLISHED["internvl3-8b"].template.replace("<IMG_CONTEXT>\\n", "<image>"),
    ),
    "minicpmv4_6": Family(
        config=_minicpmv4_6,
        processor={"processor_class": "MiniCPMV4_6Processor"},
        images={
            "image_processor_type": "MiniCPMV4_6ImageProcessor",
            "scale_resolution": 56,
            "max_slice_nums": 2,
            "patch_size": 14,
        },
        special=("<|im_start|>", "<|im_end|>", *MINICPM_NAMED.values()),
        named=MINICPM_NAMED,
        template=PUBLISHED["minicpm-v-4.6"].template,
    ),
    "aria": Family(
        config=_aria,
        processor={"processor_class": "AriaProcessor", "size_conversion": {"980": 2}},
        images={"image_processor_type": "AriaImageProcessor"},
        special=("<|im_start|>", "<|im_end|>", "<fim_prefix>", "<|img|>", "<fim_suffix>"),
        named={"image_token": "<|img|>"},
        template=PUBLISHED["aria"].template,
    ),
    "cohere_compass": Family(
        config=_cohere_compass,
        processor={"processor_class": "CohereCompassProcessor"},
        images={**_QWEN_IMAGES, "image_processor_type": "CohereCompassImageProcessor"},
        special=("<|im_start|>", "<|im_end|>", *COMPASS_MARKS),
        template=CHATML.replace("<IMG_CONTEXT>\\n", "<|VISION_START|><|IMAGE_PAD|><|VISION_END|>"),
    ),
    "deepseek_vl_hybrid": Family(
        config=_deepseek_vl_hybrid,
        processor={"processor_class": "DeepseekVLHybridProcessor", "num_image_tokens": 4},
        images={
            "image_processor_type": "DeepseekVLHybridImageProcessor",
            "size": SIZE,
            "high_res_size": {"height": 64, "width": 64},
        },
        special=("<image_placeholder>",),
        named={"image_token": "<image_placeholder>"},
        template=PUBLISHED["deepseek-vl-1.3b"].template,
    ),
    "ernie4_5_vl_moe": Family(
        config=_ernie4_5_vl_moe,
        processor={"processor_class": "Ernie4_5_VLMoeProcessor"},
        images={
            "image_processor_type": "Ernie4_5_VLMoeImageProcessor",
            "size": {"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 12},
        },
        special=("<|im_start|>", "<|im_end|>", *ERNIE_NAMED.values()),
        named=ERNIE_NAMED,
        template=CHATML.replace("<IMG_CONTEXT>\\n", "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"),
    ),
    "emu3": Family(
        config=_emu3,
        processor={"processor_class": "Emu3Processor"},
        images={
            "image_processor_type": "Emu3ImageProcessor",
            "min_pixels": 32 * 32,
            "max_pixels": 48 * 48,
            "spatial_factor": 8,
        },
        special=(*EMU_NAMED.values(), *EMU_CODES),
        named=EMU_NAMED,
        after=False,
        template=PUBLISHED["emu3-chat"].template,
    ),
    "granite4_vision": Family(
        config=_granite4_vision,
        processor={
            "processor_class": "Granite4VisionProcessor",
            "patch_size": 14,
            "vision_feature_select_strategy": "full",
            "downsample_rate": "1/2",
        },
        images={
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"height": 56, "width": 56},
            "crop_size": {"height": 56, "width": 56},
            "image_grid_pinpoints": [[56, 112], [112, 56]],
        },
        special=("<|im_start|>", "<|im_end|>", "<image>"),
        template=CHATML.replace("<IMG_CONTEXT>", "<image>"),
    ),
    "hyperclovax_vision_v2": Family(
        config=_hyperclovax_vision_v2,
        processor={"processor_class": "HyperCLOVAXVisionV2Processor"},
        images=_QWEN_IMAGES,
        special=_QWEN_SPECIAL,
        template=PUBLISHED["qwen3-vl-8b"].template,
    ),
    "minicpmv4_7": Family(
        config=_minicpmv4_7,
        processor={"processor_class": "MiniCPMV4_7Processor"},
        images={
            "image_processor_type": "MiniCPMV4_6ImageProcessor",
            "scale_resolution": 56,
            "max_slice_nums": 2,
            "patch_size": 14,
        },
        special=("<|im_start|>", "<|im_end|>", *MINICPM_NAMED.values()),
        named=MINICPM_NAMED,
        template=PUBLISHED["minicpm-v-4.6"].template,
    ),
}

FURTHER = {name: family for name, family in _FAMILIES.items() if name in CONFIG_MAPPING}
"""Those that the installed transformers has: 5.20 lacks LFM3-VL."""
