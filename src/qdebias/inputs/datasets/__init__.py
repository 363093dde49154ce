"""Datasets with human scores: their layouts, labels and traps in one table, read by one code path."""

from qdebias.inputs.datasets.catalogue import CATALOGUE
from qdebias.inputs.datasets.dataset import Dataset, Item
from qdebias.inputs.datasets.load import SAMPLE, load_dataset
from qdebias.inputs.datasets.outputs import Outputs, read_outputs
from qdebias.inputs.datasets.table import Entry
from qdebias.metrics.mos import Direction

__all__ = ["CATALOGUE", "SAMPLE", "Dataset", "Direction", "Entry", "Item", "Outputs", "load_dataset", "read_outputs"]
