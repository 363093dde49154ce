"""Loading a checkpoint so that nothing about it is left to chance: type, device, weights, code."""

import importlib.metadata
import inspect
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import PIL
import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from qdebias.backends.base import Fingerprint
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.checkpoint import Checkpoint, locate
from qdebias.backends.hf import Processor
from qdebias.backends.hf.backend import CuttingBackend, HfBackend, remember_order
from qdebias.backends.hf.devices import device_of, dtype_of, placed
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.images import image_settings
from qdebias.backends.hf.prompts import fix_template
from qdebias.backends.prompt import Argument
from qdebias.errors import SettingError
from qdebias.prompts import Request

_read_nano = partial(import_module, "qdebias.backends.nano.loading")
_read_others = partial(import_module, "qdebias.backends.hf.pretrained")
"""Import the module that reads a checkpoint; nano's works without transformers."""


def load_hf(
    source: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    name: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    allow_surplus: bool = False,
    form: str | None = None,
    cut: str | None = None,
    release: str | None = None,
    template_args: Mapping[str, Argument] | None = None,
    quantize: str | None = None,
    device_map: str | Mapping[str, str] | None = None,
    sharing: str = "all",
    tokens_at_once: int | None = None,
    images_at_once: int | None = None,
) -> HfBackend:
    """Load an image-text-to-text model of transformers from a folder or a hub id; docs/models.md explains the options.

    Code that comes with a checkpoint is never run. `name` replaces its name in the fingerprint.
    """
    if (sharing, tokens_at_once, images_at_once) != ("all", None, None):
        _check_sharing(sharing, tokens_at_once, images_at_once)
    where = device_of(device)
    if device_map is not None or quantize is not None:
        where, device_map = placed(device, device_map, quantize)
    checkpoint = locate(source, revision)
    own = checkpoint.read_json("config.json").get("model_type") == "qdebias_nano"
    reader: Any = _read_nano() if own else _read_others()
    config, files = reader.described(checkpoint)
    number = dtype_of(dtype, where, config.dtype or config.get_text_config().dtype)
    processor = reader.load_processor(checkpoint, config, form=form, cut=cut, release=release)
    template = fix_template(checkpoint, config, processor, template_args)
    if min_pixels is not None or max_pixels is not None:
        _limit_pixels(processor, min_pixels, max_pixels)
    placing = {"device": where, "dtype": number, "device_map": device_map, "quantize": quantize}
    model = reader.load_weights(checkpoint, config, files, **placing, allow_surplus=allow_surplus)
    identity = {"model": name or checkpoint.name, "dtype": str(number).removeprefix("torch."), **template}
    identity |= {"backend": "hf", "revision": checkpoint.revision, **checkpoint.digests()}
    identity |= processor.identity if hasattr(processor, "identity") else {"images": image_settings(processor)}
    identity |= {"quantize": quantize} if quantize else {}
    chip = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.machine()
    environment = {"device": f"{where.type} ({chip})", "pillow": PIL.__version__}
    environment |= {package: importlib.metadata.version(package) for package in reader.PACKAGES}
    backend = (CuttingBackend if hasattr(processor, "with_cut") else HfBackend)(
        model=model,
        processor=processor,
        fingerprint=Fingerprint(identity=identity, environment=environment),
        family=family_of(model, sharing),
        tokens_at_once=tokens_at_once,
        images_at_once=images_at_once,
        # to LLM.int8 a channel is an outlier if any token of a batch is one there, so that requests run one at a time
        alone=quantize == "8bit",
    )
    if "cross_attention_states" in inspect.signature(type(model).forward).parameters:
        remember_order(backend)
    return backend


def _check_sharing(sharing: str, tokens: int | None, images: int | None) -> None:
    if sharing not in ("all", "images", "off"):
        raise SettingError(f"sharing {sharing!r} is unknown; use one of all, images, off")
    if min(tokens or 1, images or 1) < 1:
        raise SettingError(f"tokens_at_once and images_at_once must be 1 or more, got {tokens} and {images}")


def _limit_pixels(processor: Processor, min_pixels: int | None, max_pixels: int | None) -> None:
    part = processor.image_processor
    if not type(part).__name__.startswith("Qwen2VLImageProcessor"):
        raise SettingError(f"min_pixels and max_pixels are known to the Qwen-VL family, not to {type(part).__name__}")
    size = dict(part.size)
    lower = size["shortest_edge"] if min_pixels is None else min_pixels
    upper = size["longest_edge"] if max_pixels is None else max_pixels
    if not 0 < lower <= upper:
        raise SettingError(f"0 < min_pixels <= max_pixels must hold, got {lower} and {upper}")
    part.size = {"shortest_edge": lower, "longest_edge": upper}


class PromptLength(NamedTuple):
    """How long one prompt is."""

    tokens: int  # those of the chat template included
    of_images: int  # those that hold the place of image features; the marks around them are not counted


def prompt_lengths(model: str, requests: Sequence[Request]) -> list[list[PromptLength]]:
    """Return how long the prompt of each question of each request to a model is; `model` as for `load_backend`."""
    checkpoint = _checkpoint(model)
    kind = checkpoint.read_json("config.json").get("model_type")
    if kind == "mplugowl3":
        raise SettingError(f"{model}: mPLUG-Owl3 reads images beside its prompt, and not as tokens of it")
    reader: Any = _read_nano() if kind == "qdebias_nano" else _read_others()
    config = reader.read_config(checkpoint)
    processor = reader.load_processor(checkpoint, config)
    fix_template(checkpoint, config, processor)
    unfilled = SimpleNamespace(config=config)
    backend = HfBackend(model=unfilled, processor=processor, fingerprint=Fingerprint(identity={}))
    return [
        [PromptLength(len(prompt.ids), int(prompt.shown.sum())) for prompt in backend.prepare(request)]
        for request in requests
    ]


def _checkpoint(model: str) -> Checkpoint:
    """Return the checkpoint of a model; nothing is fetched."""
    known = {one.name: one for one in KNOWN_MODELS}.get(model)
    source = known.hub_id if known else model.removeprefix("hf:")
    if not source:
        raise SettingError(f"{model}: reads no prompt of tokens that a processor makes; --tokens is for checkpoints")
    if Path(source).expanduser().is_dir():
        return locate(source)
    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        found = None
    if not isinstance(found, str):
        raise SettingError(
            f"{model}: is not on this machine, and --tokens downloads nothing; name a folder with the checkpoint's "
            f"config.json and the files of its processor"
        )
    return locate(Path(found).parent)
