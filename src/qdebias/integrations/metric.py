"""A callable in the manner of the package pyiqa, for programs that were written for its metrics.

from qdebias.integrations.metric import create_metric

metric = create_metric("paper", model="nano")
metric("photo.jpg")          # tensor (1, 1)
metric(batch)                # tensor (N, 1) of a batch (N, 3, H, W) in [0, 1]
metric.lower_better          # False
"""

from dataclasses import dataclass
from typing import Literal

import torch

from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.image import ImageSource, to_images
from qdebias.runs.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityMetric:
    """Scores images when it is called; `create_metric` makes one. The names of its fields are pyiqa's."""

    metric_name: str
    scorer: Scorer
    lower_better: Literal[False] = False
    score_range: str = "0, 1"
    metric_mode: Literal["NR"] = "NR"  # without a reference image

    def __call__(self, target: torch.Tensor | ImageSource, ref: object = None) -> torch.Tensor:  # noqa: ARG002
        """Return the quality of each image, float64 (N, 1) on the CPU, higher is better; no gradient flows through it.

        `target` is a path, a Pillow image, an array (H, W, 3) of uint8, or a tensor (N, 3, H, W) of uint8 or of
        floating point in [0, 1]; `ref` is not looked at.
        """
        images = to_images(target) if isinstance(target, torch.Tensor) else [target]
        values = [score.value for score in self.scorer.score_many(images)]  # type: ignore[union-attr]
        return torch.tensor(values, dtype=torch.float64)[:, None]


def create_metric(
    metric_name: str = "paper", *, model: str | Backend = "nano", device: str | None = None, seed: int = 0
) -> QualityMetric:
    """Return a metric with the name of a method; the rest is what `load_backend` and `Scorer` take."""
    backend = load_backend(model, device=device) if isinstance(model, str) else model
    return QualityMetric(metric_name=metric_name, scorer=Scorer(backend=backend, method=metric_name, seed=seed))
