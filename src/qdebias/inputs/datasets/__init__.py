"""Datasets with human scores, described by tables and read by one code path."""

from qdebias.inputs.datasets.dataset import CATALOGUE, Dataset, Entry, Item
from qdebias.inputs.datasets.load import SAMPLE, load_dataset
from qdebias.metrics.mos import Direction

__all__ = ["CATALOGUE", "SAMPLE", "Dataset", "Direction", "Entry", "Item", "load_dataset"]
