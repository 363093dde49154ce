"""From a checkpoint to a backend."""

from pathlib import Path

import torch

from qdebias.backends.base import Fingerprint
from qdebias.backends.devices import device_of, dtype_of, environment_of
from qdebias.backends.folder import Checkpoint, locate
from qdebias.backends.qwen_vl.backend import QwenVlBackend
from qdebias.backends.qwen_vl.config import Config, read_config
from qdebias.backends.qwen_vl.forms import FORMS, Form
from qdebias.backends.qwen_vl.model import Model
from qdebias.backends.qwen_vl.prompt import PromptWriter
from qdebias.backends.qwen_vl.vocabulary import FILE, IMAGE, Vocabulary, read_vocabulary
from qdebias.backends.qwen_vl.weights import fill
from qdebias.backends.sharing_memory import memory_of
from qdebias.backends.weight_files import weight_files
from qdebias.errors import BackendError, SettingError

FORM_OF = {"raw": "base", "chatml": "chat"}
"""From `chat_format` in generation_config.json to the form of the questions."""


def load_qwen_vl(
    source: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    form: str | None = None,
    vision_chunk: int | None = None,
    tokens_at_once: int = 8192,
) -> QwenVlBackend:
    """Load Qwen-VL by our own code; code that comes with a checkpoint is never run.

    Args:
        source: A checkpoint folder, from which alone is then read, or a hub id such as "Qwen/Qwen-VL-Chat".
        device: Such as "cuda:1"; None takes "cuda" where there is one, else "cpu".
        dtype: "float32", "bfloat16" or "float16"; None is float32 on a CPU, else bfloat16.
        revision: Branch, tag or commit of a hub id.
        form: How questions are written, "base" or "chat"; None is what the checkpoint says of itself.
        vision_chunk: How many images are encoded at a time; None is 16, and 1 on a CPU, where more are slower.
        tokens_at_once: Prompts are run together while they are no more tokens than this, at least one row at a time.

    Raises:
        BackendError: The checkpoint is incomplete, damaged or of another kind, or does not fit the memory.
        SettingError: An option is impossible here.
    """
    target = device_of(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind = dtype_of(dtype, target)
    if tokens_at_once < 1 or (vision_chunk is not None and vision_chunk < 1):
        raise SettingError(f"vision_chunk and tokens_at_once are 1 or more, got {vision_chunk} and {tokens_at_once}")
    checkpoint = locate(source, revision)
    config = read_config(checkpoint)
    chosen, vocabulary = _form(form, checkpoint), _checked(read_vocabulary(checkpoint.folder), config, checkpoint)
    files = weight_files(checkpoint.folder)
    model = empty_model(config)
    with memory_of(target):
        fill(model, files, device=target, dtype=kind)
    identity = {
        "backend": "qwen-vl",
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "configuration": checkpoint.configuration_digest(),
        "vocabulary": vocabulary.digest(),
        "weights": checkpoint.weights_digest(),
        "dtype": str(kind).removeprefix("torch."),
        "form": chosen.name,
    }
    return QwenVlBackend(
        model=model,
        writer=PromptWriter(vocabulary=vocabulary, form=chosen, longest=config.longest),
        fingerprint=Fingerprint(identity=identity, environment=environment_of(target)),
        vision_chunk=vision_chunk or (1 if target.type == "cpu" else 16),
        tokens_at_once=tokens_at_once,
    )


def empty_model(config: Config) -> Model:
    """Return the model of a config without weights."""
    with torch.device("meta"):
        return Model(config)


def _form(name: str | None, checkpoint: Checkpoint) -> Form:
    if name is None:
        said = checkpoint.read_json("generation_config.json").get("chat_format")
        if said not in FORM_OF:
            raise SettingError(
                f"{checkpoint.folder}: generation_config.json says neither 'raw' (base) nor 'chatml' (chat) as "
                f"chat_format, but {said!r}; pass form='base' or form='chat'"
            )
        name = FORM_OF[said]
    if name not in FORMS:
        raise SettingError(f"form {name!r} is unknown; use one of {', '.join(FORMS)}")
    return FORMS[name]


def _checked(vocabulary: Vocabulary, config: Config, checkpoint: Checkpoint) -> Vocabulary:
    if len(vocabulary) > config.vocabulary or vocabulary.id_of(IMAGE) != config.image_start:
        raise BackendError(
            f"{checkpoint.folder}: {FILE} gives {len(vocabulary)} tokens, {IMAGE} being {vocabulary.id_of(IMAGE)}, but "
            f"config.json has {config.vocabulary} and {config.image_start}; obtain the files of one version"
        )
    return vocabulary
