"""Makes a backend from its name."""

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args
from urllib.parse import quote, unquote

from qdebias.backends.base import Backend
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.fake import FakeBackend
from qdebias.backends.prompt import Argument
from qdebias.errors import BackendError, MissingPackageError, SettingError, first_line
from qdebias.system.named import import_named, is_import, nearest
from qdebias.system.processes import refuse_after_fork

Maker: TypeAlias = Callable[..., Backend]  # its arguments are the options that a backend takes

OLDEST_TRANSFORMERS = (5, 20)
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # as copied from a page of the hub: "Qwen/Qwen2-VL-2B-Instruct"


def load_backend(
    spec: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    **options: Any,  # noqa: ANN401  those of the named backend
) -> Backend:
    """Return the backend of a name.

    Args:
        spec: "nano" or another known model, "hf:<hub id or folder>", a folder, "openai:<url>#<model>",
            "vllm:<hub id or folder>", "pyiqa:<metric>", "fake", or "package.module:factory". Arguments of the chat
            template may follow, see `with_arguments`.
        device: Where a model runs, such as "cpu" or "cuda"; None is the best available.
        dtype: Its numeric type: "float32", "bfloat16" or "float16"; None or "auto" fits the machine.
        revision: Branch, tag or commit of a hub id.
        options: Further options of this backend: `max_pixels`, `sharing`...

    Raises:
        SettingError: There is no such backend, or it has no such option; the message lists those that exist.
        BackendError: The model cannot be loaded.
        MissingPackageError: The backend needs a package that is not installed.
    """
    if not isinstance(spec, str):
        raise SettingError(f"{spec!r} is not the name of a model; give one such as 'nano' or 'hf:<hub id>'")
    source, arguments = split_arguments(spec) if "?" in spec else (spec, {})
    make = _NAMED[source]() if source in _NAMED else _find(source)
    if source != "fake":  # which has no threads
        refuse_after_fork()
    chosen = {"device": device, "dtype": dtype, "revision": revision}
    if arguments:
        options["template_args"] = arguments | dict(options.get("template_args") or {})
    options |= {name: value for name, value in chosen.items() if value is not None}
    signature = inspect.signature(make)
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise SettingError(f"backend {source!r}: {error}; its options are: {known}") from error
    backend = make(**{name: _converted(source, name, value, signature) for name, value in options.items()})
    if not hasattr(backend, "option_logits") or not hasattr(backend, "fingerprint"):
        raise SettingError(f"backend {source!r} gave {backend!r}, which has no option_logits and fingerprint")
    return backend


def _converted(spec: str, name: str, value: object, signature: inspect.Signature) -> object:
    """Return an option's value from the command line as a number or truth value, if the option takes these."""
    kind = signature.parameters[name].annotation if name in signature.parameters else str
    kinds = {*get_args(kind)} or {kind}
    if not isinstance(value, str) or str in kinds or not kinds & {bool, int, float}:
        return value
    found = _value(value)
    fits = type(found) in kinds or (float in kinds and type(found) is int)
    if not fits:
        wanted = " or ".join(sorted(one.__name__ for one in kinds & {bool, int, float}))
        raise SettingError(f"backend {spec!r}: {name} is {wanted}, got {value!r}")
    return found


def with_arguments(spec: str, pairs: Sequence[str]) -> str:
    """Return the name of a backend with KEY=VALUE pairs for its chat template: "hf:<hub id>?enable_thinking=true"."""
    for name, value in pairs_of(pairs, "--template-arg", such_as="enable_thinking=true"):
        spec += f"{'&' if split_arguments(spec)[1] else '?'}{name}={quote(value, safe=' /:,')}"
    return spec


