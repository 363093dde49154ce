"""Loading a transformers checkpoint so that nothing about it is left to chance: type, device, weights, code."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils import logging

import qdebias.backends.nano
from qdebias.backends.base import Fingerprint
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.checkpoint import Checkpoint, locate
from qdebias.backends.hf import Config, Model, Processor
from qdebias.backends.hf.backend import CuttingBackend, HfBackend, remember_order
from qdebias.backends.hf.devices import dtype_of, environment_of
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.forward import Preparer, places_of
from qdebias.backends.hf.processors import image_settings, limit_pixels, load_processor
from qdebias.backends.hf.prompts import fix_template
from qdebias.backends.hf.sharing import Sharing, sharing_named
from qdebias.backends.hf.weights import Storage, WeightFiles, load_weights, storage_of, weight_files
from qdebias.backends.mplug_owl2.configuration import MplugOwl2Config
from qdebias.backends.mplug_owl2.modeling import MplugOwl2ForConditionalGeneration
from qdebias.backends.mplug_owl2.processing import MplugOwl2Processor
from qdebias.backends.mplug_owl3.configuration import MplugOwl3Config
from qdebias.backends.mplug_owl3.modeling import MplugOwl3ForConditionalGeneration
from qdebias.backends.mplug_owl3.processing import MplugOwl3Processor
from qdebias.backends.prompt import Argument
from qdebias.backends.qwen_vl.modeling import QwenVLConfig, QwenVLForConditionalGeneration
from qdebias.backends.qwen_vl.processing import QwenVLProcessor
from qdebias.errors import BackendError, SettingError, first_line
from qdebias.prompts import Request

NATIVE = (
    (MplugOwl2Config, MplugOwl2ForConditionalGeneration, MplugOwl2Processor),
    (MplugOwl3Config, MplugOwl3ForConditionalGeneration, MplugOwl3Processor),
    (QwenVLConfig, QwenVLForConditionalGeneration, QwenVLProcessor),
)
"""Models whose architecture is ours. A further one is a file that models, a file that processes, and a line here and in
`families.py`."""


def register() -> None:
    """Tell transformers' Auto classes about our own models; may be called more than once."""
    qdebias.backends.nano.register()
    for config, model, processor in NATIVE:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModelForImageTextToText.register(config, model, exist_ok=True)
        AutoProcessor.register(config, processor, exist_ok=True)


register()


@contextmanager
def quiet() -> Iterator[None]:
    """Show only errors of transformers, and no progress bar, inside the block."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


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
            f"processor's files: check the path, or download the missing file"
        )
    if kind not in CONFIG_MAPPING:
        code = "; it brings Python code of its own, which qdebias never runs" if "auto_map" in content else ""
        raise BackendError(
            f"{checkpoint.folder}: model type {kind!r} is unknown to transformers {transformers.__version__}{code}: "
            f"use a model that transformers has, or a newer transformers"
        )
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackendError(
            f"{checkpoint.folder}: config.json is not usable ({first_line(error)}); download it again, or use another "
            f"model"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise BackendError(f"{checkpoint.folder}: a model of type {kind!r} does not answer questions about images")
    return config


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
    if checkpoint.read_json("config.json").get("model_type") == MplugOwl3Config.model_type:
        raise SettingError(f"{model}: mPLUG-Owl3 reads images beside its prompt, and not as tokens of it")
    with quiet():
        config = read_config(checkpoint)
        processor = load_processor(checkpoint, config)
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
