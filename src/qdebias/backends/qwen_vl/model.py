"""The whole model, with the official names of its weights."""

from collections.abc import Sequence

import torch
from torch import nn

from qdebias.backends.qwen_vl.config import Config
from qdebias.backends.qwen_vl.language import Layer, RmsNorm, query_scale, rotation_of
from qdebias.backends.qwen_vl.packing import Batch
from qdebias.backends.qwen_vl.vision import VisionEncoder


class Transformer(nn.Module):
    """Embedding, layers, last norm, and the vision encoder beside them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocabulary, config.hidden)
        self.h = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.ln_f = RmsNorm(config.hidden, config.epsilon)
        self.visual = VisionEncoder(config)

    def forward(self, batch: Batch, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (prompts, hidden) at the last token of each prompt, under the last norm."""
        batch = batch.to(self.wte.weight.device)
        hidden = self.wte(batch.ids)
        if images:
            hidden[batch.ids == self.config.slot] = torch.cat(list(images))
        rotation, scale = rotation_of(batch, self.config), query_scale(batch.positions, self.config)
        for layer in self.h:
            hidden = layer(hidden, rotation, scale, batch.mask)
        rows, last = batch.reads.unbind(dim=1)
        return self.ln_f(hidden[rows, last])  # type: ignore[no-any-return]


class Model(nn.Module):
    """Qwen-VL. It is built without weights, under `torch.device("meta")`, and filled by `weights.fill`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map images (n, side, side, 3) uint8 to tokens (n, 256, hidden)."""
        return self.transformer.visual(pixels)  # type: ignore[no-any-return]

    def last_logits(self, batch: Batch, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits after the last token of every prompt: (prompts, vocabulary) float32.

        Args:
            batch: R rows.
            images: The tokens (256, hidden) of every image of every row, in order.
        """
        return self.lm_head(self.transformer(batch, images)).float()  # type: ignore[no-any-return]
