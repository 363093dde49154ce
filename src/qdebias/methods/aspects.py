"""Aspects of quality: the same questions asked about sharpness, noise and others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from qdebias.degrade import (
    Brightness,
    Contrast,
    Degradation,
    Fog,
    GaussianBlur,
    GaussianNoise,
    Pixelate,
    Saturate,
    Spatter,
    ZoomBlur,
)
from qdebias.prompts import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """What is judged, in the place of quality as a whole.

    Attributes:
        noun: What takes the place of "quality" in every question and at the beginning of the answer.
        degradations: Conditional images of which it is true that this aspect of them is poor.
    """

    noun: str
    degradations: tuple[Degradation, ...]

    def __call__(self, question: Question) -> Question:
        """Return the question about this aspect: "Rate the sharpness of the image. Good or poor?"."""
        return replace(question, text=self._said(question.text), answer_prefix=self._said(question.answer_prefix))

    def _said(self, text: str) -> str:
        return text.replace("visual quality", "quality").replace("quality", self.noun)


ASPECTS: Mapping[str, Aspect] = {
    "sharpness": Aspect(noun="sharpness", degradations=(GaussianBlur(), ZoomBlur(), Pixelate())),
    "noise": Aspect(noun="freedom from noise", degradations=(GaussianNoise(),)),
    "exposure": Aspect(noun="exposure", degradations=(Brightness(offset=0.5), Brightness(offset=-0.5))),
    "colour": Aspect(noun="color", degradations=(Saturate(gain=2.0), Saturate(gain=0.1))),
    "contrast": Aspect(noun="contrast", degradations=(Contrast(), Fog())),
    "aesthetics": Aspect(noun="aesthetic quality", degradations=(ZoomBlur(), Spatter(), Saturate(), Fog())),
}
