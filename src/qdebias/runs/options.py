"""What decides how images are scored: one object for the command line, Python, the service and a cluster."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qdebias.backends.base import Backend
from qdebias.backends.load import load_backend, split_arguments
from qdebias.image import MAX_PIXELS
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.expression import SUFFIX
from qdebias.methods.recipe import Recipe
from qdebias.runs.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a model is loaded and asked; see `load_backend` and `Scorer`."""

    model: str = "nano"  # arguments of its chat template may stand behind it
    method: str = "paper"  # what presets.get takes; afterwards the name of the method as it is always written
    seed: int = 0
    batch: int = 8
    device: str | None = None  # None: the best there is
    dtype: str | None = None  # None: what fits the device
    max_pixels: int = MAX_PIXELS
    max_side: int | None = None
    model_args: Mapping[str, object] = field(default_factory=dict)  # texts become what the option takes
    recipe: Recipe = field(init=False, repr=False, compare=False)  # the method itself
    loading: Mapping[str, Any] = field(init=False, repr=False, compare=False)  # what load_backend takes beside the name

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", presets.get(self.method))
        object.__setattr__(self, "method", self.recipe.name)
        object.__setattr__(self, "loading", {"device": self.device, "dtype": self.dtype, **self.model_args})

    def backend(self, model: str | None = None) -> Backend:
        """Load the model, or another one in the same way; raises as `load_backend` does."""
        return load_backend(model or self.model, **self.loading)

    def scorer(self) -> Scorer:
        """Load the model, and return the scorer; raises as `load_backend` does."""
        return Scorer(
            backend=load_backend(self.model, **self.loading),
            method=self.recipe,
            seed=self.seed,
            batch=self.batch,
            max_pixels=self.max_pixels,
            max_side=self.max_side,
        )

    def absolute(self) -> "Options":
        """Return the same, with folders and files named so that they are found from every folder."""
        path, suffix, parts = self.method.rpartition(SUFFIX)
        method = f"{Path(path).absolute()}{suffix}{parts}" if suffix else self.method
        method = str(Path(method).absolute()) if method.endswith(presets.FIT) else method
        source, _ = split_arguments(self.model)
        kind, mark, rest = source.rpartition(":")
        folder = Path(rest).expanduser()
        model = self.model
        if rest and folder.is_dir():
            model = f"{kind}{mark}{folder.absolute()}{self.model.removeprefix(source)}"
        return replace(self, method=method, model=model)

    def decisive(self) -> Mapping[str, str]:
        """Return what of it decides the scores, with the method's own settings as a hash."""
        settings = json.dumps(describe(self.recipe.method), sort_keys=True)
        return {
            "model": self.model,
            "method": self.method,
            "settings of the method": hashlib.blake2b(settings.encode(), digest_size=8).hexdigest(),
            "seed": str(self.seed),
            "dtype": str(self.dtype),
            "max_pixels": str(self.max_pixels),
            "max_side": str(self.max_side),
            **{name: str(value) for name, value in self.model_args.items()},
        }
