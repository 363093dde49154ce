"""The embedded model; importing this package makes transformers' Auto classes know it."""

from pathlib import Path

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from qdebias.backends.nano.modeling import NanoConfig, NanoForConditionalGeneration, NanoVisionConfig, NanoVisionModel
from qdebias.backends.nano.processing import NanoImageProcessor, NanoProcessor

CHECKPOINT = Path(__file__).parent / "checkpoint"
BIASED = Path(__file__).parent / "checkpoint_biased"


def register() -> None:
    """Tell transformers' Auto classes about the model; may be called more than once."""
    AutoConfig.register(NanoVisionConfig.model_type, NanoVisionConfig, exist_ok=True)
    AutoConfig.register(NanoConfig.model_type, NanoConfig, exist_ok=True)
    AutoModel.register(NanoVisionConfig, NanoVisionModel, exist_ok=True)
    AutoModelForImageTextToText.register(NanoConfig, NanoForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(NanoConfig, image_processor_classes={"pil": NanoImageProcessor}, exist_ok=True)
    AutoProcessor.register(NanoConfig, NanoProcessor, exist_ok=True)


register()

__all__ = [
    "BIASED",
    "CHECKPOINT",
    "NanoConfig",
    "NanoForConditionalGeneration",
    "NanoImageProcessor",
    "NanoProcessor",
    "NanoVisionConfig",
    "NanoVisionModel",
    "register",
]
