"""Models with a short name, and what to know before using them, from `catalogue.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.system.named import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One line of `qdebias models`."""

    name: str  # what `load_backend` takes
    hub_id: str = ""  # where the weights are; empty if they come with the package
    licence: str  # of the weights, as the model's page names it; "not verified" where no page was at hand
    pairs: bool | None = None  # trained on several images in one prompt, or never taught to compare; None: not known
    gibibytes: float | None = None  # memory of the parameters of the published files in bfloat16; None: not known
    form: str  # how a question is written for it
    pixels: str  # how an image is resized before the model sees it
    note: str = ""  # what else matters, in one sentence
    caution: str = ""  # what is said wherever it is used
    baseline: bool = False  # whether it is a measure of pixels rather than a model
    checked: str = ""  # what was checked of it; nobody has run the published weights here, but where `note` says so


KNOWN_MODELS = tuple(
    KnownModel(name=name, **entries)
    for name, entries in tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")).items()
)


CAUTIONS = {model.name: model.caution for model in KNOWN_MODELS if model.caution}
"""Warnings that are shown wherever a model is used."""


def known_model(name: str) -> KnownModel:
    """Return the model of a short name; raises SettingError where there is none."""
    for model in KNOWN_MODELS:
        if model.name == name:
            return model
    known = [model.name for model in KNOWN_MODELS]
    raise SettingError(f"no model {name!r} is known{nearest(name, known)}; there are: {', '.join(known)}")
