"""How well predicted scores agree with human ones: correlations and their intervals."""

from qdebias.correlation.intervals import Interval
from qdebias.correlation.logistic import LogisticFit, fit_logistic
from qdebias.correlation.measures import Correlation, correlate
from qdebias.correlation.readout import literal_probability
from qdebias.correlation.within import Columns, MeanCorrelation, correlate_within

__all__ = [
    "Columns",
    "Correlation",
    "Interval",
    "LogisticFit",
    "MeanCorrelation",
    "correlate",
    "correlate_within",
    "fit_logistic",
    "literal_probability",
]
