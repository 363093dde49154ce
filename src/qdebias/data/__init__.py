"""Datasets with human scores: their layouts, labels and traps in one table, read by one code path."""

from qdebias.data.catalogue import CATALOGUE
from qdebias.data.dataset import Dataset, Direction, Item
from qdebias.data.load import SAMPLE, load_dataset
from qdebias.data.outputs import Outputs, read_outputs
from qdebias.data.table import Entry

__all__ = ["CATALOGUE", "SAMPLE", "Dataset", "Direction", "Entry", "Item", "Outputs", "load_dataset", "read_outputs"]
