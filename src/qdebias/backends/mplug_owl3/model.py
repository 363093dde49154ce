"""The whole model, with the official names of its weights."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from qdebias.backends.mplug_owl3.config import Config
from qdebias.backends.mplug_owl3.language import LanguageModel
from qdebias.backends.mplug_owl3.release import RELEASE_240728
from qdebias.backends.mplug_owl3.rows import Batch
from qdebias.backends.mplug_owl3.variant import Variant
from qdebias.backends.mplug_owl3.vision import VisionEncoder


class Model(nn.Module):
    """Vision encoder, projector and decoder.

    It is built without weights, under `torch.device("meta")`, and filled by `weights.fill`.
    """

    def __init__(self, config: Config, variant: Variant) -> None:
        super().__init__()
        self.config, self.variant = config, variant
        self.vision_model = VisionEncoder(config.vision)
        first = nn.Linear(config.vision.hidden, config.hidden)
        if variant.release is RELEASE_240728:
            self.vision2text_model: nn.Module = first
        else:
            self.vision2text_model = nn.Sequential(first, nn.GELU(), nn.Linear(config.hidden, config.hidden))
        self.language_model = LanguageModel(config, variant)

    @property
    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names of weights that are never used; a checkpoint may lack them."""
        return tuple(f"vision_model.{name}" for name in self.vision_model.unused)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map crops (n, 3, side, side) uint8 to image tokens of the decoder (n, T, channels)."""
        features = self.vision_model(pixels)
        return cast(torch.Tensor, self.vision2text_model(features.to(_device(self.vision2text_model))))

    def remember(self, pixels: torch.Tensor, chunk: int) -> list[dict[int, torch.Tensor]]:
        """Return what prompts need of crops: for each, per hyper layer, (T, kv heads, 2, head).

        Args:
            pixels: (n, 3, side, side) uint8.
            chunk: How many crops go through the vision encoder at a time; 16 in the official code.
        """
        found: list[dict[int, torch.Tensor]] = []
        for part in pixels.split(chunk):
            keys_values = self.language_model.model.image_keys_values(self.encode(part))
            found += [{layer: kept[index] for layer, kept in keys_values.items()} for index in range(len(part))]
        return found

    def last_logits(self, batch: Batch, memory: Sequence[Sequence[Mapping[int, torch.Tensor]]]) -> torch.Tensor:
        """Return the logits after the last token of every prompt: (prompts, vocabulary) float32.

        Args:
            batch: R rows.
            memory: For each row, for each of its crops, what `remember` returned.
        """
        width = batch.visible.shape[2]
        keys_values = {layer: _stacked(memory, layer, width) for layer in self.variant.hyper} if width else {}
        hidden = self.language_model.model(batch, keys_values)
        return cast(torch.Tensor, self.language_model.lm_head(hidden.to(_device(self.language_model.lm_head)))).float()


def _stacked(memory: Sequence[Sequence[Mapping[int, torch.Tensor]]], layer: int, width: int) -> torch.Tensor:
    """Return (R, C, T, kv heads, 2, head); rows with fewer crops are filled up with one that no token sees."""
    filler = next(crop for row in memory for crop in row)
    rows = [[*row, *[filler] * (width - len(row))] for row in memory]
    return torch.stack([torch.stack([crop[layer] for crop in row]) for row in rows])


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
