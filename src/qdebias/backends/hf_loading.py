"""Loading a transformers checkpoint so that nothing about it is left to chance: type, device, weights, code."""

from collections.abc import Mapping
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from qdebias.backends import native
from qdebias.backends.base import Fingerprint
from qdebias.backends.devices import dtype_of, environment_of
from qdebias.backends.families import family_of
from qdebias.backends.folder import Checkpoint, locate
from qdebias.backends.hf import CuttingBackend, HfBackend
from qdebias.backends.hf_forms import fix_template
from qdebias.backends.hf_types import Config, Model, Processor
from qdebias.backends.hf_weights import Storage, load_weights, storage_of
from qdebias.backends.image_order import remember_order
from qdebias.backends.messages import first_line
from qdebias.backends.processors import image_settings, limit_pixels, load_processor
from qdebias.backends.prompt import Argument
from qdebias.backends.quiet import quiet
from qdebias.backends.sharing import Sharing, sharing_named
from qdebias.backends.weight_files import WeightFiles, weight_files
from qdebias.errors import BackendError


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
        template_args: Arguments of the chat template, see `qdebias.backends.chat_template.fixed`.
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
    with quiet():
        config, files = described(checkpoint)
        kind = dtype_of(dtype, storage.device, config.dtype or config.get_text_config().dtype)
        processor = load_processor(checkpoint, config, form=form, cut=cut, release=release)
        template = fix_template(checkpoint, config, processor, template_args)
        limit_pixels(processor, min_pixels, max_pixels)
        model = load_weights(checkpoint, config, files, storage, dtype=kind, allow_surplus=allow_surplus)
    said = {"model": name or checkpoint.name, "dtype": str(kind).removeprefix("torch."), **template}
    fingerprint = _fingerprint(checkpoint, processor, storage, said)
    return _backend(model, processor, fingerprint, share(family_of(model)))


def _backend(model: Model, processor: Processor, fingerprint: Fingerprint, sharing: Sharing | None) -> HfBackend:
    make = CuttingBackend if hasattr(processor, "with_cut") else HfBackend
    backend = make(model=model, processor=processor, fingerprint=fingerprint, sharing=sharing)
    remember_order(model, backend)
    return backend


def _fingerprint(checkpoint: Checkpoint, processor: Processor, storage: Storage, said: dict[str, str]) -> Fingerprint:
    return Fingerprint(
        identity=said | _identity(checkpoint, processor) | storage.identity,
        environment=environment_of(storage.device),
    )


def _identity(checkpoint: Checkpoint, processor: Processor) -> dict[str, str]:
    return {
        "backend": "hf",
        "revision": checkpoint.revision,
        "configuration": checkpoint.configuration_digest(),
        "weights": checkpoint.weights_digest(),
        **getattr(processor, "identity", {"images": image_settings(processor)}),
    }


def described(checkpoint: Checkpoint) -> tuple[Config, WeightFiles]:
    """Return the config of a model, with what only names and shapes of its weights say, and the files of the weights.

    Raises:
        BackendError: Either is missing or damaged, or of another kind of model.
    """
    config, files = read_config(checkpoint), weight_files(checkpoint.folder)
    if hasattr(config, "fit"):
        config.fit(files.shapes)
    return config, files


def read_config(checkpoint: Checkpoint) -> Config:
    """Return the transformers configuration of a checkpoint, or say in one line why it cannot be run here."""
    content = checkpoint.read_json("config.json")
    kind = content.get("model_type")
    if not content:
        raise BackendError(
            f"{checkpoint.folder}: has no config.json; a checkpoint folder has config.json, *.safetensors and the "
            f"processor's files: check the path, or obtain the missing file"
        )
    if kind not in CONFIG_MAPPING:
        code = "; it brings Python code of its own, which qdebias never runs" if "auto_map" in content else ""
        raise BackendError(
            f"{checkpoint.folder}: model type {kind!r} is unknown to transformers {transformers.__version__}{code}: "
            f"use a model that transformers has, or a newer transformers"
        )
    try:
        config = transformers.AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackendError(
            f"{checkpoint.folder}: config.json is not usable ({first_line(error)}); download it again, or use another "
            f"model"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise BackendError(f"{checkpoint.folder}: a model of type {kind!r} does not answer questions about images")
    return config


native.register()
