"""Models that are known by a short name, and what to know before using them.

Licences are those of the weights as the pages of the models name them, with "not verified" where no page was at hand.
Memory is the number of parameters in bfloat16, from the published files. What counts is the page of the model.
"""

from dataclasses import dataclass

from qdebias.errors import SettingError
from qdebias.system.named import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One line of `qdebias models`.

    Attributes:
        name: What `load_backend` takes.
        hub_id: Where the weights are; empty if they come with the package.
        licence: Of the weights.
        pairs: Whether the model was trained on several images in one prompt; None: its page does not say. Those that
            were not accept two, but were never taught to compare them.
        gibibytes: Memory of the weights in bfloat16; None: not known.
        form: How a question is written for it.
        pixels: How an image is resized before the model sees it.
        note: What else matters, in one sentence.
        caution: What is said wherever it is used.
        baseline: Whether it is a measure of pixels rather than a model.
    """

    name: str
    hub_id: str
    licence: str
    pairs: bool | None
    gibibytes: float | None
    form: str
    pixels: str
    note: str = ""
    caution: str = ""
    baseline: bool = False


NANO_SRCC = ".622"
"""Of `nano` with `paper`, as its card has it; every note about it says this figure."""

_CHATML = "chat template: ChatML, <|im_start|>user ... <|im_start|>assistant"
_IMAGES_FIRST = "chat template: ChatML, images always first"
_TERMS = "its terms are to be accepted on the hub"
_TONGYI = "Tongyi Qianwen"
_CROPPED = "shorter side to 336, then the square in the middle: the ends of other images are not seen"
_QWEN_LIMITS = "aspect kept, {} pixels; see min_pixels and max_pixels"
_LEVELS = "trained to say one of five levels: use --method q-align"
_OWN = "chat template of its own, which we have not seen"
_GLM = "chat template: <|user|> ... <|assistant|>; the reply begins with a thought, see +prefixed"
_PADDLE = "chat template: User: ... Assistant:, images always first"
_PATCHES = "aspect kept, in patches"
_SLICES = "tiles, by the aspect of the image, and the whole"
_EXPERTS = "a mixture of experts"
_UNKNOWN = "not verified"
_TILES = "tiles of {} pixels and the whole"

KNOWN_MODELS = (
    KnownModel(
        name="nano",
        hub_id="",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=0.01,
        form="chat template of its own",
        pixels="a thumbnail and views in more detail, of fixed size",
        note="comes with the package; for trying things out and for tests",
        caution=f"nano is for trying things out: on 900 real photographs its SRCC with people is {NANO_SRCC}, that of "
        "sharpness, one line of arithmetic, .619; for real work see docs/choosing.md",
    ),
    KnownModel(
        name="nano-biased",
        hub_id="",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=0.01,
        form="chat template of its own",
        pixels="a thumbnail and views in more detail, of fixed size",
        note="as nano, but taught to overrate green and blue, to show what the method removes",
    ),
    *(
        KnownModel(
            name=name,
            hub_id="",
            licence="Apache-2.0",
            pairs=False,
            gibibytes=0,
            form="none: it reads no words",
            pixels="as they are",
            note=f"baseline, no model: {what}; use it with --method vanilla",
            baseline=True,
        )
        for name, what in (
            ("sharpness", "how large the Laplacian is at the sharpest places"),
            ("bytes", "bits a pixel as a JPEG of quality 75"),
        )
    ),
    KnownModel(
        name="mplug-owl3",
        hub_id="mPLUG/mPLUG-Owl3-7B-240728",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=15.0,
        form="native: ChatML",
        pixels="squeezed to 384 x 384, of which 378 are seen; see cut in docs/mplug_owl3.md",
        note="the model of the paper; native",
    ),
    KnownModel(
        name="mplug-owl3-241101",
        hub_id="mPLUG/mPLUG-Owl3-7B-241101",
        licence="not verified",
        pairs=True,
        gibibytes=15.0,
        form="native: ChatML",
        pixels="squeezed to 378 x 378; see cut in docs/mplug_owl3.md",
        note="a later release; native",
    ),
    KnownModel(
        name="qwen-vl",
        hub_id="Qwen/Qwen-VL",
        licence=_TONGYI,
        pairs=True,
        gibibytes=18.0,
        form="native: plain text, Picture 1: ... Picture 2: ... question, answer",
        pixels="squeezed to 448 x 448",
        note="of the paper's Table 2; native",
    ),
    KnownModel(
        name="qwen-vl-chat",
        hub_id="Qwen/Qwen-VL-Chat",
        licence=_TONGYI,
        pairs=True,
        gibibytes=18.0,
        form="native: ChatML",
        pixels="squeezed to 448 x 448",
        note="native",
    ),
    *(
        KnownModel(
            name=name,
            hub_id=hub_id,
            licence=licence,
            pairs=pairs,
            gibibytes=15.3,
            form="native: USER: question, line break, image, line break, ASSISTANT:",
            pixels="padded to a square, then 448 x 448",
            note=note,
        )
        for name, hub_id, licence, pairs, note in (
            ("one-align", "q-future/one-align", "MIT", False, f"{_LEVELS}, of images, aesthetics and videos; native"),
            ("deqa-score", "zhiyuanyou/DeQA-Score-Mix3", "MIT", False, f"{_LEVELS}; native"),
            ("q-instruct", "teowu/mplug_owl2_7b_448_qinstruct_preview_v0.1", "Apache-2.0", None, "native"),
            ("co-instruct", "q-future/co-instruct", "not verified", True, "takes form='named'; native"),
        )
    ),
    KnownModel(
        name="bakllava",
        hub_id="llava-hf/bakLlava-v1-hf",
        licence="Llama 2",
        pairs=False,
        gibibytes=14.1,
        form="chat template: [INST] ... [/INST]",
        pixels=_CROPPED,
        note="of the paper's Table 2; trained on data that its authors call not commercially permissive",
    ),
    KnownModel(
        name="llava-1.5-7b",
        hub_id="llava-hf/llava-1.5-7b-hf",
        licence="Llama 2",
        pairs=False,
        gibibytes=13.2,
        form="chat template: USER: ... ASSISTANT:, images always first",
        pixels=_CROPPED,
        note="its template keeps images before the question",
    ),
    KnownModel(
        name="llava-onevision-7b",
        hub_id="llava-hf/llava-onevision-qwen2-7b-ov-hf",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=15.0,
        form=_IMAGES_FIRST,
        pixels="squeezed to 384 x 384; an image that is alone in its prompt also in tiles",
    ),
    KnownModel(
        name="llava-interleave-7b",
        hub_id="llava-hf/llava-interleave-qwen-7b-hf",
        licence=f"{_TONGYI} research",
        pairs=True,
        gibibytes=15.2,
        form=_IMAGES_FIRST,
        pixels="squeezed to 384 x 384",
    ),
    KnownModel(
        name="qwen2-vl-2b",
        hub_id="Qwen/Qwen2-VL-2B-Instruct",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=4.1,
        form=_CHATML,
        pixels=_QWEN_LIMITS.format("3,136 to 12,845,056"),
    ),
    KnownModel(
        name="qwen2.5-vl-7b",
        hub_id="Qwen/Qwen2.5-VL-7B-Instruct",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=15.4,
        form=_CHATML,
        pixels=_QWEN_LIMITS.format("3,136 to 12,845,056"),
    ),
    KnownModel(
        name="qwen3-vl-8b",
        hub_id="Qwen/Qwen3-VL-8B-Instruct",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=16.3,
        form=_CHATML,
        pixels=_QWEN_LIMITS.format("65,536 to 16,777,216"),
    ),
    *(
        KnownModel(
            name=f"qrealign-{name}",
            hub_id=f"q-future/Q-ReAlign-{hub_name}",
            licence=licence,
            pairs=None,
            gibibytes=gibibytes,
            form=f"{_CHATML}, thought off",
            pixels="aspect kept; its preprocessor file was not seen",
            note="Qwen3.5-VL, trained to say one of five levels: use --method qrealign; not run with its weights",
        )
        for name, hub_name, licence, gibibytes in (
            ("mini", "Mini-0.8B", "not verified", 1.5),
            ("lite", "Lite-4B", "Apache-2.0", 7.5),
            ("pro", "Pro-9B", "not verified", 16.8),
        )
    ),
    KnownModel(
        name="internvl3-8b",
        hub_id="OpenGVLab/InternVL3-8B-hf",
        licence="Qwen",
        pairs=True,
        gibibytes=14.8,
        form=_CHATML,
        pixels=_TILES.format("448 x 448"),
        note="the page of the same weights in another format, OpenGVLab/InternVL3-8B, says Apache-2.0",
    ),
    KnownModel(
        name="smolvlm-256m",
        hub_id="HuggingFaceTB/SmolVLM-256M-Instruct",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=0.5,
        form="chat template: User: ... Assistant:",
        pixels=_TILES.format("512 x 512"),
    ),
    KnownModel(
        name="idefics3-8b",
        hub_id="HuggingFaceM4/Idefics3-8B-Llama3",
        licence="Apache-2.0",
        pairs=True,
        gibibytes=15.8,
        form="chat template: User: ... Assistant:",
        pixels=_TILES.format("364 x 364"),
    ),
    KnownModel(
        name="gemma-3-4b",
        hub_id="google/gemma-3-4b-it",
        licence="Gemma",
        pairs=True,
        gibibytes=8.0,
        form="chat template: <start_of_turn>",
        pixels="squeezed to 896 x 896",
        note=_TERMS,
    ),
    KnownModel(
        name="paligemma2-3b",
        hub_id="google/paligemma2-3b-mix-448",
        licence="Gemma",
        pairs=None,
        gibibytes=5.7,
        form="no chat template: images, question, line break",
        pixels="squeezed to 448 x 448",
        note=f"knows tasks rather than conversation; {_TERMS}",
    ),
    KnownModel(
        name="llama-3.2-11b-vision",
        hub_id="meta-llama/Llama-3.2-11B-Vision-Instruct",
        licence="Llama 3.2",
        pairs=None,
        gibibytes=19.8,
        form="chat template of Llama 3",
        pixels="aspect kept, up to 4 tiles of 560 x 560",
        note=f"hardly knows which of two images is the first: `vanilla`, not `paper` or `rank`; {_TERMS}",
    ),
    KnownModel(
        name="mistral-small-3.1-24b",
        hub_id="mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        licence="Apache-2.0",
        pairs=None,
        gibibytes=44.7,
        form="chat template: [INST] ... [/INST]",
        pixels="aspect kept, longer side at most 1540",
        note="its processor needs torchvision",
    ),
    KnownModel(
        name="glm-4.6v-flash",
        hub_id="zai-org/GLM-4.6V-Flash",
        licence="MIT",
        pairs=None,
        gibibytes=None,
        form="chat template: <|user|> ... <|assistant|>, thought off",
        pixels=_PATCHES,
    ),
    KnownModel(
        name="gemma-4-31b",
        hub_id="google/gemma-4-31B-it",
        licence="Apache-2.0",
        pairs=None,
        gibibytes=57.2,
        form="chat template: <|turn>, with an empty thought",
        pixels="aspect kept, up to 280 tokens",
    ),
    KnownModel(
        name="gemma-4-e4b",
        hub_id="google/gemma-4-E4B-it",
        licence="Apache-2.0",
        pairs=None,
        gibibytes=None,
        form="chat template: <|turn>",
        pixels="aspect kept, up to 280 tokens",
    ),
    *(
        KnownModel(
            name=name,
            hub_id=hub_id,
            licence=licence,
            pairs=pairs,
            gibibytes=gibibytes,
            form=form,
            pixels=pixels,
            note=note,
        )
        for name, hub_id, licence, pairs, gibibytes, form, pixels, note in (
            ("glm-4.1v-9b", "zai-org/GLM-4.1V-9B-Thinking", _UNKNOWN, None, None, _GLM, _PATCHES, "thinks first"),
            ("qwen3-vl-30b", "Qwen/Qwen3-VL-30B-A3B-Instruct", _UNKNOWN, None, None, _CHATML, _PATCHES, _EXPERTS),
            ("minicpm-v-4.6", "openbmb/MiniCPM-V-4.6", _UNKNOWN, True, 2.4, f"{_CHATML}, thought off", _SLICES, ""),
            (
                "paddleocr-vl",
                "PaddlePaddle/PaddleOCR-VL",
                "Apache-2.0",
                None,
                None,
                _PADDLE,
                _PATCHES,
                "made for documents",
            ),
            ("aya-vision-8b", "CohereLabs/aya-vision-8b", _UNKNOWN, None, None, _OWN, _SLICES, _TERMS),
            ("ovis2-2b", "thisisiron/Ovis2-2B-hf", _UNKNOWN, None, None, _OWN, _SLICES, ""),
            ("lfm3-vl-2b", "LiquidAI/LFM3-VL-2B", _UNKNOWN, None, None, _OWN, _PATCHES, ""),
        )
    ),
)


def caution(name: str) -> str:
    """Return what to say wherever this model is used; nothing of most."""
    return next((model.caution for model in KNOWN_MODELS if model.name == name), "")


def known_model(name: str) -> KnownModel:
    """Return the model of a short name.

    Raises:
        SettingError: There is none.
    """
    for model in KNOWN_MODELS:
        if model.name == name:
            return model
    known = [model.name for model in KNOWN_MODELS]
    raise SettingError(f"no model {name!r} is known{nearest(name, known)}; there are: {', '.join(known)}")
