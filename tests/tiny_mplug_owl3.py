"""Checkpoints of mPLUG-Owl3 with random weights, in the official layout, with a vocabulary of their own."""

import atexit
import functools
import tempfile
from pathlib import Path
from typing import Any

import tokenizers as tk
from transformers import Qwen2Tokenizer

from qdebias import presets
from qdebias.backends.mplug_owl3.release import RELEASE_240728, RELEASE_241101
from qdebias.backends.mplug_owl3.synthetic import empty, entries_7b, randomize, write_checkpoint, write_config
from qdebias.backends.mplug_owl3.variant import Gate
from qdebias.backends.mplug_owl3.vocabulary import SPECIAL

SMALL: dict[str, Any] = {
    "hidden_size": 56,
    "intermediate_size": 64,
    "num_attention_heads": 7,
    "num_hidden_layers": 6,
    "num_key_value_heads": 1,
    "hyper_layers": [1, 4, 6],
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "image_size": 60,
    },
}
"""Few layers, few channels, crops of 16 tokens; seven queries share one key, as in the true model."""

NARROW: dict[str, Any] = {
    "hidden_size": 112,
    "intermediate_size": 96,
    "vision_config": {"hidden_size": 64, "intermediate_size": 96},
}
"""The true architecture, all layers and heads and the true size of crops, reduced in width alone."""

WIDE: dict[str, Any] = SMALL | {"hidden_size": 448, "intermediate_size": 512}
"""As small, but with channels enough to be quantised."""

SIZES = {"small": SMALL, "narrow": NARROW, "wide": WIDE}


@functools.cache
def checkpoint(gate: Gate, size: str = "small", seed: int = 1) -> Path:
    """Return the folder of a checkpoint; it is made once, and to be copied by whoever wants to change it."""
    store = tempfile.TemporaryDirectory(prefix="qdebias-tiny-owl-")
    atexit.register(store.cleanup)
    return build(Path(store.name) / f"owl-{gate.value}-{size}", gate, SIZES[size], seed)


def build(folder: Path, gate: Gate, changed: dict[str, Any], seed: int) -> Path:
    """Write a checkpoint in three shards and return its folder."""
    release = RELEASE_241101 if gate is Gate.NONE else RELEASE_240728
    vocabulary = folder / "vocabulary"
    rows = write_vocabulary(vocabulary)
    write_config(folder, entries_7b(release, **(changed | {"vocab_size": rows + 10})))
    model = randomize(empty(folder, gate), seed=seed)
    write_checkpoint(folder, model, vocabulary=vocabulary, shards=3)
    return folder


def write_vocabulary(folder: Path) -> int:
    """Write a byte-level vocabulary that spells every preset's words in one token each; return its size."""
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.normalizer = tk.normalizers.NFC()
    tokenizer.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    tokenizer.decoder = tk.decoders.ByteLevel()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words = [
        *sentences(),
        "Good Poor",
        "Yes",
        "No",
        "Good",
        "Poor",
        "a good poor fair one",
        "system",
        "user",
        "assistant",
    ]
    tokenizer.train_from_iterator(words * 3, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = '{"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}'
    (folder / "tokenizer_config.json").write_text(config)
    return tokenizer.get_vocab_size()


def sentences() -> list[str]:
    """Return what the presets say."""
    questions = [presets.CONDITIONAL, presets.SAME_OBJECT, presets.RELEASED_CONDITIONAL, presets.VANILLA]
    return [f"{question.text} {question.answer_prefix}" for question in questions]
