"""From a checkpoint to a backend."""

from collections.abc import Mapping
from pathlib import Path

import torch

from qdebias.backends.base import Fingerprint
from qdebias.backends.devices import dtype_of, environment_of
from qdebias.backends.folder import Checkpoint, locate
from qdebias.backends.mplug_owl3.backend import MplugOwl3Backend
from qdebias.backends.mplug_owl3.config import is_mplug_owl3, read_config
from qdebias.backends.mplug_owl3.cutting import cut_mode
from qdebias.backends.mplug_owl3.model import Model
from qdebias.backends.mplug_owl3.placement import placement
from qdebias.backends.mplug_owl3.processor import Processor
from qdebias.backends.mplug_owl3.quantization import quantization
from qdebias.backends.mplug_owl3.release import RELEASES, Release
from qdebias.backends.mplug_owl3.variant import variant_of
from qdebias.backends.mplug_owl3.vocabulary import Vocabulary, read_vocabulary
from qdebias.backends.mplug_owl3.weights import fill
from qdebias.backends.quiet import quiet
from qdebias.backends.sharing_memory import memory_of
from qdebias.backends.weight_files import WeightFiles, weight_files
from qdebias.errors import BackendError, SettingError


def load_mplug_owl3(
    source: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    release: str | None = None,
    cut: str = "off",
    quantize: str | None = None,
    device_map: str | Mapping[str, str] | None = None,
    vision_chunk: int | None = None,
    crops_at_once: int = 64,
) -> MplugOwl3Backend:
    """Load mPLUG-Owl3 by our own code; code that comes with a checkpoint is never run.

    Args:
        source: A checkpoint folder or hub id; None is the repository of `release`.
        device: Such as "cuda:1"; None takes "cuda" where there is one, else "cpu".
        dtype: "float32", "bfloat16" or "float16"; None is float32 on a CPU, else bfloat16 as in the paper's script.
        revision: Branch, tag or commit of a hub id.
        release: "240728", the paper's, or "241101": refuse any other. None: whatever the weights are.
        cut: "off" squeezes an image into one crop, "fixed" cuts it into tiles, "official" does what the release's own
            processor does and the paper's script did: for 240728 "official-240728", a slip; see `cutting.py`.
        quantize: "8bit" or "4bit": the decoder's linear layers in bitsandbytes' LLM.int8 or NF4.
        device_map: "balanced", or the device of each beginning of a weight's name; instead of `device`.
        vision_chunk: How many crops are encoded at a time; None is 16, and 1 on a CPU, where more are slower.
        crops_at_once: How many crops the prompts that are run together may show.

    Raises:
        BackendError: The checkpoint is incomplete, damaged or of an unknown kind, or does not fit the memory.
        SettingError: An option is impossible here.
        MissingPackageError: `quantize` needs bitsandbytes.
    """
    if source is None:
        source = _release(release or "240728").hub
    checkpoint = locate(source, revision)
    files = weight_files(checkpoint.folder)
    with quiet():
        model = empty_model(checkpoint, files)
        vocabulary = read_vocabulary(checkpoint.folder)
    found, config = _checked_release(model, vocabulary, release, checkpoint), model.config
    place, packing, mode = placement(device, device_map, config), quantization(quantize), cut_mode(cut, found)
    target = place("language_model.model.embed_tokens.weight")
    kind = dtype_of(dtype, target)
    with memory_of(target):
        fill(model, files, dtype=kind, place=place, quantization=packing)
    identity = _identity(checkpoint, model) | {"cut": mode.name, "quantize": quantize or "none"}
    return MplugOwl3Backend(
        model=model,
        processor=Processor(
            vocabulary=vocabulary, release=found, side=config.vision.side, cut=mode, longest=config.longest
        ),
        fingerprint=Fingerprint(identity=identity, environment=environment_of(target)),
        vision_chunk=(1 if target.type == "cpu" else 16) if vision_chunk is None else vision_chunk,
        crops_at_once=1 if packing is not None and packing.alone else crops_at_once,
    )


def recognises(source: str | Path) -> bool:
    """Tell, without fetching anything, whether a folder or hub id holds this model."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return str(source) in {release.hub for release in RELEASES.values()}
    return is_mplug_owl3(Checkpoint(folder=folder, name=folder.name).read_json("config.json"))


def empty_model(checkpoint: Checkpoint, files: WeightFiles) -> Model:
    """Return the model of a checkpoint without weights.

    Raises:
        BackendError: Config and weights contradict each other, or are of no known kind.
    """
    config = read_config(checkpoint)
    variant = variant_of(files.shapes, config)
    with torch.device("meta"):
        return Model(config, variant)


def _release(name: str) -> Release:
    if name not in RELEASES:
        raise SettingError(f"mPLUG-Owl3 has no release {name!r} here; choose one of {', '.join(RELEASES)}")
    return RELEASES[name]


def _checked_release(model: Model, vocabulary: Vocabulary, wanted: str | None, checkpoint: Checkpoint) -> Release:
    """Return the release of a checkpoint, refused where another was wanted or the vocabulary is too large."""
    found = model.variant.release
    if wanted is not None and found is not _release(wanted):
        raise BackendError(f"{checkpoint.name}: holds release {found.name}, not {wanted}; load the other folder")
    if len(vocabulary) > model.config.vocabulary:
        raise BackendError(
            f"{checkpoint.folder}: the vocabulary has {len(vocabulary)} tokens, the model only "
            f"{model.config.vocabulary}; obtain the files of one version"
        )
    return found


def _identity(checkpoint: Checkpoint, model: Model) -> dict[str, str]:
    return {
        "backend": "mplug-owl3",
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "configuration": checkpoint.configuration_digest(),
        "weights": checkpoint.weights_digest(),
        "release": model.variant.release.name,
        "gate": model.variant.gate.value,
        "dtype": str(model.language_model.lm_head.weight.dtype).removeprefix("torch."),
    }
