"""How many tokens a prompt with images becomes, by a checkpoint's processor alone: no weights are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.folder import Checkpoint, locate
from qdebias.backends.quiet import quiet
from qdebias.errors import SettingError
from qdebias.prompts import Request


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
    from qdebias.backends.hf_forms import fix_template
    from qdebias.backends.hf_loading import read_config
    from qdebias.backends.hf_prepare import Preparer, places_of
    from qdebias.backends.mplug_owl3.configuration import MplugOwl3Config
    from qdebias.backends.processors import load_processor

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
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

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
