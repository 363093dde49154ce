"""Loading a transformers checkpoint so that nothing about it is left to chance: type, device, weights, code."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from qdebias.backends import native
from qdebias.backends.base import Fingerprint
from qdebias.backends.devices import check_room, device_of, dtype_of, environment_of
from qdebias.backends.families import family_of
from qdebias.backends.folder import Checkpoint, locate
from qdebias.backends.hf import HfBackend
from qdebias.backends.hf_forms import fix_template
from qdebias.backends.hf_types import Config, Model, Processor
from qdebias.backends.image_order import remember_order
from qdebias.backends.messages import first_line
from qdebias.backends.processors import image_settings, limit_pixels, load_processor
from qdebias.backends.prompt import Argument
from qdebias.backends.quiet import quiet
from qdebias.backends.sharing import sharing_named
from qdebias.backends.sharing_memory import is_want_of_memory, memory_of
from qdebias.backends.weight_files import WeightFiles, more_than_weights, weight_files
from qdebias.errors import BackendError
from qdebias.processes import page_out


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
    template_args: Mapping[str, Argument] | None = None,
    sharing: str = "all",
    tokens_at_once: int | None = None,
    images_at_once: int | None = None,
) -> HfBackend:
    """Load an image-text-to-text model of transformers.

    Code that comes with a checkpoint is never run.

    Args:
        source: A checkpoint folder, from which alone is then read, or a hub id.
        device: Such as "cuda:1"; None takes "cuda", else "mps", else "cpu".
        dtype: "float32", "bfloat16" or "float16"; None takes float32 on a CPU, bfloat16 elsewhere (float16 on CUDA
            devices without it).
        revision: Branch, tag or commit of a hub id.
        name: What the model is called in the fingerprint; None is the folder's name or the hub id.
        min_pixels: See `limit_pixels`.
        max_pixels: See `limit_pixels`.
        allow_surplus: Accept weights that the model has no place for.
        form: How questions are written for the first Qwen-VL or mPLUG-Owl2, see `FORMS` of their processors.
        template_args: Arguments of the chat template, see `qdebias.backends.chat_template.fixed`.
        sharing: "all", "images" (each encoded once, but every question run alone) or "off". The logits are the same.
        tokens_at_once: How many tokens may be in one forward pass of several questions; None fits the device.
        images_at_once: How many images may be encoded together; None fits the device.

    Raises:
        BackendError: The checkpoint is incomplete, damaged or not of a known kind.
        SettingError: Device, type or limits are impossible here.
        MissingPackageError: The family needs another package.
    """
    target = device_of(device)
    shared = sharing_named(sharing, target, tokens_at_once, images_at_once)
    checkpoint = locate(source, revision)
    with quiet():
        config = read_config(checkpoint)
        kind = dtype_of(dtype, target, config.dtype or config.get_text_config().dtype)
        files = weight_files(checkpoint.folder)
        processor = load_processor(checkpoint, config, form=form)
        template = fix_template(checkpoint, config, processor, template_args)
        limit_pixels(processor, min_pixels, max_pixels)
        model = _model(checkpoint, config, kind, target, files=files, allow_surplus=allow_surplus)
    identity = {"model": name or checkpoint.name, "dtype": str(kind).removeprefix("torch.")}
    identity |= _identity(checkpoint, processor) | template
    fingerprint = Fingerprint(identity=identity, environment=environment_of(target))
    backend = HfBackend(
        model=model.eval(), processor=processor, fingerprint=fingerprint, sharing=shared(family_of(model))
    )
    remember_order(model, backend)
    return backend


def _identity(checkpoint: Checkpoint, processor: Processor) -> dict[str, str]:
    return {
        "backend": "hf",
        "revision": checkpoint.revision,
        "configuration": checkpoint.configuration_digest(),
        "weights": checkpoint.weights_digest(),
        **getattr(processor, "identity", {"images": image_settings(processor)}),
    }


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


def _model(
    checkpoint: Checkpoint,
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    *,
    files: WeightFiles,
    allow_surplus: bool,
) -> Model:
    check_room({device: files.numbers * dtype.itemsize})
    with memory_of(device):
        model, report = _from_files(checkpoint, config, dtype, pickled=files.pickled)
        _check_complete(checkpoint, report, allow_surplus=allow_surplus)
        _check_numbers(checkpoint, model, files)
        return _in_memory(model.to(device))


def _from_files(
    checkpoint: Checkpoint, config: Config, dtype: torch.dtype, *, pickled: bool
) -> tuple[Model, Mapping[str, Any]]:
    """Return the model, its weights mapped into memory, and what transformers says of them."""
    try:
        loaded: Any = transformers.AutoModelForImageTextToText.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickled,
            weights_only=True,
            ignore_mismatched_sizes=True,  # reported, and then refused
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise BackendError(
            f"{checkpoint.folder}: a weight file is damaged, cut short, or only a Git LFS pointer ({error}); "
            f"obtain it again"
        ) from error
    except pickle.UnpicklingError as error:
        raise more_than_weights(checkpoint.folder) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        if is_want_of_memory(error):
            raise
        raise BackendError(f"{checkpoint.folder}: the model cannot be loaded: {first_line(error)}") from error
    model, report = loaded
    return model, report


def _in_memory(model: Model) -> Model:
    """Copy weights out of mapped files: whoever overwrites such a file would change scores, or end the process.

    Each mapped weight leaves memory when it is copied, so that they never lie there twice.
    """
    for weight in (*model.parameters(), *model.buffers()):
        if weight.device.type == "cpu":
            mapped, weight.data = weight.data, weight.data.clone()
            page_out(mapped.data_ptr(), mapped.nbytes)
    return model


def _check_numbers(checkpoint: Checkpoint, model: Model, files: WeightFiles) -> None:
    """Refuse integers in the place of weights, which transformers would cast, unless config.json says what they are."""
    integers = files.integers & {name for name, _ in model.named_parameters()}
    if integers and getattr(model.config, "quantization_config", None) is None:
        raise BackendError(
            f"{checkpoint.folder}: the weight {min(integers)!r} holds integers, and config.json does not say how it is "
            f"quantized; use a checkpoint that is not quantized"
        )


def _check_complete(checkpoint: Checkpoint, report: Mapping[str, Any], *, allow_surplus: bool) -> None:
    """Refuse weights that do not fill the model: transformers would fill the gaps with random numbers."""
    missing, wrong = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    surplus = [] if allow_surplus else sorted(report["unexpected_keys"])
    if wrong:
        name, there, here = wrong[0]
        raise BackendError(
            f"{checkpoint.folder}: the weight {name!r} has shape {tuple(there)}, but {tuple(here)} by config.json "
            f"({len(wrong)} such tensors): download weights and config.json of one version"
        )
    if missing:
        raise BackendError(
            f"{checkpoint.folder}: the weights lack {len(missing)} tensors of the model, such as {missing[0]!r}; "
            f"weights and config.json are of different models or the download is incomplete: obtain both again"
        )
    if surplus:
        raise BackendError(
            f"{checkpoint.folder}: the weights hold {len(surplus)} tensors that the model has no place for, such as "
            f"{surplus[0]!r}; obtain weights and config.json of one version, or pass allow_surplus=True if these are "
            f"known to be unused"
        )


native.register()
