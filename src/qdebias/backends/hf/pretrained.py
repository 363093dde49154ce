"""Checkpoints of transformers: their configuration, their processor, and their model filled with the weights."""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name
from transformers.utils import logging

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf import Config, Model, Processor
from qdebias.backends.hf.devices import check_room, is_want_of_memory, memory_of
from qdebias.backends.hf.weights import BITS, Storage, WeightFiles, check_complete, weight_files
from qdebias.backends.mplug_owl2.modeling import MplugOwl2Config, MplugOwl2ForConditionalGeneration
from qdebias.backends.mplug_owl2.processing import MplugOwl2Processor
from qdebias.backends.mplug_owl3.modeling import MplugOwl3Config, MplugOwl3ForConditionalGeneration
from qdebias.backends.mplug_owl3.processing import MplugOwl3Processor
from qdebias.backends.qwen_vl.modeling import QwenVLConfig, QwenVLForConditionalGeneration
from qdebias.backends.qwen_vl.processing import QwenVLProcessor
from qdebias.errors import BackendError, MissingPackageError, SettingError, first_line
from qdebias.system.processes import page_out

PACKAGES = ("torch", "transformers", "tokenizers")
"""What runs a model beside this package."""

_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_UNUSABLE = (OSError, ValueError, TypeError, KeyError, AttributeError)

# Models whose architecture is ours. A further one is a file that models, a file that processes, and a line here and in
# `families.py`.
for _config, _model, _processor in (
    (MplugOwl2Config, MplugOwl2ForConditionalGeneration, MplugOwl2Processor),
    (MplugOwl3Config, MplugOwl3ForConditionalGeneration, MplugOwl3Processor),
    (QwenVLConfig, QwenVLForConditionalGeneration, QwenVLProcessor),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForImageTextToText.register(_config, _model, exist_ok=True)
    AutoProcessor.register(_config, _processor, exist_ok=True)


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


@quiet()
def described(checkpoint: Checkpoint) -> tuple[Config, WeightFiles]:
    """Return the config of a model, with what only its weights' names and shapes say, and the files of the weights."""
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
        config = AutoConfig.from_pretrained(checkpoint.folder, **_LOCAL)
    except _UNUSABLE as error:
        raise BackendError(
            f"{checkpoint.folder}: config.json is not usable ({first_line(error)}); download it again, or use another "
            f"model"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise BackendError(f"{checkpoint.folder}: a model of type {kind!r} does not answer questions about images")
    return config


@quiet()
def load_processor(checkpoint: Checkpoint, config: Config, **settings: str | None) -> Processor:
    """Return the processor of a checkpoint; `settings` are options of our own models'."""
    folder, kind = checkpoint.folder, _processor_class(checkpoint, config)
    chosen = {name: value for name, value in settings.items() if value is not None}
    own = inspect.getattr_static(kind, "from_folder", None)  # a plain look makes transformers' stand-ins raise
    known = inspect.signature(kind.from_folder).parameters if own is not None else {}
    if unknown := chosen.keys() - set(known):
        raise SettingError(f"{checkpoint.name}: models of type {config.model_type!r} have no {', '.join(unknown)}")
    if known:
        return kind.from_folder(checkpoint, config, **chosen)
    try:
        processor = _image_only(kind).from_pretrained(folder, **_LOCAL)
    except ImportError as error:
        raise MissingPackageError(
            f"{checkpoint.name}: its processor needs a package that is not installed "
            f"({first_line(error).partition('. ')[0]}); install it, torchvision in the version made for this torch"
        ) from error
    except (*_UNUSABLE, TemplateError) as error:
        raise BackendError(
            f"{folder}: the processor cannot be loaded ({first_line(error)}); a checkpoint folder needs the tokenizer "
            f"and preprocessor files beside config.json: download them again"
        ) from error
    if processor.chat_template is None:
        processor.chat_template = getattr(processor.tokenizer, "chat_template", None)
    return processor


def _processor_class(checkpoint: Checkpoint, config: Config) -> Any:  # noqa: ANN401
    """Return the processor class that the folder names, else the one transformers has for the model."""
    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "config.json"):
        name = checkpoint.read_json(file).get("processor_class")
        found = processor_class_from_name(name) if isinstance(name, str) else None
        if found is not None:
            return found
    if type(config) in PROCESSOR_MAPPING:
        return PROCESSOR_MAPPING[type(config)]
    raise BackendError(f"{checkpoint.folder}: transformers has no image-and-text processor for {config.model_type!r}")


def _image_only(kind: Any) -> Any:  # noqa: ANN401
    """Return a subclass that loads its image processor with Pillow and no video processor, which needs torchvision.

    Pillow even where torchvision is installed: the two resize with differences of one grey level, and a score must not
    depend on what else is installed. transformers checks and stores every part by its place among the arguments, so
    that the video part keeps its place, and is a `_NoVideo`.
    """

    class ImageOnly(kind):
        @classmethod
        def _get_arguments_from_pretrained(cls, folder: Path, *_: object, **__: object) -> list[Any]:
            return [_part(name, folder) for name in cls.get_attributes()]

        def check_argument_for_proper_class(self, argument_name: str, argument: object) -> Any:  # noqa: ANN401
            if isinstance(argument, _NoVideo):
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    ImageOnly.__name__ = kind.__name__
    return ImageOnly


class _NoVideo(dict[str, object]):
    """Stands for the part of a processor that only video needs, with what some read from it. Writes itself as {}."""

    model_input_names = ()
    slice_mode = False
    downsample_mode = ""


def _part(name: str, folder: Path) -> Any:  # noqa: ANN401
    if "video" in name:
        return _NoVideo()
    if name == "tokenizer":
        return transformers.AutoTokenizer.from_pretrained(folder, **_LOCAL)
    if name == "image_processor":
        return transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **_LOCAL)
    if name == "feature_extractor":
        return transformers.AutoFeatureExtractor.from_pretrained(folder, **_LOCAL)
    raise ValueError(f"its processor has a part {name!r} that is neither for text nor for images")


