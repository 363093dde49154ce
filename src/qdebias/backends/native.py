"""Models whose architecture is ours: transformers' Auto classes load them like its own.

A further one is a file that models, a file that processes, and a line here and in `families.py`.
"""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

import qdebias.backends.nano
from qdebias.backends.mplug_owl2.configuration import MplugOwl2Config
from qdebias.backends.mplug_owl2.modeling import MplugOwl2ForConditionalGeneration
from qdebias.backends.mplug_owl2.processing import MplugOwl2Processor
from qdebias.backends.mplug_owl3.configuration import MplugOwl3Config
from qdebias.backends.mplug_owl3.modeling import MplugOwl3ForConditionalGeneration
from qdebias.backends.mplug_owl3.processing import MplugOwl3Processor
from qdebias.backends.qwen_vl.modeling import QwenVLConfig, QwenVLForConditionalGeneration
from qdebias.backends.qwen_vl.processing import QwenVLProcessor

_NATIVE = (
    (MplugOwl2Config, MplugOwl2ForConditionalGeneration, MplugOwl2Processor),
    (MplugOwl3Config, MplugOwl3ForConditionalGeneration, MplugOwl3Processor),
    (QwenVLConfig, QwenVLForConditionalGeneration, QwenVLProcessor),
)


def register() -> None:
    """Tell transformers about the models; may be called more than once."""
    qdebias.backends.nano.register()
    for config, model, processor in _NATIVE:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModelForImageTextToText.register(config, model, exist_ok=True)
        AutoProcessor.register(config, processor, exist_ok=True)
