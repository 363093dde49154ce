"""The embedded model and its processor from a checkpoint folder, without transformers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors.torch import load_file
from tokenizers import Tokenizer

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf.devices import memory_of
from qdebias.backends.hf.weights import check_complete, one_line
from qdebias.backends.nano.modeling import Config, Nano
from qdebias.backends.nano.statistics import pixels_of
from qdebias.errors import BackendError, SettingError

PACKAGES = ("torch", "tokenizers")
"""What runs the model beside this package."""

_ONLY = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
"""Entries of the decoder's configuration that may have one value only."""


def described(checkpoint: Checkpoint) -> tuple[Config, None]:
    """Return config.json as attributes; the weights add nothing to it."""
    return read_config(checkpoint), None


def read_config(checkpoint: Checkpoint) -> Config:
    """Return config.json as attributes, or refuse a decoder of another kind."""
    content = checkpoint.read_json("config.json")
    text = content.get("text_config", {})
    for name, value in _ONLY.items():
        if text.get(name, value) != value:
            raise BackendError(
                f"{checkpoint.folder}: text_config.{name} is {text[name]!r}; only {value!r} is supported"
            )
    config = json.loads(json.dumps(content), object_hook=lambda entries: SimpleNamespace(**entries))
    config.get_text_config = lambda: config.text_config
    config.dtype = torch.float32
    return config


def load_weights(
    checkpoint: Checkpoint,
    config: Config,
    _: None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    device_map: object,
    quantize: str | None,
    allow_surplus: bool,
) -> Nano:
    """Return the model filled with the weights of a checkpoint, or refuse weights that do not fill it."""
    if quantize or device_map:
        raise SettingError(f"{checkpoint.folder}: lies whole on one device; leave out quantize and device_map")
    path = checkpoint.folder / "model.safetensors"
    with one_line(path):
        stored = load_file(path)
    try:
        with torch.random.fork_rng(devices=[]):
            model = Nano(config)
    except (AttributeError, TypeError) as error:
        raise BackendError(f"{checkpoint.folder}: config.json is not usable ({error}); download it again") from error
    held = {
        name.removeprefix("model.").replace("language_model.model.", "language_model."): weight
        for name, weight in stored.items()
    }
    held["lm_head.weight"] = held.get("language_model.embed_tokens.weight", torch.empty(0))
    wanted = model.state_dict()
    report = {
        "missing_keys": wanted.keys() - held.keys(),
        "unexpected_keys": held.keys() - wanted.keys(),
        "mismatched_keys": [
            (name, weight.shape, wanted[name].shape)
            for name, weight in held.items()
            if name in wanted and weight.shape != wanted[name].shape
        ],
    }
    if any(report.values()):
        check_complete(checkpoint, report, allow_surplus=allow_surplus)
    model.load_state_dict(held, strict=False)
    model.device, model.dtype = device, dtype
    with memory_of(device):
        return model.to(device, dtype).eval()


@dataclass(frozen=True, eq=False)
class Words:
    """The tokenizer, as transformers' own would be called; no token is added to a text."""

    tokenizer: Tokenizer
    added_tokens_decoder: Mapping[int, Any]
    bos_token: None = None

    @lru_cache(maxsize=4096)  # noqa: B019  one tokenizer a model
    def encode(self, text: str, *, add_special_tokens: bool = False) -> tuple[int, ...]:
        """Return the ids of `text`."""
        text.encode()  # raises UnicodeEncodeError where the tokenizer would speak of a type
        return tuple(self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False, **_: object) -> str:
        """Return the text of `ids`."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))


class NanoProcessor:
    """Tokenizer, image processor and chat template; every image becomes `image_seq_length` placeholder tokens."""

    image_token = "<image>"  # noqa: S105

    def __init__(self, checkpoint: Checkpoint, _: Config = None, **options: str | None) -> None:
        if given := [name for name, value in options.items() if value is not None]:
            raise SettingError(f"{checkpoint.name}: models of type 'qdebias_nano' have no {', '.join(given)}")
        settings = checkpoint.read_json("processor_config.json")
        words, template = checkpoint.folder / "tokenizer.json", checkpoint.folder / "chat_template.jinja"
        with one_line(words):
            tokenizer = Tokenizer.from_buffer(words.read_bytes())
        self.tokenizer = Words(tokenizer, tokenizer.get_added_tokens_decoder())
        self.image_processor = NanoImageProcessor()
        shown = json.dumps(settings.get("image_processor", {}), sort_keys=True)
        self.identity = {"images": f"NanoImageProcessor {shown}"}
        self.image_seq_length = int(settings.get("image_seq_length", 3))
        self.chat_template: Any = template.read_text(encoding="utf-8") if template.is_file() else None

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
        """Return what the chat template makes of a conversation."""
        template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(self.chat_template)
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt)

    def __call__(self, images: Any, text: Sequence[str], **_: object) -> dict[str, Any]:  # noqa: ANN401
        """Return `input_ids` and `attention_mask` (1, L) of one text, and `pixel_values` of its images."""
        ids = self.tokenizer.encode(text[0].replace(self.image_token, self.image_token * self.image_seq_length))
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        return inputs | dict(self.image_processor(images))


@dataclass(frozen=True, slots=True)
class NanoImageProcessor:
    """Cuts every image into the same number of equal views; nothing else is done to its pixels."""

    takes_arrays: bool = True  # as they are, and not as pictures of Pillow

    def __call__(self, images: Any, **_: object) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Map (nested lists of) images to `pixel_values`, (images, views, 3, 128, 128) float32 in [0, 1]."""
        return {"pixel_values": torch.from_numpy(pixels_of(images))}


load_processor = NanoProcessor
