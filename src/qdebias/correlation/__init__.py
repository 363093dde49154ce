"""How well predicted scores agree with human ones: correlations, their intervals, and tests of differences."""

from qdebias.correlation.intervals import Interval
from qdebias.correlation.logistic import LogisticFit, fit_logistic
from qdebias.correlation.measures import Correlation, correlate
from qdebias.correlation.readout import literal_probability
from qdebias.correlation.significance import (
    Comparison,
    DependentTest,
    Difference,
    compare_correlations,
    steiger,
    williams,
)
from qdebias.correlation.within import Columns, MeanCorrelation, correlate_within

__all__ = [
    "Columns",
    "Comparison",
    "Correlation",
    "DependentTest",
    "Difference",
    "Interval",
    "LogisticFit",
    "MeanCorrelation",
    "compare_correlations",
    "correlate",
    "correlate_within",
    "fit_logistic",
    "literal_probability",
    "steiger",
    "williams",
]
