"""Loading a checkpoint's processor: always with Pillow where it can, and without the parts that only video needs.

transformers loads a video processor with every processor that has one, and that needs torchvision. Nothing here shows
videos, so that part is left out. Pillow is chosen even where torchvision is installed, because the two resize with
differences of one grey level, and a score must not depend on what else is installed.
"""

import inspect
import json
from pathlib import Path
from typing import cast

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf import Config, Part, Processor, ProcessorClass
from qdebias.errors import BackendError, MissingPackageError, SettingError, first_line

_NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "config.json")


def load_processor(checkpoint: Checkpoint, config: Config, **settings: str | None) -> Processor:
    """Return the processor of a checkpoint: tokenizer, image processor, and chat template if there is one.

    Args:
        checkpoint: A folder; nothing is fetched.
        config: Its transformers configuration.
        settings: Options of our own models' processors; None leaves what the checkpoint says.

    Raises:
        SettingError: The processor has no such option.
        BackendError: A file is missing or damaged, or the processor cannot work on images.
        MissingPackageError: This family's processor needs a package that is not installed.
    """
    from jinja2 import TemplateError

    folder, kind = checkpoint.folder, _processor_class(checkpoint, config)
    chosen = {name: value for name, value in settings.items() if value is not None}
    own = inspect.getattr_static(kind, "from_folder", None)  # a plain look makes transformers' stand-ins raise
    known = inspect.signature(kind.from_folder).parameters if own is not None else {}
    if unknown := chosen.keys() - set(known):
        raise SettingError(f"{checkpoint.name}: models of type {config.model_type!r} have no {', '.join(unknown)}")
    if known:
        return kind.from_folder(checkpoint, config, **chosen)
    try:
        processor = _image_only(kind).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise MissingPackageError(
            f"{checkpoint.name}: its processor needs a package that is not installed "
            f"({first_line(error).partition('. ')[0]}); install it, torchvision in the version made for this torch"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, TemplateError) as error:
        raise BackendError(
            f"{folder}: the processor cannot be loaded ({first_line(error)}); a checkpoint folder needs the tokenizer "
            f"and preprocessor files beside config.json: download them again"
        ) from error
    if processor.chat_template is None:
        processor.chat_template = getattr(processor.tokenizer, "chat_template", None)
    return processor


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


def image_settings(processor: Processor) -> str:
    """Return how images become pixel values, as one line: the class and the configuration of the image processor."""
    part = processor.image_processor
    settings = {name: value for name, value in part.to_dict().items() if not name.startswith("_")}
    return f"{type(part).__name__} {json.dumps(settings, sort_keys=True, default=str)}"


def _processor_class(checkpoint: Checkpoint, config: Config) -> ProcessorClass:
    """Return the processor class that the folder names, else the one transformers has for the model."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name

    for file in _NAMED_IN:
        name = checkpoint.read_json(file).get("processor_class")
        found = processor_class_from_name(name) if isinstance(name, str) else None
        if found is not None:
            return found
    if type(config) in PROCESSOR_MAPPING:
        return PROCESSOR_MAPPING[type(config)]
    raise BackendError(f"{checkpoint.folder}: transformers has no image-and-text processor for {config.model_type!r}")


def _image_only(kind: ProcessorClass) -> ProcessorClass:
    """Return a subclass that loads its image processor with Pillow and no video processor at all.

    A subclass because transformers checks and stores every part by its place among the arguments: the video part
    keeps its place, and is a `_NoVideo`.
    """

    class ImageOnly(kind):
        @classmethod
        def _get_arguments_from_pretrained(cls, folder: Path, *_: object, **__: object) -> list[Part]:
            return [_part(name, folder) for name in cls.get_attributes()]

        def check_argument_for_proper_class(self, argument_name: str, argument: Part) -> type | None:
            if isinstance(argument, _NoVideo):
                return None
            return cast(type, super().check_argument_for_proper_class(argument_name, argument))

    ImageOnly.__name__ = kind.__name__
    return ImageOnly


class _NoVideo(dict[str, object]):
    """Stands where a processor has the part that only video needs, with the attributes that some read from it.

    It is false, and writes itself as empty JSON.
    """

    model_input_names = ()
    slice_mode = False
    downsample_mode = ""


def _part(name: str, folder: Path) -> Part:
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

    loaders = {
        "tokenizer": AutoTokenizer,
        "image_processor": AutoImageProcessor,
        "feature_extractor": AutoFeatureExtractor,
    }
    if "video" in name:
        return _NoVideo()
    if name not in loaders:
        raise ValueError(f"its processor has a part {name!r} that is neither for text nor for images")
    backend = {"backend": "pil"} if name == "image_processor" else {}
    return loaders[name].from_pretrained(folder, local_files_only=True, trust_remote_code=False, **backend)
