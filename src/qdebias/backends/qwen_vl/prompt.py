"""From a question to the ids that the model is run on, and the proof that they say what was asked."""

import unicodedata
from dataclasses import dataclass

from qdebias.backends.qwen_vl.config import SLOTS
from qdebias.backends.qwen_vl.forms import Form
from qdebias.backends.qwen_vl.vocabulary import IMAGE, IMAGE_END, SLOT, Vocabulary
from qdebias.errors import PromptError
from qdebias.prompts import Placement, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One sequence of tokens.

    Attributes:
        ids: (L,) token ids, 256 <imgpad> for each image.
        images_end: Index in `ids` behind the last image.
        lead: White space between the prompt and its answer, see `option_tokens`.
    """

    ids: tuple[int, ...]
    images_end: int
    lead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWriter:
    """Writes prompts.

    Attributes:
        vocabulary: The checkpoint's.
        form: Base or Chat.
        longest: Most tokens that the model can read.
    """

    vocabulary: Vocabulary
    form: Form
    longest: int

    def write(self, question: Question, count: int, placement: Placement) -> Prompt:
        """Return the prompt of a question about `count` images.

        Raises:
            PromptError: The question holds an image token or what is no text, the ids do not show it as placed, or
                they are too many.
        """
        for tag in (IMAGE, IMAGE_END, SLOT):
            if tag in question.text + question.answer_prefix:
                raise PromptError(f"the question {question.text!r} holds {tag}, which stands for an image; drop it")
        written = self.form.write(question, count, placement)
        try:
            ids = [token for piece in written.pieces for token in self.vocabulary.encode(piece.text, piece.special)]
        except UnicodeEncodeError as error:
            raise PromptError(f"the question {question.text!r} is no Unicode text ({error}); correct it") from error
        if len(ids) > self.longest:
            raise PromptError(f"the prompt has {len(ids)} tokens, the model reads {self.longest}; ask less at once")
        images_end = self._verified(ids, question, count, placement, written.end)
        return Prompt(ids=tuple(ids), images_end=images_end, lead=written.lead)

    def _verified(self, ids: list[int], question: Question, count: int, placement: Placement, end: str) -> int:
        """Check in the ids that images, question and prefix are where they were asked to be; return the images' end."""
        image = [self.vocabulary.id_of(tag) for tag in (IMAGE, *[SLOT] * SLOTS, IMAGE_END)]
        starts = [place for place, token in enumerate(ids) if token == image[0]]
        whole = sum(ids[start : start + len(image)] == image for start in starts)
        if (len(starts), whole) != (count, count):
            raise PromptError(f"the prompt shows {whole} whole images instead of {count}; obtain the vocabulary again")
        images_end = starts[-1] + len(image)
        beside = ids[images_end:] if placement == "before" else ids[: starts[0]]
        if unicodedata.normalize("NFC", question.text) not in self.vocabulary.decode(beside):
            raise PromptError(f"the images do not stand {placement} the question {question.text!r} as it was asked")
        tail = self.vocabulary.decode(ids[images_end:])
        if not tail.endswith(unicodedata.normalize("NFC", end)):
            raise PromptError(f"the prompt ends in {tail[-len(end) :]!r} instead of {end!r}; choose another prefix")
        return images_end
