"""Any image-and-text model of transformers as a backend.

Here are names for what transformers builds while it runs and no type checker can follow.
"""

from typing import Any, TypeAlias

Model: TypeAlias = Any
"""A `PreTrainedModel` with an image-text-to-text head."""

Config: TypeAlias = Any
"""A `PreTrainedConfig`."""

Processor: TypeAlias = Any
"""A `ProcessorMixin`: tokenizer, image processor and chat template."""

TensorOrOther: TypeAlias = Any
"""One of a model's inputs: mostly a tensor."""

ProcessorClass: TypeAlias = Any
"""A subclass of `ProcessorMixin`."""

Part: TypeAlias = Any
"""A part of a processor: a tokenizer, an image processor, or what stands instead of one that is not needed."""