@quiet()
def load_weights(
    checkpoint: Checkpoint,
    config: Config,
    files: WeightFiles,
    storage: Storage,
    *,
    dtype: torch.dtype,
    allow_surplus: bool,
) -> Model:
    """Return a model filled with the weights of a checkpoint, or refuse weights that do not fill it or do not fit."""
    if storage.device_map is None:
        size = BITS[storage.quantize] / 8 if storage.quantize else dtype.itemsize
        check_room(storage.device, int(size * sum(math.prod(shape) for shape in files.shapes.values())))
    with memory_of(storage.device):
        stored = storage.arguments(dtype)
        model, report = _from_files(checkpoint, config, dtype, stored, files)
        check_complete(checkpoint, report, allow_surplus=allow_surplus)
        names = {name for name, _ in model.named_parameters()}
        integers = files.integers & names
        if integers and getattr(model.config, "quantization_config", None) is None:  # transformers would cast them
            raise BackendError(
                f"{checkpoint.folder}: the weight {min(integers)!r} holds integers, and config.json does not say how "
                f"it is quantized; use a checkpoint that is not quantized"
            )
        if isinstance(storage.device_map, dict):  # transformers would put the others anywhere
            for name in names:
                if not any(name == part or not part or name.startswith(f"{part}.") for part in storage.device_map):
                    raise SettingError(
                        f"device_map says nothing about {name}; add an entry '' for all that is not named"
                    )
        model = model if stored else model.to(storage.device)
        # Out of the mapped files: who overwrites such a file would change scores, or end the process. Each weight
        # leaves memory when it is copied, so that they never lie there twice.
        for weight in (*model.parameters(), *model.buffers()):
            if weight.device.type == "cpu" and weight.is_floating_point():  # quantized ones are made again
                mapped, weight.data = weight.data, weight.data.clone()
                page_out(mapped.data_ptr(), mapped.nbytes)
        return model.eval()


def _from_files(
    checkpoint: Checkpoint, config: Config, dtype: torch.dtype, stored: Mapping[str, Any], files: WeightFiles
) -> tuple[Model, Mapping[str, Any]]:
    """Return the model, its weights mapped into memory, and what transformers says of them."""
    try:
        loaded: tuple[Model, Mapping[str, Any]] = AutoModelForImageTextToText.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            use_safetensors=not any(path.suffix == ".bin" for path in files.where.values()),
            weights_only=True,
            ignore_mismatched_sizes=True,  # reported, and then refused
            output_loading_info=True,
            **_LOCAL,
            **stored,
        )
    except (*_UNUSABLE, RuntimeError, SafetensorError, UnpicklingError) as error:
        if is_want_of_memory(error):
            raise
        raise BackendError(f"{checkpoint.folder}: the model cannot be loaded: {first_line(error)}") from error
    return loaded
