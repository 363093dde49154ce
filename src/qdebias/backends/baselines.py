"""Baselines: a measure of an image's pixels in place of a model, for comparisons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.metrics.packages import load_rival
from qdebias.prompts import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Answers a question about one image by a measure of its pixels; it does not read the question.

    The logit of an option is its value times the log-odds. Scores have the order of the measure, and no other meaning.
    """

    name: str
    log_odds: Callable[[RgbImage], float]  # of good
    identity: Mapping[str, str] = field(default_factory=dict)  # what else decides them

    @property
    def fingerprint(self) -> Fingerprint:
        """The measure."""
        return Fingerprint(identity={"backend": "baseline", "model": self.name, **self.identity})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`."""
        answers: OptionLogits = []
        for request in requests:
            if len(request.images) != 1:
                raise BackendError(
                    f"{self.name} measures one image and does not take pairs; use it with --method vanilla"
                )
            answers.append([self.log_odds(request.images[0]) * np.array(one.values) for one in request.questions])
        return answers


def above(measure: Callable[[RgbImage], float], usual: float) -> Callable[[RgbImage], float]:
    """Return 2 log(measure / usual), the median over photographs of BSDS500: P(good) is 0.5 there, 0.8 at twice it."""
    return lambda image: float(2 * np.log(measure(image) / usual))


def sharpness(image: RgbImage) -> float:
    """The 99.5th percentile of the size of the Laplacian of grey, plus 1: how sharp the sharpest places are."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    return float(np.percentile(np.abs(cv2.Laplacian(grey, cv2.CV_64F)), 99.5)) + 1


def compressed(image: RgbImage) -> float:
    """Bits a pixel as a JPEG of quality 75: how much there is to see."""
    data = BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=75)
    return 8 * data.tell() / float(image.shape[0] * image.shape[1])


BASELINES = {
    "sharpness": Baseline(name="sharpness", log_odds=above(sharpness, 180.0)),
    "bytes": Baseline(name="bytes", log_odds=above(compressed, 1.6)),
}


def load_pyiqa(name: str, *, device: str | None = None) -> Baseline:
    """Return a metric of pyiqa as a baseline: log-odds of -4 and 4 at the ends of its scale, a line between and beyond.

    `name` is pyiqa's, or that of a row of the paper's Table 1; without a device it runs where pyiqa chooses.
    """
    rival = load_rival(name, device=device)
    low, high = rival.scale
    return Baseline(
        name=f"pyiqa:{rival.metric}",
        log_odds=lambda image: 8 * (rival(image) - low) / (high - low) - 4,
        identity={"pyiqa": rival.version},
    )
