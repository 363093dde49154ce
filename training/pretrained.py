"""The embedded model as transformers holds it, for training and as a check; importing this registers its classes."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    BatchFeature,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from qdebias.backends.hf.images import flat
from qdebias.backends.nano.modeling import IdentityEncoder, QualityEncoder, image_tokens
from qdebias.backends.nano.statistics import pixels_of


class NanoVisionConfig(PreTrainedConfig):
    """Vision encoder: `statistics_size` fixed statistics, a fixed linear rating of them, and a learned thumbnail.

    `steps`: smooth steps by which the token of quality tells how high the rating is. `damages`: kinds of damage that
    are measured beside quality. `identity_size`: length of the unit vector that names the scene.
    """

    model_type = "qdebias_nano_vision"
    base_config_key = "vision_config"

    hidden_size: int = 128
    steps: int = 32
    damages: int = 6
    identity_size: int = 64
    statistics_size: int = 715
    num_hidden_layers: int = 1
    initializer_range: float = 0.02


class NanoConfig(LlavaConfig):
    """A LLaVA-like model (vision encoder, projector, Llama decoder) with the encoder above."""

    model_type = "qdebias_nano"


class NanoVisionModel(PreTrainedModel):
    """`image_tokens` under the names that transformers gives its outputs."""

    config: NanoVisionConfig
    config_class = NanoVisionConfig
    main_input_name = "pixel_values"

    def __init__(self, config: NanoVisionConfig) -> None:
        super().__init__(config)
        self.quality = QualityEncoder(config)
        self.identity = IdentityEncoder(config)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutputWithPooling:
        """Encode (images, views, 3, side, side) in [0, 1] to (images, 3, hidden_size)."""
        tokens = image_tokens(pixel_values, self.quality, self.identity).to(self.dtype)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


class NanoForConditionalGeneration(LlavaForConditionalGeneration):
    """LLaVA with `NanoVisionModel` as its vision tower; the forward pass is transformers' own."""

    config: NanoConfig
    config_class = NanoConfig


class NanoImageProcessor(BaseImageProcessor):
    """Cuts every image into the same number of equal views; nothing else is done to its pixels."""

    model_input_names = ["pixel_values"]  # noqa: RUF012  transformers reads a list

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: object) -> BatchFeature:  # noqa: ANN401
        """Return `pixel_values`, (images, views, 3, 128, 128) float32 in [0, 1], of (nested lists of) images."""
        return BatchFeature({"pixel_values": pixels_of(images)}, tensor_type=return_tensors)

    def fetch_images(self, image_url_or_urls: Any) -> Any:  # noqa: ANN401
        """Return images as they are: the embedded model takes pixels, not addresses."""
        return image_url_or_urls


class NanoProcessor(ProcessorMixin):
    """Tokenizer and image processor together; every image becomes `image_seq_length` placeholder tokens."""

    def __init__(
        self,
        image_processor: NanoImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        image_seq_length: int = 3,
        chat_template: str | None = None,
    ) -> None:
        self.image_seq_length = image_seq_length
        self.image_token = "<image>"  # noqa: S105
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def __call__(
        self,
        images: Any = None,  # noqa: ANN401
        text: str | Sequence[str] | None = None,
        *,
        return_tensors: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> BatchFeature:
        """Tokenize one text or several, in which each `<image>` stands for one of the images, nested by text or flat.

        Returns `input_ids` and `attention_mask` (texts, length), `pixel_values` (images, views, 3, 128, 128); `options`
        are the tokenizer's.
        """
        if text is None:
            raise ValueError("the embedded model needs text with the images")
        texts = [text] if isinstance(text, str) else list(text)
        pictures = [] if images is None else flat(images)
        placeholders = sum(sample.count(self.image_token) for sample in texts)
        if placeholders != len(pictures):
            raise ValueError(f"the text has {placeholders} image placeholders, but {len(pictures)} images came")
        spread = [sample.replace(self.image_token, self.image_token * self.image_seq_length) for sample in texts]
        tokens = self.tokenizer(
            spread, **{name: options[name] for name in ("padding", "padding_side") if name in options}
        )
        data = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        if pictures:
            data["pixel_values"] = pixels_of(pictures)
        return BatchFeature(data, tensor_type=return_tensors)


AutoConfig.register(NanoVisionConfig.model_type, NanoVisionConfig, exist_ok=True)
AutoConfig.register(NanoConfig.model_type, NanoConfig, exist_ok=True)
AutoModel.register(NanoVisionConfig, NanoVisionModel, exist_ok=True)
AutoModelForImageTextToText.register(NanoConfig, NanoForConditionalGeneration, exist_ok=True)
AutoImageProcessor.register(NanoConfig, image_processor_classes={"pil": NanoImageProcessor}, exist_ok=True)
AutoProcessor.register(NanoConfig, NanoProcessor, exist_ok=True)
