"""A filter for Data-Juicer that keeps the samples whose images are good enough, as judged by `qdebias serve`.

    custom_operator_paths: [examples/integrations/data_juicer_filter.py]
    process:
      - qdebias_quality_filter: {url: "http://127.0.0.1:8765", min_score: 0.4}

Scores stand in the sample's statistics as `qdebias_scores`.
"""

import os
from functools import cache
from typing import Any

from data_juicer.ops.base_op import OPERATORS, Filter
from data_juicer.utils.constant import Fields

from qdebias.client import Client

SCORES = "qdebias_scores"


@cache
def _client(url: str, process: int) -> Client:  # noqa: ARG001  a forked process must not share connections
    return Client(url)


@OPERATORS.register_module("qdebias_quality_filter")
class QdebiasQualityFilter(Filter):
    """Keeps a sample if all of its images, or any, have a score in a range; one without images is kept."""

    def __init__(
        self,
        url: str,
        min_score: float = 0.0,
        max_score: float = 1.0,
        any_or_all: str = "all",
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **kwargs)
        if any_or_all not in ("any", "all"):
            raise ValueError(f"any_or_all is any or all, not {any_or_all!r}")
        self.url, self.min_score, self.max_score, self.any = url, min_score, max_score, any_or_all == "any"

    def compute_stats_single(self, sample: dict[str, Any], context: bool = False) -> dict[str, Any]:  # noqa: ARG002
        """Score the images, given as bytes or paths; one that has no score is an error, as `skip_op_error` says."""
        if SCORES not in sample[Fields.stats]:
            images = sample.get(self.image_bytes_key) or sample.get(self.image_key) or []
            client = _client(self.url, os.getpid())
            sample[Fields.stats][SCORES] = [client.score(image).score for image in images]
        return sample

    def process_single(self, sample: dict[str, Any]) -> bool:
        """Tell whether to keep a sample."""
        kept = [self.get_keep_boolean(one, self.min_score, self.max_score) for one in sample[Fields.stats][SCORES]]
        return not kept or (any(kept) if self.any else all(kept))
