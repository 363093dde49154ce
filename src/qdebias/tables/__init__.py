"""The paper's tables with our numbers beside the printed ones."""

from qdebias.tables.agreement import Agreement, Agreements
from qdebias.tables.build import TABLES, build, needed
from qdebias.tables.evidence import Evidence, NotRun, Scores
from qdebias.tables.gather import Asker, dataset_pool, pool_of
from qdebias.tables.recall import recall
from qdebias.tables.render import FORMS, render
from qdebias.tables.rivalry import rival_scores
from qdebias.tables.table import Cell, Column, Number, Table

__all__ = [
    "FORMS",
    "TABLES",
    "Agreement",
    "Agreements",
    "Asker",
    "Cell",
    "Column",
    "Evidence",
    "NotRun",
    "Number",
    "Scores",
    "Table",
    "build",
    "dataset_pool",
    "needed",
    "pool_of",
    "recall",
    "render",
    "rival_scores",
]
