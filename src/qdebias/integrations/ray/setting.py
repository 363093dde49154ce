"""How the images of a run are scored, in words that can be sent to other machines and written down."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qdebias.backends.load import load_backend, split_arguments
from qdebias.image import MAX_PIXELS
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.method_file import SUFFIX
from qdebias.runs.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What makes a scorer.

    Attributes:
        model: What `qdebias.load_backend` takes.
        method: What `qdebias.methods.presets.get` takes.
        seed: Seed of the random degradations.
        batch: How many images go to the model at a time.
        device: Where the model runs; None is the best there is.
        dtype: Its numeric type; None fits the device.
        max_pixels: Larger images are refused.
        max_side: Larger images are made smaller; None leaves them as they are.
    """

    model: str = "nano"
    method: str = "paper"
    seed: int = 0
    batch: int = 8
    device: str | None = None
    dtype: str | None = None
    max_pixels: int = MAX_PIXELS
    max_side: int | None = None

    def absolute(self) -> "Setting":
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

    def scorer(self) -> Scorer:
        """Load the model.

        Raises:
            SettingError: There is no such model or method.
            BackendError: The model cannot be loaded.
        """
        backend = load_backend(self.model, device=self.device, dtype=self.dtype)
        return Scorer(
            backend=backend,
            method=self.method,
            seed=self.seed,
            batch=self.batch,
            max_pixels=self.max_pixels,
            max_side=self.max_side,
        )

    def decisive(self) -> Mapping[str, str]:
        """Return what of it decides the scores, with the method's own settings as a hash.

        Raises:
            SettingError: There is no such method, or it cannot be told from others.
        """
        settings = json.dumps(describe(presets.get(self.method).method), sort_keys=True)
        return {
            "model": self.model,
            "method": self.method,
            "settings of the method": hashlib.blake2b(settings.encode(), digest_size=8).hexdigest(),
            "seed": str(self.seed),
            "dtype": str(self.dtype),
            "max_pixels": str(self.max_pixels),
            "max_side": str(self.max_side),
        }
