"""A dataset, a model and a method: how well the scores agree with human ones."""

from qdebias.evaluation.readout import Readout
from qdebias.evaluation.report import Part, Report, make_report
from qdebias.evaluation.rows import EvaluatedImage
from qdebias.evaluation.through_run import evaluate

__all__ = ["EvaluatedImage", "Part", "Readout", "Report", "evaluate", "make_report"]
