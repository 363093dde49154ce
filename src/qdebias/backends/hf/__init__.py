"""Any image-and-text model of transformers as a backend. Here: names for what no type checker can follow."""

from typing import Any, TypeAlias

Model: TypeAlias = Any
"""A `PreTrainedModel` with an image-text-to-text head."""

Config: TypeAlias = Any
"""A `PreTrainedConfig`."""

Processor: TypeAlias = Any
"""A `ProcessorMixin`: tokenizer, image processor and chat template."""
