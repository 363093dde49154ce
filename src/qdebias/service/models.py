"""The models that a server answers with, and the methods that each can be asked with."""

import gc
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import PurePath

import numpy as np

from qdebias.backends.base import Backend
from qdebias.backends.load import split_arguments
from qdebias.errors import BackendError, MissingPackageError, SettingError
from qdebias.image import MIN_SIDE
from qdebias.methods import presets
from qdebias.methods.method import Context
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from qdebias.service.refusal import Reason, Refusal

EMBEDDED = ("nano", "nano-biased")
"""Models that gain nothing by larger batches; shown one image at a time, they give it the same bits in any company."""

_SOUND_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """What a server can be asked.

    Attributes:
        scorers: For each model by name, for each method by name: the scorer. The first model is the default.
        method: Name of the default method.
    """

    scorers: Mapping[str, Mapping[str, Scorer]]
    method: str

    @property
    def model(self) -> str:
        """Name of the default model."""
        return next(iter(self.scorers))

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods of the default model; another model may lack some that read more than it tells."""
        return tuple(self.scorers[self.model])

    def scorer(self, model: str, method: str) -> Scorer:
        """Return the scorer of two names."""
        if model not in self.scorers:
            raise Refusal(Reason.NO_MODEL)
        if method not in self.scorers[model]:
            raise Refusal(Reason.NO_METHOD)
        return self.scorers[model][method]

    def fingerprint(self, model: str) -> str:
        """Return 16 hex digits over what decides the answers of a model under the default method."""
        identity = self.scorers[model][self.method].backend.fingerprint.identity
        return blake2b(json.dumps(dict(identity), sort_keys=True).encode(), digest_size=8).hexdigest()


def serve_models(backends: Mapping[str, Backend], settings: Settings) -> Served:
    """Return the scorers of every model under every method that can be asked about a lone image.

    Methods that need more than the image (a pool of other images, a package that is not installed) are left out. Each
    model is asked once with the default method, so that one that cannot answer is found before the first request.

    Raises:
        SettingError: The default method is none of them.
        BackendError: A model cannot answer.
    """
    grey = np.full((2 * MIN_SIDE, 2 * MIN_SIDE, 3), 128, dtype=np.uint8)
    methods = []
    for name in dict.fromkeys((*presets.RECIPES, settings.method)):  # the default may be put together from parts
        method = presets.get(name).method
        with suppress(SettingError, MissingPackageError):
            method.plan(grey, Context())
            methods.append(name)
    if settings.method not in methods:
        raise SettingError(f"method {settings.method!r} needs more than one image; serve one of {', '.join(methods)}")
    scorers: dict[str, dict[str, Scorer]] = {name: {} for name in backends}
    for model, backend in backends.items():
        batch = 1 if backend.fingerprint.identity.get("model") in EMBEDDED else settings.batch
        scorer = partial(Scorer, backend=backend, seed=settings.seed, batch=batch, max_pixels=settings.pixels)
        for name in methods:
            try:
                scorers[model][name] = scorer(method=name)
            except BackendError:  # the method reads more than the model tells
                if name == settings.method:
                    raise
        scorers[model][settings.method].score(grey)
    return Served(scorers=scorers, method=settings.method)


def specs_by_name(specs: Sequence[str]) -> dict[str, str]:
    """Return what `load_backend` takes, by the names under which it is served: <name>=<backend>, or a backend alone.

    A model without a name is called by the last part of its backend: answers tell neither folders nor servers.

    Raises:
        SettingError: There is none, or two have one name.
    """
    names: list[str] = []
    backends: list[str] = []
    for spec in specs:
        name, equals, backend = spec.partition("=")
        if not (equals and _SOUND_NAME.fullmatch(name)):
            last = PurePath(split_arguments(spec)[0].rpartition("#")[2]).name
            name, backend = last.rpartition(":")[2] or last, spec
        names.append(name)
        backends.append(backend)
    if not names or len(set(names)) != len(names):
        raise SettingError(
            f"the server needs models of different names, got {', '.join(names) or 'none'}; "
            f"name them with --model NAME=MODEL"
        )
    return dict(zip(names, backends, strict=True))


def loader(specs: Mapping[str, str], options: Options, settings: Settings) -> Callable[[], Served]:
    """Return what loads the models of `specs_by_name`, as the options say, into a process of the service's own."""

    def load() -> Served:
        served = serve_models({name: options.backend(spec) for name, spec in specs.items()}, settings)
        gc.collect()
        gc.freeze()  # else each full collection goes through all modules, and nothing else runs for a tenth of a second
        return served

    return load
