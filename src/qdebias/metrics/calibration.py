"""A monotone map from scores to a MOS scale of one's own, and the file that it is kept in; `calibrate` fits one."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.metrics.logistic import LogisticFit
from qdebias.metrics.mos import Interval, Mos
from qdebias.system.output import write_file

Kind: TypeAlias = Literal["isotonic", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FORMAT = "qdebias calibration 2"
"""The first may be of a `paper` that is `paper-eq7` now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose scores were mapped, so that no others are by mistake.

    Attributes:
        model: What `qdebias.load_backend` took.
        method: Name of the method.
        seed: Seed of the degradations.
        labels: What the human scores are, in words.
    """

    model: str
    method: str
    seed: int = 0
    labels: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """Errors on images that the map was not fitted on, on the scale of the human scores.

    Attributes:
        folds: In how many parts the sample was left out, one after the other.
        rmse: Root of the mean square error.
        mae: Mean absolute error.
        bias: Mean of mapped minus human score.
        srcc: SRCC of mapped and human scores; NaN where all mapped scores are equal.
        plcc: PLCC likewise.
        constant_rmse: RMSE of always answering the mean human score: what a useless map has.
    """

    folds: int
    rmse: float
    mae: float
    bias: float
    srcc: float
    plcc: float
    constant_rmse: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A monotone map from scores to human scores; call it with scores.

    Attributes:
        kind: "isotonic" or "logistic".
        increasing: False where lower human scores are better (DMOS).
        scores: Isotonic: the (K,) scores at which the map has its corners, rising. Beyond them it is constant.
        values: Isotonic: the (K,) human scores there.
        parameters: Logistic: b1 to b4 of `qdebias.metrics.logistic`.
        count: How many images it was fitted on.
        low: Lowest human score of the sample; no mapped score is lower.
        high: Highest; none is higher.
        origin: Whose scores.
        error: Its cross-validated error; None where that was not asked for.
        interval: The interval around every mapped score; None without cross-validation, and in files of earlier
            versions.
    """

    kind: Kind
    increasing: bool
    scores: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    parameters: tuple[float, ...] = ()
    count: int
    low: float
    high: float
    origin: Origin
    error: CrossValidated | None = None
    interval: Interval | None = None

    def __call__(self, score: npt.ArrayLike) -> FloatArray:
        """Return (N,) scores on the human scale for (N,) scores."""
        x = np.asarray(score, dtype=np.float64)
        if self.kind == "isotonic":
            return np.asarray(np.interp(x, self.scores, self.values), dtype=np.float64)
        mapped = LogisticFit(parameters=self.parameters, converged=True)(x)
        return np.asarray(np.clip(mapped, self.low, self.high), dtype=np.float64)

    def mos(self, score: float) -> Mos:
        """Return the human score that is expected of an image with this score, with its interval.

        The interval may reach beyond the scale: it is as wide everywhere, and cutting it would hide how wide it is.
        """
        value = float(self(score))
        if self.interval is None:
            return Mos(value=value)
        return Mos(value=value, low=value - self.interval.half_width, high=value + self.interval.half_width)

    def check_origin(self, *, model: str, method: str) -> None:
        """Refuse the scores of another model or method.

        Raises:
            SettingError: They are not those that the map was fitted on.
        """
        if (model, method) != (self.origin.model, self.origin.method):
            raise SettingError(
                f"this calibration is of model {self.origin.model} and method {self.origin.method}, not of {model} and "
                f"{method}; fit another one with qdebias calibrate"
            )


def save_calibration(calibration: Calibration, path: "str | PathLike[str]") -> None:
    """Write a calibration as JSON that a person can read.

    Raises:
        SettingError: The file cannot be written.
    """
    values = {"format": FORMAT} | _without_nan(asdict(calibration))
    try:
        write_file(Path(path), json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise SettingError(f"{path}: cannot be written ({error.strerror or error})") from error


def load_calibration(path: "str | PathLike[str]") -> Calibration:
    """Return the calibration of a file.

    Raises:
        SettingError: It cannot be read, or is no calibration.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise SettingError(f"{path}: is of another version; fit it again with qdebias calibrate")
        return _checked(_from_values(values))
    except OSError as error:
        raise SettingError(f"{path}: cannot be read ({error.strerror or error})") from error
    except SettingError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(f"{path}: is no calibration ({error}); make one with qdebias calibrate") from error


def _from_values(values: Mapping[str, Any]) -> Calibration:
    error = None if values["error"] is None else CrossValidated(**_with_nan(values["error"]))
    lists = {name: tuple(float(value) for value in values[name]) for name in ("scores", "values", "parameters")}
    interval = None if values.get("interval") is None else Interval(**values["interval"])
    parts = {"origin": Origin(**values["origin"]), "error": error, "interval": interval}
    return Calibration(**{**values, **lists, **parts})


def _checked(calibration: Calibration) -> Calibration:
    """Refuse a file that was edited into something that is no monotone map."""
    corners, values = np.array(calibration.scores), np.array(calibration.values)
    steps = np.diff(values) if calibration.increasing else -np.diff(values)
    isotonic = len(corners) == len(values) > 0 and bool((np.diff(corners) > 0).all() and (steps >= 0).all())
    if calibration.kind not in KINDS or not (
        isotonic if calibration.kind == "isotonic" else len(calibration.parameters) == 4
    ):
        raise ValueError("its map is not monotone")
    interval = calibration.interval
    if interval is not None and not (0 < interval.level < 1 and 0 <= interval.half_width < math.inf):
        raise ValueError("its interval is none")
    return calibration


def _with_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in values.items()}


def _without_nan(value: Any) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
