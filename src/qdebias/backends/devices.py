"""Where a model runs and in which numeric type."""

import platform

import PIL
import tokenizers
import torch
import transformers

from qdebias.errors import SettingError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_of(name: str | None) -> torch.device:
    """Return the device of that name; None is the best there is.

    Raises:
        SettingError: It is not here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(f"device {name!r} is unknown; use 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices here; use 'cpu'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingError("device 'mps' is not available here; use 'cpu'")
    return device


def dtype_of(name: str | None, device: torch.device) -> torch.dtype:
    """Return the numeric type of that name; None fits the device.

    Raises:
        SettingError: There is none of that name.
    """
    if name is None:
        if device.type == "cpu":
            return torch.float32
        supported = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if supported else torch.float16
    if name not in DTYPES:
        raise SettingError(f"dtype {name!r} is unknown; use one of {', '.join(DTYPES)}")
    return DTYPES[name]


def environment_of(device: torch.device) -> dict[str, str]:
    """Return what runs the model, for the fingerprint."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "pillow": PIL.__version__,
    }
