"""A dataset, a model and a method: how well the scores agree with human ones."""

from qdebias.evaluation.pipeline import evaluate
from qdebias.evaluation.readout import Readout
from qdebias.evaluation.report import EvaluatedImage, Part, Report, make_report

__all__ = ["EvaluatedImage", "Part", "Readout", "Report", "evaluate", "make_report"]
