"""Mean quality of generated or restored images as a metric of the library `torchmetrics`.

from qdebias.integrations.torchmetrics import ImageQuality

metric = ImageQuality(model="nano")
metric.update(batch)         # (N, 3, H, W), uint8 or floating point in [0, 1]
metric.compute()             # mean quality in [0, 1]
"""

from typing import Any

import torch
from torchmetrics import Metric

from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend
from qdebias.image import to_images
from qdebias.runs.scorer import Scorer


class ImageQuality(Metric):
    """Mean quality of all images so far, in [0, 1]; higher is better.

    Sum and count are the state, so processes add up their images and no score is averaged twice. A model that is given
    by name is loaded when the first image comes, in each process for itself: it is neither copied nor pickled.
    `settings` are those of `torchmetrics.Metric`, such as `dist_sync_on_step`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    total: torch.Tensor
    count: torch.Tensor

    def __init__(
        self,
        *,
        model: str | Backend = "nano",
        method: str = "paper",
        seed: int = 0,
        batch: int = 8,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**settings)
        self.model, self.method, self.seed, self.batch = model, method, seed, batch
        self._scorer: Scorer | None = None
        self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: torch.Tensor) -> None:
        """Score images (N, 3, H, W) or (3, H, W), uint8, or floating point in [0, 1]; all are counted or none."""
        if self._scorer is None:
            backend = load_backend(self.model) if isinstance(self.model, str) else self.model
            self._scorer = Scorer(backend=backend, method=self.method, seed=self.seed, batch=self.batch)
        values = [score.value for score in self._scorer.score_many(to_images(images))]  # type: ignore[union-attr]
        self.total += sum(values)
        self.count += len(values)

    def compute(self) -> torch.Tensor:
        """Return the mean over every image of every process, a scalar; NaN where there was none."""
        return self.total / self.count

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_scorer": None}
