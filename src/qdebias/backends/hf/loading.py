"""Loading a checkpoint so that nothing about it is left to chance: type, device, weights, code."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
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
from qdebias.backends.hf.devices import dtype_of
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.forward import Preparer, places_of
from qdebias.backends.hf.images import image_settings
from qdebias.backends.hf.prompts import fix_template
from qdebias.backends.hf.sharing import sharing_named
from qdebias.backends.hf.weights import storage_of
from qdebias.backends.prompt import Argument
from qdebias.errors import SettingError
from qdebias.prompts import Request


def _reader(checkpoint: Checkpoint) -> Any:  # noqa: ANN401  a module
    """Return the module that reads a checkpoint: nano's own works without transformers."""
    own = checkpoint.read_json("config.json").get("model_type") == "qdebias_nano"
    if own:
        return import_module("qdebias.backends.nano.loading")
    return import_module("qdebias.backends.hf.pretrained")


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
    """Load an image-text-to-text model of transformers; code that comes with a checkpoint is never run.

    The `source` is a folder, from which alone is then read, or a hub id; `name` is its name in the fingerprint.
    docs/models.md explains the other options.
    """
    storage = storage_of(device, device_map, quantize)
    # to LLM.int8 a channel is an outlier if any token of a batch is one there, so that requests run one at a time
    share = sharing_named(sharing, storage.device, tokens_at_once, images_at_once, alone=quantize == "8bit")
    checkpoint = locate(source, revision)
    reader = _reader(checkpoint)
    config, files = reader.described(checkpoint)
    number = dtype_of(dtype, storage.device, config.dtype or config.get_text_config().dtype)
    processor = reader.load_processor(checkpoint, config, form=form, cut=cut, release=release)
    template = fix_template(checkpoint, config, processor, template_args)
    _limit_pixels(processor, min_pixels, max_pixels)
    model = reader.load_weights(checkpoint, config, files, storage, dtype=number, allow_surplus=allow_surplus)
    identity = {
        "model": name or checkpoint.name,
        "dtype": str(number).removeprefix("torch."),
        **template,
        "backend": "hf",
        "revision": checkpoint.revision,
        "configuration": checkpoint.configuration_digest(),
        "weights": checkpoint.weights_digest(),
        **getattr(processor, "identity", {"images": image_settings(processor)}),
        **({"quantize": quantize} if quantize else {}),
    }
    where = storage.device
    chip = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.machine()
    versions = {package: importlib.metadata.version(package) for package in reader.PACKAGES}
    environment = {"device": f"{where.type} ({chip})", **versions, "pillow": PIL.__version__}
    make = CuttingBackend if hasattr(processor, "with_cut") else HfBackend
    fingerprint = Fingerprint(identity=identity, environment=environment)
    return remember_order(
        make(model=model, processor=processor, fingerprint=fingerprint, sharing=share(family_of(model)))
    )


def _limit_pixels(processor: Processor, min_pixels: int | None, max_pixels: int | None) -> None:
    if min_pixels is None and max_pixels is None:
        return
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
    if checkpoint.read_json("config.json").get("model_type") == "mplugowl3":
        raise SettingError(f"{model}: mPLUG-Owl3 reads images beside its prompt, and not as tokens of it")
    reader = _reader(checkpoint)
    config = reader.read_config(checkpoint)
    processor = reader.load_processor(checkpoint, config)
    fix_template(checkpoint, config, processor)
    preparer = Preparer(SimpleNamespace(config=config), processor)
    return [
        [
            PromptLength(len(one.ids), int(places_of(one.inputs, preparer.image_token).sum()))
            for one in preparer.prepare(request)
        ]
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
