"""Loading a checkpoint so that nothing about it is left to chance: type, device, weights, code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from qdebias.backends.base import Fingerprint
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.checkpoint import Checkpoint, locate
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.backend import CuttingBackend, HfBackend, remember_order
from qdebias.backends.hf.devices import dtype_of, environment_of
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.forward import Preparer, places_of
from qdebias.backends.hf.images import image_settings
from qdebias.backends.hf.prompts import fix_template
from qdebias.backends.hf.sharing import Sharing, sharing_named
from qdebias.backends.hf.weights import Storage, storage_of
from qdebias.backends.prompt import Argument
from qdebias.errors import SettingError
from qdebias.prompts import Request


def _reader(checkpoint: Checkpoint, *, plain: bool = True) -> Any:  # noqa: ANN401  a module
    """Return the module that reads a checkpoint: nano's own, without transformers, where its weights lie plainly."""
    light = plain and checkpoint.read_json("config.json").get("model_type") == "qdebias_nano"
    return import_module("qdebias.backends.nano.loading") if light else import_module("qdebias.backends.hf.pretrained")


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

    Args:
        source: A checkpoint folder, from which alone is then read, or a hub id.
        device: Such as "cuda:1"; None takes "cuda", else "mps", else "cpu".
        dtype: See `dtype_of`.
        revision: Branch, tag or commit of a hub id.
        name: What the model is called in the fingerprint; None is the folder's name or the hub id.
        min_pixels: See `limit_pixels`.
        max_pixels: See `limit_pixels`.
        allow_surplus: Accept weights that the model has no place for.
        form: How questions are written for the first Qwen-VL or mPLUG-Owl2, see `FORMS` of their processors.
        cut: How mPLUG-Owl3 cuts images, see `MplugOwl3Processor.from_folder`.
        release: The only release of mPLUG-Owl3 that is accepted, see there.
        template_args: Arguments of the chat template.
        quantize: "8bit" or "4bit", see `storage_of`.
        device_map: Instead of `device`, see `storage_of`.
        sharing: "all", "images" (each encoded once, but every question run alone) or "off". The logits are the same.
        tokens_at_once: How many tokens may be in one forward pass of several questions; None fits the device.
        images_at_once: How many images, or tiles, may be encoded together; None fits the device.

    Raises:
        BackendError: The checkpoint is incomplete, damaged or not of a known kind.
        SettingError: Device, type or limits are impossible here.
        MissingPackageError: The family needs another package.
    """
    storage = storage_of(device, device_map, quantize)
    share = sharing_named(sharing, storage.device, tokens_at_once, images_at_once, alone=storage.alone)
    checkpoint = locate(source, revision)
    reader = _reader(checkpoint, plain=not (quantize or device_map))
    config, files = reader.described(checkpoint)
    number = dtype_of(dtype, storage.device, config.dtype or config.get_text_config().dtype)
    processor = reader.load_processor(checkpoint, config, form=form, cut=cut, release=release)
    template = fix_template(checkpoint, config, processor, template_args)
    limit_pixels(processor, min_pixels, max_pixels)
    model = reader.load_weights(checkpoint, config, files, storage, dtype=number, allow_surplus=allow_surplus)
    said = {"model": name or checkpoint.name, "dtype": str(number).removeprefix("torch."), **template}
    fingerprint = _fingerprint(checkpoint, processor, said, storage, reader.PACKAGES)
    return _backend(model, processor, fingerprint, share(family_of(model)))


def _backend(model: Model, processor: Processor, fingerprint: Fingerprint, sharing: Sharing | None) -> HfBackend:
    make = CuttingBackend if hasattr(processor, "with_cut") else HfBackend
    return remember_order(make(model=model, processor=processor, fingerprint=fingerprint, sharing=sharing))


def _fingerprint(
    checkpoint: Checkpoint, processor: Processor, said: Mapping[str, str], storage: Storage, packages: Sequence[str]
) -> Fingerprint:
    identity = {
        **said,
        "backend": "hf",
        "revision": checkpoint.revision,
        "configuration": checkpoint.configuration_digest(),
        "weights": checkpoint.weights_digest(),
        **getattr(processor, "identity", {"images": image_settings(processor)}),
        **({"quantize": storage.quantize} if storage.quantize else {}),
    }
    return Fingerprint(identity=identity, environment=environment_of(storage.device, packages))


def limit_pixels(processor: Processor, min_pixels: int | None, max_pixels: int | None) -> None:
    """Set between how many pixels the image processor of the Qwen-VL family resizes each image.

    Args:
        processor: Changed in place.
        min_pixels: Smallest height x width after resizing; None leaves the checkpoint's own.
        max_pixels: Largest height x width after resizing; None leaves the checkpoint's own.

    Raises:
        SettingError: This family has no such limits, or they exclude each other.
    """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLength:
    """How long one prompt is.

    Attributes:
        tokens: All of its tokens, those of the chat template included.
        of_images: Those that hold the place of image features; the marks around them are not counted.
    """

    tokens: int
    of_images: int


def prompt_lengths(model: str, requests: Sequence[Request]) -> list[list[PromptLength]]:
    """Return how long the prompt of each question of each request is.

    Args:
        model: A known model, "hf:<hub id or folder>" or a folder, as for `load_backend`.
        requests: Images and questions.

    Raises:
        SettingError: The model has no prompt of tokens, or its processor is not on this machine.
        BackendError: The checkpoint is incomplete or of an unknown kind.
        ImageError: The processor refuses an image, or the prompt is longer than the model can read.
    """
    checkpoint = _checkpoint(model)
    if checkpoint.read_json("config.json").get("model_type") == "mplugowl3":
        raise SettingError(f"{model}: mPLUG-Owl3 reads images beside its prompt, and not as tokens of it")
    reader = _reader(checkpoint)
    config = reader.read_config(checkpoint)
    processor = reader.load_processor(checkpoint, config)
    fix_template(checkpoint, config, processor)
    preparer = Preparer(SimpleNamespace(config=config), processor)
    prepared = [preparer.prepare(request) for request in requests]
    return [
        [
            PromptLength(tokens=len(one.ids), of_images=int(places_of(one.inputs, preparer.image_token).sum()))
            for one in answered
        ]
        for answered in prepared
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
