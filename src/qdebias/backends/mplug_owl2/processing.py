"""Images and prompts of mPLUG-Owl2, as transformers' processors have them."""

from collections.abc import Mapping
from typing import Any, Self

from PIL import Image
from transformers import BatchFeature
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from qdebias.backends.folder import Checkpoint
from qdebias.backends.mplug_owl2.configuration import IMAGE_TOKEN, MplugOwl2Config
from qdebias.backends.mplug_owl2.vocabulary import MARKER, read_vocabulary
from qdebias.backends.native_processor import NativeProcessor
from qdebias.backends.processors import image_settings
from qdebias.backends.sharing_images import flat
from qdebias.errors import BackendError, SettingError

IMAGE_FILE = "preprocessor_config.json"

_TEMPLATE = """
{{- 'USER: ' -}}
{%- for part in messages[0].content -%}
  {%- if part.type == 'text' -%}
    {{- part.text + ('' if loop.last else '\\n') -}}
  {%- else -%}
    {{- IMAGE -}}
  {%- endif -%}
{%- endfor -%}
{{- (BREAK if messages[0].content[-1].type == 'image' else ' ') + 'ASSISTANT:' -}}
{%- for message in messages[1:] -%}
  {{- ' ' + message.content[0].text -}}
{%- endfor -%}
"""

_NAMED = """
    {%- set first = loop.index0 - (1 if messages[0].content[0].type == 'text' else 0) -%}
    {%- if messages[0].content | length == 2 -%}
      {{- 'The image: <|image|>' + ('' if loop.last else ' ') -}}
    {%- else -%}
      {{- ('\\n' if first else '') + 'The ' + ['first', 'second', 'third', 'fourth'][first] + ' image: <|image|>' -}}
    {%- endif -%}
"""

FORMS: Mapping[str, str] = {
    "score": _TEMPLATE.replace("IMAGE", "'<|image|>'").replace("BREAK", "'\\n'"),
    "conversation": _TEMPLATE.replace("IMAGE", "'<|image|>'").replace("BREAK", "' '"),
    "named": _TEMPLATE.replace("{{- IMAGE -}}", _NAMED).replace("BREAK", "' '"),
}
"""Chat templates of one question.

"score": after an image that follows the question a line ends, as the scorers of Q-Align and DeQA-Score write it.
"conversation": a space stands there, as their evaluation scripts write it. "named": "The first image:" stands before an
image, as Co-Instruct was trained. Images that come first are written without anything between by the first two.
"""


class MplugOwl2ImageProcessor(CLIPImageProcessorPil):
    """CLIP's, which is shown a square.

    Attributes:
        aspect: How an image becomes square, see `MplugOwl2Config.image_aspect_ratio`.
    """

    aspect: str | None = None

    def preprocess(self, images: Any, *others: object, **options: Any) -> BatchFeature:  # noqa: ANN401
        """Return `pixel_values`, (n, 3, side, side) float32 with about zero mean and unit deviation."""
        return super().preprocess([self._square(image) for image in flat(images)], *others, **options)

    def _square(self, image: Image.Image) -> Image.Image:
        side = max(image.size)
        if self.aspect == "resize":
            return image.resize((side, side))
        if self.aspect is None or image.width == image.height:
            return image
        square = Image.new("RGB", (side, side), tuple(int(mean * 255) for mean in self.image_mean))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square


class MplugOwl2Processor(NativeProcessor):
    """Vocabulary, images and prompts of a checkpoint.

    Attributes:
        image_tokens: How many tokens an image has, that which ends it among them.
    """

    image_token = MARKER
    image_tokens = 0

    @classmethod
    def from_folder(cls, checkpoint: Checkpoint, config: MplugOwl2Config, *, form: str | None = None) -> Self:
        """Return the processor of a checkpoint.

        Args:
            checkpoint: A folder with a vocabulary and preprocessor_config.json.
            config: The model's.
            form: How questions are written, see `FORMS`; None is "score".

        Raises:
            BackendError: A file is missing or damaged, or does not fit the model.
            SettingError: There is no such form.
        """
        form = "score" if form is None else form
        if form not in FORMS:
            raise SettingError(f"form {form!r} is unknown; use one of {', '.join(FORMS)}")
        images, tokenizer = _image_processor(checkpoint, config), read_vocabulary(checkpoint.folder)
        if len(tokenizer) > config.vocab_size:
            raise BackendError(
                f"{checkpoint.folder}: the vocabulary has {len(tokenizer)} tokens, but config.json says "
                f"{config.vocab_size}; download the files of one version"
            )
        processor = cls(images, tokenizer, FORMS[form])
        processor.image_tokens = config.image_tokens
        processor.identity = {"backend": "mplug-owl2", "form": form, "images": image_settings(processor)}
        return processor

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt, `IMAGE_TOKEN` for each token of an image."""
        counted = ((token, self.image_tokens if token == IMAGE_TOKEN else 1) for token in self.tokenizer.prompt(text))
        return [token for token, count in counted for _ in range(count)]


def _image_processor(checkpoint: Checkpoint, config: MplugOwl2Config) -> MplugOwl2ImageProcessor:
    side, settings = config.vision["image_size"], checkpoint.read_json(IMAGE_FILE)
    if config.image_aspect_ratio not in ("pad", "resize", None):
        raise BackendError(
            f"{checkpoint.folder}: image_aspect_ratio is {config.image_aspect_ratio!r}; known are 'pad' and 'resize'"
        )
    if settings.get("size", settings.get("crop_size")) not in (side, {"shortest_edge": side}):
        raise BackendError(
            f"{checkpoint.folder}: {IMAGE_FILE} is missing, or not of images of {side} pixels, which the model reads; "
            f"download it again"
        )
    processor: MplugOwl2ImageProcessor = MplugOwl2ImageProcessor.from_dict(settings)
    processor.aspect = config.image_aspect_ratio
    return processor
