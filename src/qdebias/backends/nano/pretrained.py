"""The embedded model as transformers holds it, for training and as a check; importing this registers its classes."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
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

from qdebias.backends.nano.modeling import IdentityEncoder, QualityEncoder, TellsImageFeatures, VisionEncoder
from qdebias.backends.nano.statistics import UInt8Array, rgb_array, views

Picture: TypeAlias = Image.Image | UInt8Array
Images: TypeAlias = Picture | Sequence[Picture] | Sequence[Sequence[Picture]]

IMAGE_TOKEN = "<image>"  # noqa: S105


class NanoVisionConfig(PreTrainedConfig):
    """Vision encoder: fixed image statistics, a fixed linear rating of them, and a learned thumbnail.

    Attributes:
        hidden_size: Width of an image token.
        steps: Smooth steps by which the token of quality tells how high the rating is.
        damages: Kinds of damage that are measured beside quality.
        identity_size: Length of the unit vector that names the scene.
        statistics_size: Number of fixed statistics per image.
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
    """`VisionEncoder` under the names that transformers gives its outputs."""

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
        tokens = VisionEncoder.forward(self, pixel_values).to(self.dtype)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


class NanoForConditionalGeneration(TellsImageFeatures, LlavaForConditionalGeneration):
    """LLaVA with `NanoVisionModel` as its vision tower; the forward pass is transformers' own."""

    config: NanoConfig
    config_class = NanoConfig


class NanoImageProcessor(BaseImageProcessor):
    """Cuts every image into the same number of equal views; nothing else is done to its pixels."""

    model_input_names = ["pixel_values"]  # noqa: RUF012  transformers reads a list

    def preprocess(self, images: Images, return_tensors: str | None = None, **_: object) -> BatchFeature:
        """Return views of each image, in [0, 1].

        Args:
            images: One image or (nested lists of) images: PIL or (H, W, 3) uint8.
            return_tensors: "pt" for torch tensors.

        Returns:
            `pixel_values`: (images, views, 3, 128, 128) float32.
        """
        cuts = np.stack([views(rgb_array(image)) for image in _flat(images)])
        return BatchFeature({"pixel_values": cuts.astype(np.float32) / 255}, tensor_type=return_tensors)

    def fetch_images(self, image_url_or_urls: Images) -> Images:
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
        self.image_token = IMAGE_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def __call__(
        self,
        images: Images | None = None,
        text: str | Sequence[str] | None = None,
        videos: None = None,  # noqa: ARG002  transformers passes it
        audio: None = None,  # noqa: ARG002
        *,
        padding: bool | str = False,
        padding_side: str | None = None,
        add_special_tokens: bool = True,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Tokenize text with its images.

        Args:
            images: Images in the order of their placeholders in `text`, nested by sample or flat.
            text: One text or several; each `<image>` stands for one image.
            videos: Not supported.
            audio: Not supported.
            padding: Pad several texts to one length.
            padding_side: "left" or "right"; None is the tokenizer's own.
            add_special_tokens: Kept for transformers; the tokenizer adds none.
            return_tensors: "pt" for torch tensors.

        Returns:
            `input_ids` and `attention_mask` (texts, length), `pixel_values` (images, views, 3, 128, 128).

        Raises:
            ValueError: No text, or placeholders and images differ in number.
        """
        if text is None:
            raise ValueError("the embedded model needs text with the images")
        texts = [text] if isinstance(text, str) else list(text)
        pictures = [] if images is None else _flat(images)
        placeholders = sum(sample.count(self.image_token) for sample in texts)
        if placeholders != len(pictures):
            raise ValueError(f"the text has {placeholders} image placeholders, but {len(pictures)} images came")
        spread = [sample.replace(self.image_token, self.image_token * self.image_seq_length) for sample in texts]
        tokens = self.tokenizer(
            spread, padding=padding, padding_side=padding_side, add_special_tokens=add_special_tokens
        )
        data = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        if pictures:
            data["pixel_values"] = self.image_processor(pictures)["pixel_values"]
        return BatchFeature(data, tensor_type=return_tensors)


def _flat(images: Images) -> list[Picture]:
    if isinstance(images, Image.Image | np.ndarray):
        return [images]
    return [picture for part in images for picture in _flat(part)]


AutoConfig.register(NanoVisionConfig.model_type, NanoVisionConfig, exist_ok=True)
AutoConfig.register(NanoConfig.model_type, NanoConfig, exist_ok=True)
AutoModel.register(NanoVisionConfig, NanoVisionModel, exist_ok=True)
AutoModelForImageTextToText.register(NanoConfig, NanoForConditionalGeneration, exist_ok=True)
AutoImageProcessor.register(NanoConfig, image_processor_classes={"pil": NanoImageProcessor}, exist_ok=True)
AutoProcessor.register(NanoConfig, NanoProcessor, exist_ok=True)
