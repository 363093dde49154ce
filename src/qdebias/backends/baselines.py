"""Baselines: a number of an image's pixels in place of a model, so that every comparison can have one beside it.

Each is one line of arithmetic, and on real photographs each agrees with people better than the embedded model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.prompts import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Answers a question about one image by how far a measure of it lies above a usual one; it reads no words.

    The logit of an option is its value times 2 log(measure / usual), so P(good) is 0.5 at the usual measure and 0.8 at
    twice that. Scores have the order of the measure; they mean nothing else.

    Attributes:
        name: What it is called.
        measure: From (H, W, 3) uint8 RGB to a number above 0, higher is better.
        usual: Its median over photographs of BSDS500.
    """

    name: str
    measure: Callable[[RgbImage], float]
    usual: float

    @property
    def fingerprint(self) -> Fingerprint:
        """The measure; OpenCV and Pillow do the arithmetic."""
        return Fingerprint(identity={"backend": "baseline", "model": self.name})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            BackendError: A request shows more than one image.
        """
        return [[self._odds(one) * np.array(question.values) for question in one.questions] for one in requests]

    def _odds(self, request: Request) -> float:
        if len(request.images) != 1:
            raise BackendError(f"{self.name} measures one image and knows no pairs; use it with --method vanilla")
        return float(2 * np.log(self.measure(request.images[0]) / self.usual))


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
    "sharpness": Baseline(name="sharpness", measure=sharpness, usual=180.0),
    "bytes": Baseline(name="bytes", measure=compressed, usual=1.6),
}
