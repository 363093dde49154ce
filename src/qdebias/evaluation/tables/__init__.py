"""The paper's tables with our numbers beside the printed ones."""

from qdebias.evaluation.tables.agreement import Agreement, Agreements
from qdebias.evaluation.tables.build import TABLES, build, needed
from qdebias.evaluation.tables.evidence import Evidence, NotRun, Scores
from qdebias.evaluation.tables.gather import Asker, dataset_pool, pool_of
from qdebias.evaluation.tables.recall import recall
from qdebias.evaluation.tables.render import FORMS, render
from qdebias.evaluation.tables.rivalry import rival_scores
from qdebias.evaluation.tables.table import Cell, Column, Number, Table

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
