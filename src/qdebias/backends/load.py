"""From the name of a backend to the backend: the one place where a string becomes a model."""

import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from qdebias.backends.base import Backend
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.fake import FakeBackend
from qdebias.errors import MissingPackageError, SettingError

Maker: TypeAlias = Callable[..., Backend]
"""Makes a backend; its arguments are the options that it takes."""

OLDEST_TRANSFORMERS = (5, 18)


def load_backend(
    spec: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    **options: Any,  # noqa: ANN401  whatever the named backend takes
) -> Backend:
    """Return the backend of a name.

    Args:
        spec: "nano" or another known model, "hf:<hub id or folder>", a folder, "fake", or "package.module:factory".
        device: Where a model runs, such as "cpu" or "cuda"; None is the best there is.
        dtype: Its numeric type: "float32", "bfloat16" or "float16"; None fits the device.
        revision: Branch, tag or commit of a hub id.
        options: What else this backend takes: `max_pixels`, `allow_pickle`...

    Raises:
        SettingError: There is no such backend, or it has no such option; the message lists what there is.
        BackendError: The model cannot be loaded.
        MissingPackageError: The backend needs a package that is not installed.
    """
    make = _find(spec)
    chosen = {"device": device, "dtype": dtype, "revision": revision}
    return _call(spec, make, {name: value for name, value in chosen.items() if value is not None} | options)


def backend_names() -> tuple[str, ...]:
    """Return every form that `load_backend` takes, for messages and help."""
    return (*_NAMED, *_hub_ids(), "hf:<hub id or folder>", "<folder>", "<package.module>:<factory>")


def _find(spec: str) -> Maker:
    kind, _, rest = spec.partition(":")
    if spec in _NAMED:
        return _NAMED[spec]()
    if spec in _hub_ids():
        return _hf(_hub_ids()[spec])
    if rest and kind in _PREFIXED:
        return _PREFIXED[kind](rest)
    if spec and Path(spec).expanduser().is_dir():
        return _hf(spec)
    if rest and all(part.isidentifier() for part in kind.split(".")):
        return _factory(kind, rest)
    raise SettingError(f"no backend {spec!r}; there are: {', '.join(backend_names())}")


def _hf(source: str) -> Maker:
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f'{" and ".join(missing)} not installed: pip install "qdebias[torch]"')
    version = importlib.metadata.version("transformers")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TRANSFORMERS:
        raise MissingPackageError(f'transformers {version} is too old: pip install --upgrade "qdebias[torch]"')
    from qdebias.backends.processors import check_torchvision

    check_torchvision()
    from qdebias.backends.hf_loading import load_hf

    return partial(load_hf, source)


def _nano() -> Maker:
    return partial(_hf(str(Path(__file__).parent / "nano" / "checkpoint")), name="nano")


def _fake() -> Maker:
    return FakeBackend


def _factory(module: str, name: str) -> Maker:
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"backend {module}:{name} cannot be imported: {error}") from error
    if not callable(found):
        raise SettingError(f"backend {module}:{name} is {found!r}; it has to be a function that returns a backend")
    return cast(Maker, found)


def _call(spec: str, make: Maker, options: Mapping[str, Any]) -> Backend:
    signature = inspect.signature(make)
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise SettingError(f"backend {spec!r}: {error}; its options are: {known}") from error
    backend = make(**options)
    if not hasattr(backend, "option_logits") or not hasattr(backend, "fingerprint"):
        raise SettingError(f"backend {spec!r} gave {backend!r}, which has no option_logits and fingerprint")
    return backend


def _hub_ids() -> dict[str, str]:
    return {model.name: model.hub_id for model in KNOWN_MODELS if model.hub_id}


_NAMED: Mapping[str, Callable[[], Maker]] = {
    "nano": _nano,
    "fake": _fake,
}
"""Backends that are called by their name alone."""

_PREFIXED: Mapping[str, Callable[[str], Maker]] = {
    "hf": _hf,
}
"""Backends that are told behind a colon which model is meant."""
