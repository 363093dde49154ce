"""The models that a server answers with, and the methods that each can be asked with."""

import gc
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath

import numpy as np

from qdebias.backends.base import Backend
from qdebias.backends.load import split_arguments
from qdebias.errors import BackendError, MissingPackageError, SettingError
from qdebias.image import MIN_SIDE, RgbImage
from qdebias.methods import presets
from qdebias.methods.method import Context, Method
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.settings import Settings

EMBEDDED = ("nano", "nano-biased")

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
    named = dict.fromkeys((*presets.RECIPES, settings.method))  # the default may be put together from parts
    methods = [name for name in named if _plans(presets.get(name).method)]
    if settings.method not in methods:
        raise SettingError(f"method {settings.method!r} needs more than one image; serve one of {', '.join(methods)}")
    scorers = {name: _scorers(backend, methods, settings) for name, backend in backends.items()}
    for each in scorers.values():
        each[settings.method].score(_grey())
    return Served(scorers=scorers, method=settings.method)


def specs_by_name(specs: Sequence[str]) -> dict[str, str]:
    """Return what `load_backend` takes, by the names under which it is served: <name>=<backend>, or a backend alone.

    A model without a name is called by the last part of its backend: answers tell neither folders nor servers.

    Raises:
        SettingError: There is none, or two have one name.
    """
    pairs = [_name_and_spec(spec) for spec in specs]
    found = dict(pairs)
    if not found or len(found) != len(pairs):
        raise SettingError(
            f"the server needs models of different names, got {', '.join(name for name, _ in pairs) or 'none'}; "
            f"name them with --model NAME=MODEL"
        )
    return found


def loader(specs: Mapping[str, str], options: Options) -> Callable[[], dict[str, Backend]]:
    """Return what loads the models of `specs_by_name`, as the options say, into a process of the service's own."""

    def load() -> dict[str, Backend]:
        models = {name: options.backend(spec) for name, spec in specs.items()}
        gc.collect()
        gc.freeze()  # else each full collection goes through all modules, and nothing else runs for a tenth of a second
        return models

    return load


def _name_and_spec(spec: str) -> tuple[str, str]:
    name, equals, rest = spec.partition("=")
    if equals and _SOUND_NAME.fullmatch(name):
        return name, rest
    last = PurePath(split_arguments(spec)[0].rpartition("#")[2]).name
    return last.rpartition(":")[2] or last, spec


def _scorer(backend: Backend, method: str, settings: Settings) -> Scorer:
    """Return a scorer; the embedded model, which gains nothing by larger batches, is shown one image at a time.

    So its scores have the same bits whatever images are sent beside one.
    """
    batch = 1 if backend.fingerprint.identity.get("model") in EMBEDDED else settings.batch
    return Scorer(backend=backend, method=method, seed=settings.seed, batch=batch, max_pixels=settings.pixels)


def _scorers(backend: Backend, methods: Sequence[str], settings: Settings) -> dict[str, Scorer]:
    """Return the scorers of a model, without the methods that read more than it tells."""
    found = {}
    for method in methods:
        try:
            found[method] = _scorer(backend, method, settings)
        except BackendError:
            if method == settings.method:
                raise
    return found


def _plans(method: Method) -> bool:
    try:
        method.plan(_grey(), Context())
    except (SettingError, MissingPackageError):
        return False
    return True


def _grey() -> RgbImage:
    return np.full((2 * MIN_SIDE, 2 * MIN_SIDE, 3), 128, dtype=np.uint8)
