"""Base classes of the models that this package implements itself: forward pass, processor, checks of config.json."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin
from transformers.modeling_outputs import CausalLMOutputWithPast


def check_entries(
    entries: Mapping[str, Any], *, required: Iterable[str] = (), supported: Mapping[str, Any], where: str = ""
) -> None:
    """Refuse entries of `config.json` that are missing, no numbers, or ask for what is not implemented.

    `supported` entries may be absent, and have one value only; `where` begins the message.
    """
    for name in required:
        if name not in entries:
            raise ValueError(f"{where}has no entry {name!r}")
        if not isinstance(entries[name], int | float):
            raise ValueError(f"{where}{name} is {entries[name]!r}, not a number")
    for name, value in supported.items():
        if entries.get(name, value) != value:
            raise ValueError(f"{where}{name} is {entries[name]!r}; only {value!r} is supported")


class NativeModel(PreTrainedModel):
    """A model of which a subclass makes the parts.

    Its base model encodes images (`get_image_features`), may count positions (`get_rope_index`), and maps ids, position
    ids, mask and image features to (R, L, hidden) under the last norm; `lm_head` maps that to logits.
    """

    _supports_sdpa = True

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        mm_encoder_outputs: Mapping[str, Any] | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **_: object,
    ) -> CausalLMOutputWithPast:
        """Run R rows of L tokens, with the model's image token for each token of an image.

        The mask is (R, 1, L, L), added to the scores of attention, or (R, L) of ones; positions (..., R, L) are counted
        where there are none; `mm_token_type_ids` (R, L) are 1 where the place of an image begins that is written in
        words. Images are pixels (images, 3, side, side), or under "image" what encoded them.
        """
        mask = attention_mask if attention_mask is not None and attention_mask.dim() == 4 else None
        if mask is None and attention_mask is not None and not attention_mask.all():
            raise ValueError("padded rows are not supported; run rows of one length together")
        images = None if mm_encoder_outputs is None else mm_encoder_outputs["image"].pooler_output
        if pixel_values is not None:
            images = self.base_model.get_image_features(pixel_values).pooler_output
        if position_ids is None and hasattr(self.base_model, "get_rope_index"):
            (position_ids,) = self.base_model.get_rope_index(input_ids)
        elif position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        places = {} if mm_token_type_ids is None else {"image_places": mm_token_type_ids == 1}
        hidden = self.hidden_states(input_ids, position_ids, mask, images, **places)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(logits=self.lm_head(hidden[:, kept]))

    def hidden_states(self, *inputs: torch.Tensor | None, **places: torch.Tensor) -> torch.Tensor:
        """Return (R, L, hidden) under the last norm."""
        hidden: torch.Tensor = self.base_model(*inputs, **places)
        return hidden


def put_images(hidden: torch.Tensor, slots: torch.Tensor, images: torch.Tensor | None) -> None:
    """Put (images, T, channels) features into the (R, L) slots of (R, L, channels) embedded prompts, in order."""
    wanted, present = int(slots.sum()), 0 if images is None else images[..., 0].numel()
    if wanted != present:
        raise ValueError(f"the prompts have {wanted} slots for images of {present} tokens together")
    if images is not None:
        hidden[slots] = images.flatten(0, -2).to(hidden.device, hidden.dtype)


class NativeProcessor(ProcessorMixin, ABC):
    """A processor with a tokenizer that is not transformers' own; subclasses map a prompt to ids."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None) -> None:  # noqa: ANN401
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.identity: dict[str, str] = {}  # what of it decides the logits, for the fingerprint

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
        pixels = dict(self.image_processor(images, return_tensors="np")) if images else {}
        return BatchFeature(data | pixels, tensor_type=return_tensors)
