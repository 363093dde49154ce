"""The phenomenon that the method mitigates: what a model thinks of an image depends on what the image shows."""

from qdebias.evaluation.bias.exposure import Exposure, exposure_by_content, exposure_table
from qdebias.evaluation.bias.offsets import (
    KINDS,
    UNLABELLED,
    Bias,
    Offset,
    bias_table,
    contents_of,
    deserved,
    measure_bias,
    rank,
)

__all__ = [
    "KINDS",
    "UNLABELLED",
    "Bias",
    "Exposure",
    "Offset",
    "bias_table",
    "contents_of",
    "deserved",
    "exposure_by_content",
    "exposure_table",
    "measure_bias",
    "rank",
]
