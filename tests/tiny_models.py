"""Tiny checkpoints with random weights, of true architectures, written in the layouts that are found in the wild.

`checkpoint("qwen2_vl")` is what today's transformers saves; `checkpoint("qwen2_vl", hub=True)` is what the hub has had
since 2023: preprocessor_config.json, chat_template.json, torch_dtype.
"""

import atexit
import functools
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tokenizers as tk
import torch
import transformers as tf

from further_families import FURTHER
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.hf.pretrained import quiet
from tiny_families import FAMILIES, Family

torch.set_num_threads(1)  # for tensors this small, threads cost more than they give


@functools.cache
def checkpoint(name: str, *, hub: bool = False) -> Path:
    """Return the folder of a tiny checkpoint; it is made once, and to be copied by whoever wants to change it."""
    store = tempfile.TemporaryDirectory(prefix="qdebias-tiny-")
    atexit.register(store.cleanup)
    return build(name, Path(store.name) / name, hub=hub)


def load(name: str, *, hub: bool = False, **options: Any) -> HfBackend:
    """Load a tiny checkpoint on the CPU."""
    folder = checkpoint(name, hub=hub)
    with torchvision_module() if (FAMILIES | FURTHER)[name].torchvision else nullcontext():
        return load_hf(folder, device="cpu", **options)


@contextmanager
def torchvision_module() -> Iterator[None]:
    """Pretend that torchvision is there, for a processor that imports it and then works with Pillow."""
    names = [
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.v2",
        "torchvision.transforms.v2.functional",
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setattr(sys.modules[names[2]], "functional", sys.modules[names[3]], raising=False)
        from transformers.models.pixtral.processing_pixtral import PixtralProcessor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qdebias.backends.hf.pretrained._processor_class", lambda *_: PixtralProcessor)
        yield


def build(name: str, folder: Path, *, hub: bool = False) -> Path:
    """Write a checkpoint of a family and return its folder."""
    family = (FAMILIES | FURTHER)[name]
    folder.mkdir(parents=True, exist_ok=True)
    ids = _save_tokenizer(family, folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tf.AutoModelForImageTextToText.from_config(family.config(ids), dtype=torch.float32)
        for place, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
            elif "gate" in place.rpartition(".")[2]:  # closed before training: no image would be seen
                torch.nn.init.constant_(parameter, 0.5)
        model.save_pretrained(folder)
    write = _write_hub if hub else _write_today
    write(family, folder)
    return folder


def _write_today(family: Family, folder: Path) -> None:
    _write(folder / "processor_config.json", {**family.processor, "image_processor": family.images})
    if family.template:
        (folder / "chat_template.jinja").write_text(family.template)


def _write_hub(family: Family, folder: Path) -> None:
    images = {**family.images, "processor_class": family.processor["processor_class"]}
    if "Qwen2VL" in images["image_processor_type"]:
        size = images.pop("size")
        images |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    _write(folder / "preprocessor_config.json", images)
    if family.template:
        _write(folder / "chat_template.json", {"chat_template": family.template})
    if len(family.processor) > 1:
        _write(folder / "processor_config.json", family.processor)
    config = json.loads((folder / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    _write(folder / "config.json", config)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _save_tokenizer(family: Family, folder: Path) -> dict[str, int]:
    special = ["<pad>", "<s>", "</s>", *family.special]
    tokenizer = metaspace_bpe(special, leading=family.leading) if family.metaspace else byte_bpe(special)
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>" if "bos_token" in family.template or family.metaspace else None,
        eos_token="</s>",  # noqa: S106
        clean_up_tokenization_spaces=False,
        extra_special_tokens=family.named or None,
    )
    fast.save_pretrained(folder)
    return {token: fast.convert_tokens_to_ids(token) for token in special} | {"vocabulary": len(fast)}


_WORDS = (
    "The visual quality of the first image is poor . How about the visual quality of the second image ? Good or poor ?",
    "Do these two images describe the same object ? Yes or no ? Yes No Good good Yes yes no",
    "The quality of the image is good . The quality of the image is bad . is excellent fair Excellent Fair Bad bad",
    "USER : ASSISTANT : user assistant system Rate the quality of the image",
)


def byte_bpe(special: list[str]) -> tk.Tokenizer:
    """A small tokenizer of the GPT-2 and Qwen kind; "poor" is one token only with its space."""
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_WORDS * 4, trainer)
    return tokenizer


def metaspace_bpe(special: list[str], *, leading: bool = True) -> tk.Tokenizer:
    """A small tokenizer of the Llama kind: spaces are a letter, and one may stand before the first word."""
    tokenizer = tk.Tokenizer(tk.models.BPE(unk_token="<s>"))  # noqa: S106
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Metaspace(prepend_scheme="first" if leading else "never", split=True)
    strip = [tk.decoders.Strip(" ", 1, 0)] if leading else []
    tokenizer.decoder = tk.decoders.Sequence([tk.decoders.Replace("▁", " "), tk.decoders.Fuse(), *strip])
    alphabet = [chr(code) for code in range(33, 127)] + ["\n"]
    trainer = tk.trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*_WORDS * 4, "Good", "Poor", "Yes", "No"] * 2, trainer)
    start = special.index("<s>")
    tokenizer.post_processor = tk.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    return tokenizer
