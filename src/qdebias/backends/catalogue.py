"""Models that are known by a short name, and what to know before using them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One line of `qdebias models`.

    Attributes:
        name: What `load_backend` takes.
        hub_id: Where the weights are; empty if they come with the package.
        licence: Of the weights.
        pairs: Whether the model was trained on several images in one prompt. Others accept two, but were never
            taught to compare them.
        gibibytes: Memory of the weights in bfloat16.
        note: What else matters, in one sentence.
    """

    name: str
    hub_id: str
    licence: str
    pairs: bool
    gibibytes: float
    note: str = ""


SEE = "see the model's page"

KNOWN_MODELS = (
    KnownModel(
        name="nano",
        hub_id="",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=0.01,
        note="comes with the package; for trying things out and for tests",
    ),
    KnownModel(
        name="mplug-owl3",
        hub_id="mPLUG/mPLUG-Owl3-7B-240728",
        licence=SEE,
        pairs=True,
        gibibytes=15.0,
        note="the model of the paper; native",
    ),
    KnownModel(
        name="mplug-owl3-241101",
        hub_id="mPLUG/mPLUG-Owl3-7B-241101",
        licence=SEE,
        pairs=True,
        gibibytes=15.0,
        note="a later release; native",
    ),
    KnownModel(
        name="qwen-vl",
        hub_id="Qwen/Qwen-VL",
        licence="Tongyi Qianwen",
        pairs=True,
        gibibytes=18.0,
        note="of the paper's Table 2; native",
    ),
    KnownModel(
        name="qwen-vl-chat",
        hub_id="Qwen/Qwen-VL-Chat",
        licence="Tongyi Qianwen",
        pairs=True,
        gibibytes=18.0,
        note="native",
    ),
    KnownModel(
        name="bakllava",
        hub_id="llava-hf/bakLlava-v1-hf",
        licence=SEE,
        pairs=False,
        gibibytes=14.1,
        note="of the paper's Table 2; crops the borders of images that are not square",
    ),
    KnownModel(
        name="llava-1.5-7b",
        hub_id="llava-hf/llava-1.5-7b-hf",
        licence="Llama 2",
        pairs=False,
        gibibytes=13.2,
        note="crops the borders of images that are not square; its template keeps images before the question",
    ),
    KnownModel(
        name="llava-onevision-7b",
        hub_id="llava-hf/llava-onevision-qwen2-7b-ov-hf",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=15.0,
    ),
    KnownModel(
        name="llava-interleave-7b",
        hub_id="llava-hf/llava-interleave-qwen-7b-hf",
        licence="Tongyi Qianwen research",
        pairs=True,
        gibibytes=15.2,
    ),
    KnownModel(name="qwen2-vl-2b", hub_id="Qwen/Qwen2-VL-2B-Instruct", licence="Apache-2.0", pairs=True, gibibytes=4.1),
    KnownModel(
        name="qwen2.5-vl-7b", hub_id="Qwen/Qwen2.5-VL-7B-Instruct", licence="Apache-2.0", pairs=True, gibibytes=15.4
    ),
    KnownModel(
        name="qwen3-vl-8b", hub_id="Qwen/Qwen3-VL-8B-Instruct", licence="Apache-2.0", pairs=True, gibibytes=16.3
    ),
    KnownModel(
        name="internvl3-8b",
        hub_id="OpenGVLab/InternVL3-8B-hf",
        licence=SEE,
        pairs=True,
        gibibytes=14.8,
    ),
    KnownModel(
        name="smolvlm-256m",
        hub_id="HuggingFaceTB/SmolVLM-256M-Instruct",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=0.5,
    ),
    KnownModel(
        name="gemma-3-4b",
        hub_id="google/gemma-3-4b-it",
        licence="Gemma terms, to be accepted on the hub",
        pairs=True,
        gibibytes=8.0,
    ),
)
"""Licences and sizes are for orientation; what counts is the page of the model."""
