"""A stage for NeMo Curator that keeps the images of sufficient quality, as judged by `qdebias serve`.

    pipeline.add_stage(QualityFilterStage(url="http://127.0.0.1:8765", threshold=0.4))

It stands where NeMo Curator's own filters do: after the stage that reads images, and needs no embeddings.
"""

import logging
from dataclasses import dataclass
from typing import Any

from nemo_curator.stages.base import ProcessingStage
from nemo_curator.tasks import ImageBatch

from qdebias.client import Client, ServerError

OF_THE_IMAGE = frozenset({413, 415, 422})
"""Statuses that say that an image cannot be judged; others say that the server cannot judge any."""


@dataclass
class QualityFilterStage(ProcessingStage[ImageBatch, ImageBatch]):
    """Writes scores to `metadata["quality"]`, and drops images without one or with one below the threshold."""

    url: str
    threshold: float
    name: str = "qdebias_quality_filter"

    def inputs(self) -> tuple[list[str], list[str]]:
        """Return what a task needs: images."""
        return ["data"], []

    outputs = inputs

    def setup(self, _worker_metadata: Any = None) -> None:  # noqa: ANN401
        """Connect, once in each worker."""
        self._client = Client(self.url)

    def teardown(self) -> None:
        """Close the connections."""
        self._client.close()

    def process(self, task: ImageBatch) -> ImageBatch:
        """Judge a batch of images that are in memory.

        Raises:
            ServerError: The server does not answer.
        """
        kept = []
        for image, result in zip(task.data, self._client.score_many(one.image_data for one in task.data), strict=True):
            if isinstance(result, ServerError) and result.status in OF_THE_IMAGE:
                logging.getLogger(__name__).warning("%s is dropped: %s", image.image_path or image.image_id, result)
            elif isinstance(result, Exception):
                raise result
            else:
                image.metadata["quality"] = result.score
                kept += [image] if result.score >= self.threshold else []
        task.data = kept
        return task
