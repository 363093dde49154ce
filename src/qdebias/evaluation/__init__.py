"""A dataset, a model and a method: how well the scores agree with human ones."""

from qdebias.evaluation.evidence import Readout
from qdebias.evaluation.report import EvaluatedImage, Part, Report, evaluate, make_report

__all__ = ["EvaluatedImage", "Part", "Readout", "Report", "evaluate", "make_report"]
