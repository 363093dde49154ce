"""What the processors of the models whose architecture is ours have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from transformers import BatchFeature, ProcessorMixin


class NativeProcessor(ProcessorMixin, ABC):
    """A processor whose tokenizer is none of transformers' own; a subclass says how a prompt becomes ids.

    Attributes:
        identity: What of it decides the logits, for the fingerprint.
    """

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None) -> None:  # noqa: ANN401
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.identity: dict[str, str] = {}

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> type:  # noqa: ARG002
        """Accept a tokenizer that is not one of transformers' own."""
        return type(argument)

    @abstractmethod
    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt, with the model's image token for each token of an image."""

    def __call__(
        self,
        images: Any = None,  # noqa: ANN401
        text: Sequence[str] = (),
        *,
        return_tensors: str | None = None,
        **_: object,
    ) -> BatchFeature:
        """Return `input_ids` and `attention_mask` (1, L) of one text, and `pixel_values` of its images."""
        ids = self.ids_of(text[0])
        data: dict[str, Any] = {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}
        shown = dict(self.image_processor(images, return_tensors="np")) if images else {}
        return BatchFeature(data | shown, tensor_type=return_tensors)
