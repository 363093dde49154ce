"""Checkpoints of transformers: their configuration, their processor, and their model filled with the weights."""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
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
from qdebias.backends.hf.devices import BITS, free_memory, is_want_of_memory, memory_of
from qdebias.backends.hf.weights import Weight, check_complete, weight_files
from qdebias.backends.mplug_owl2.modeling import MplugOwl2Config, MplugOwl2ForConditionalGeneration
from qdebias.backends.mplug_owl2.processing import MplugOwl2Processor
from qdebias.backends.mplug_owl3.modeling import MplugOwl3Config, MplugOwl3ForConditionalGeneration
from qdebias.backends.mplug_owl3.processing import MplugOwl3Processor
from qdebias.backends.qwen_vl.modeling import QwenVLConfig, QwenVLForConditionalGeneration
from qdebias.backends.qwen_vl.processing import QwenVLProcessor
from qdebias.errors import BackendError, MissingPackageError, SettingError, first_line
from qdebias.system.processes import page_out

PACKAGES = ("torch", "transformers", "tokenizers")
"""Packages whose versions belong to the environment of an answer."""

_PRECISE = (
    r"(.*\.)?(lm_head|v_kv_proj|self_attn\.gate_proj|vision2text_model|multi_modal_projector|connector"
    r"|vision_model|vision_tower|visual|visual_abstractor)"
)
"""Modules that are not quantized: image encoders, what maps images to keys and values, and the output layer."""


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
def described(checkpoint: Checkpoint) -> tuple[Config, dict[str, Weight]]:
    """Return the config of a model, completed from the names and shapes of its weights, and the weights."""
    config, files = read_config(checkpoint), weight_files(checkpoint.folder)
    if hasattr(config, "fit"):
        config.fit({name: weight.shape for name, weight in files.items()})
    return config, files


def read_config(checkpoint: Checkpoint) -> Config:
    """Return the transformers configuration of a checkpoint; the error of an unusable one is one line."""
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
    """Return the processor class named in the folder, or else transformers' class for the model."""
    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "config.json"):
        name = checkpoint.read_json(file).get("processor_class")
        found = processor_class_from_name(name) if isinstance(name, str) else None
        if found is not None:
            return found
    if type(config) in PROCESSOR_MAPPING:
        return PROCESSOR_MAPPING[type(config)]
    raise BackendError(f"{checkpoint.folder}: transformers has no image-and-text processor for {config.model_type!r}")


_PARTS = {
    "tokenizer": transformers.AutoTokenizer.from_pretrained,
    "image_processor": partial(transformers.AutoImageProcessor.from_pretrained, backend="pil"),
    "feature_extractor": transformers.AutoFeatureExtractor.from_pretrained,
}


def _image_only(kind: Any) -> Any:  # noqa: ANN401
    """Return a subclass that loads its image processor with Pillow and no video processor, which needs torchvision.

    Pillow even where torchvision is installed: the two resize with differences of one grey level, and a score must not
    depend on what else is installed. transformers checks and stores every part by its place among the arguments, so
    that the video part keeps its place, and is a `_NoVideo`.
    """

    class ImageOnly(kind):
        @classmethod
        def _get_arguments_from_pretrained(cls, folder: Path, *_: object, **__: object) -> list[Any]:
            parts: list[Any] = []
            for name in cls.get_attributes():
                if "video" not in name and name not in _PARTS:
                    raise ValueError(f"its processor has a part {name!r} that is neither for text nor for images")
                parts.append(_NoVideo() if "video" in name else _PARTS[name](folder, **_LOCAL))
            return parts

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


@quiet()
def load_weights(
    checkpoint: Checkpoint,
    config: Config,
    files: Mapping[str, Weight],
    *,
    device: torch.device,
    dtype: torch.dtype,
    device_map: str | dict[str, str] | None,
    quantize: str | None,
    allow_surplus: bool,
) -> Model:
    """Return a model filled with the weights of a checkpoint, or refuse weights that do not fill it or do not fit."""
    if device_map is None:
        size = BITS[quantize] / 8 if quantize else dtype.itemsize
        needed, free = size * sum(math.prod(weight.shape) for weight in files.values()), free_memory(device)
        if free is not None and needed > free:  # rather than to fail after minutes
            raise BackendError(
                f"the weights take {needed / 2**30:.1f} GiB on {device}, which has {free / 2**30:.1f} GiB left; choose "
                f"dtype 'bfloat16', quantize '8bit' or '4bit', a device_map over several devices, or a larger machine"
            )
    with memory_of(device):
        settings = {"dtype": dtype, **_placing(device, dtype, device_map, quantize)}
        model, report = _from_files(checkpoint, config, files, settings)
        check_complete(checkpoint, report, allow_surplus=allow_surplus)
        names = {name for name, _ in model.named_parameters()}
        integers = {name for name in names & files.keys() if not files[name].floating}
        if integers and getattr(model.config, "quantization_config", None) is None:  # transformers would cast them
            raise BackendError(
                f"{checkpoint.folder}: the weight {min(integers)!r} holds integers, and config.json does not say how "
                f"it is quantized; use a checkpoint that is not quantized"
            )
        if isinstance(device_map, dict):  # transformers would put the others anywhere
            for name in names:
                if not any(name == part or not part or name.startswith(f"{part}.") for part in device_map):
                    raise SettingError(
                        f"device_map says nothing about {name}; add an entry '' for all that is not named"
                    )
        model = model.to(device) if device_map is None and quantize is None else model
        # Out of the mapped files: who overwrites such a file would change scores, or end the process. Each weight
        # leaves memory when it is copied, so that they never lie there twice.
        for weight in (*model.parameters(), *model.buffers()):
            if weight.device.type == "cpu" and weight.is_floating_point():  # quantized ones are made again
                mapped, weight.data = weight.data, weight.data.clone()
                page_out(mapped.data_ptr(), mapped.nbytes)
        return model.eval()


def _placing(
    device: torch.device, dtype: torch.dtype, device_map: str | dict[str, str] | None, quantize: str | None
) -> dict[str, Any]:
    """Return where and how weights are to lie, as arguments of `from_pretrained`."""
    if quantize is None:
        return {} if device_map is None else {"device_map": device_map}
    bits: dict[str, Any] = {"load_in_8bit": True}
    if quantize == "4bit":
        bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    config = transformers.BitsAndBytesConfig(llm_int8_skip_modules=[_PRECISE], **bits)
    return {"quantization_config": config, "device_map": device_map or {"": str(device)}}


def _from_files(
    checkpoint: Checkpoint, config: Config, files: Mapping[str, Weight], settings: Mapping[str, Any]
) -> tuple[Model, Mapping[str, Any]]:
    """Return the model, its weights mapped into memory, and what transformers reports of them."""
    try:
        loaded: tuple[Model, Mapping[str, Any]] = AutoModelForImageTextToText.from_pretrained(
            checkpoint.folder,
            config=config,
            use_safetensors=not any(weight.path.suffix == ".bin" for weight in files.values()),
            weights_only=True,
            ignore_mismatched_sizes=True,  # reported, and then refused
            output_loading_info=True,
            **_LOCAL,
            **settings,
        )
    except (*_UNUSABLE, RuntimeError, SafetensorError, UnpicklingError) as error:
        if is_want_of_memory(error):
            raise
        raise BackendError(f"{checkpoint.folder}: the model cannot be loaded: {first_line(error)}") from error
    return loaded