def pairs_of(texts: Sequence[str], option: str, *, such_as: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each KEY=VALUE of an option."""
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SettingError(f"{option} is KEY=VALUE, such as {such_as}, got {text!r}")
        yield name, value


def split_arguments(spec: str) -> tuple[str, dict[str, Argument]]:
    """Split the arguments of the chat template off a backend's name; true, false and numbers become such values."""
    source, _, rest = spec.rpartition("?")
    pairs = [pair.partition("=") for pair in rest.split("&")]
    is_backend = not source.startswith("openai:") or "#" in source  # else they are part of the address
    if not source or not is_backend or not all(name.isidentifier() and equals for name, equals, _ in pairs):
        return spec, {}
    return source, {name: _value(unquote(text)) for name, _, text in pairs}


def _value(text: str) -> Argument:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def backend_names() -> tuple[str, ...]:
    """Return every form of a name that `load_backend` takes, for messages and help."""
    source = "<hub id or folder>"
    forms = (source, f"hf:{source}", "openai:<url>#<model>", f"vllm:{source}", "pyiqa:<metric>")
    return (*_NAMED, *_HUB_IDS, *forms, "<package.module>:<factory>")


def _find(spec: str) -> Maker:
    kind, _, rest = spec.partition(":")
    if spec in _HUB_IDS:
        return _checkpoint(_HUB_IDS[spec])
    if rest and kind in ("hf", "openai", "vllm", "pyiqa"):
        return _prefixed(kind, rest)
    if spec and Path(spec).expanduser().is_dir():
        return _checkpoint(spec)
    if is_import(spec):
        found = import_named(spec, what="backend")
        if not callable(found):
            raise SettingError(f"backend {spec} is {found!r}; it has to be a function that returns a backend")
        return cast(Maker, found)
    if _HUB_ID.fullmatch(spec):
        return _checkpoint(spec)
    near = nearest(spec, (*_NAMED, *_HUB_IDS))
    raise SettingError(f"no backend {spec!r}{near}; there are: {', '.join(backend_names())}")


def _prefixed(kind: str, model: str) -> Maker:
    if kind == "openai":
        require("anyio", "httpx2", "tenacity", extra="remote")
        from qdebias.backends.openai_http.backend import load_openai

        return partial(load_openai, model)
    if kind == "vllm":
        from qdebias.backends.vllm_offline import load_vllm

        return partial(load_vllm, model)
    if kind == "pyiqa":
        from qdebias.backends.baselines import load_pyiqa

        return partial(load_pyiqa, model)
    if kind == "baseline":
        from qdebias.backends.baselines import BASELINES

        return lambda: BASELINES[model]
    return _checkpoint(model)


def _checkpoint(source: str | Path, **settings: Any) -> Maker:  # noqa: ANN401
    """Return the loader of a checkpoint; refuse missing, old or broken packages before they are imported."""
    require("torch", "transformers", extra="torch")
    version = importlib.metadata.version("transformers")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TRANSFORMERS:
        raise MissingPackageError(f'transformers {version} is too old: pip install --upgrade "qdebias[torch]"')
    if "name" not in settings:  # the embedded models are read without transformers
        check_torchvision()
    from qdebias.backends.hf.loading import load_hf

    return partial(load_hf, source, **settings)


def require(*packages: str, extra: str) -> None:
    """Raise MissingPackageError, with the remedy, where a package of an extra is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f'{" and ".join(missing)} not installed: pip install "qdebias[{extra}]"')


def check_torchvision() -> None:
    """Refuse a torchvision that does not fit the installed torch: transformers cannot load a processor beside it."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise BackendError(
            f"torchvision is installed but broken ({first_line(error)}); it does not fit torch "
            f"{importlib.metadata.version('torch')}: remove it with `pip uninstall torchvision` (qdebias does not need "
            f"it), or install the version made for this torch"
        ) from error


_NANO = Path(__file__).parent / "nano"

_NAMED: Mapping[str, Callable[[], Maker]] = {
    "nano": partial(_checkpoint, _NANO / "checkpoint", name="nano"),
    "nano-biased": partial(_checkpoint, _NANO / "checkpoint_biased", name="nano-biased"),
    "fake": lambda: partial(FakeBackend, remember=False),
    "mplug-owl3": partial(_checkpoint, "mPLUG/mPLUG-Owl3-7B-240728", release="240728"),
    "mplug-owl3-241101": partial(_checkpoint, "mPLUG/mPLUG-Owl3-7B-241101", release="241101"),
    "sharpness": partial(_prefixed, "baseline", "sharpness"),
    "bytes": partial(_prefixed, "baseline", "bytes"),
}
"""Backends that are called by their name alone; what else `catalogue.py` names is a checkpoint of transformers."""

_HUB_IDS = {model.name: model.hub_id for model in KNOWN_MODELS if model.hub_id and model.name not in _NAMED}
