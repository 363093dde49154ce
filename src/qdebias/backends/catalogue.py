"""Models that are known by a short name, and what to know before using them: the tables of `catalogue.toml`.

Licences are those of the weights as the pages of the models name them, with "not verified" where no page was at hand.
Memory is the number of parameters in bfloat16, from the published files. What counts is the page of the model.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.system.named import nearest

READ = "its chat template, read in a public copy: tests render the same prompts about one image and two"
"""How `KnownModel.checked` begins where the template was read; a test holds the templates to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One line of `qdebias models`.

    Attributes:
        name: What `load_backend` takes.
        hub_id: Where the weights are; empty if they come with the package.
        licence: Of the weights.
        pairs: Whether the model was trained on several images in one prompt; None: its page does not say. Those that
            were not accept two, but were never taught to compare them.
        gibibytes: Memory of the weights in bfloat16; None: not known.
        form: How a question is written for it.
        pixels: How an image is resized before the model sees it.
        note: What else matters, in one sentence.
        caution: What is said wherever it is used.
        baseline: Whether it is a measure of pixels rather than a model.
        checked: What was checked of it, and what was not. Nobody has run the published weights here, but where `note`
            says so.
    """

    name: str
    hub_id: str = ""
    licence: str
    pairs: bool | None = None
    gibibytes: float | None = None
    form: str
    pixels: str
    note: str = ""
    caution: str = ""
    baseline: bool = False
    checked: str = ""


def _known() -> tuple[KnownModel, ...]:
    tables = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    return tuple(KnownModel(name=name, **entries) for name, entries in tables.items())


KNOWN_MODELS = _known()


def caution(name: str) -> str:
    """Return what to say wherever this model is used; nothing of most."""
    return next((model.caution for model in KNOWN_MODELS if model.name == name), "")


def known_model(name: str) -> KnownModel:
    """Return the model of a short name.

    Raises:
        SettingError: There is none.
    """
    for model in KNOWN_MODELS:
        if model.name == name:
            return model
    known = [model.name for model in KNOWN_MODELS]
    raise SettingError(f"no model {name!r} is known{nearest(name, known)}; there are: {', '.join(known)}")
