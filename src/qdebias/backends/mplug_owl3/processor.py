"""From a request to what the model is run on: ids, where the markers stand, and which crops they show."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from qdebias.backends.mplug_owl3.conversation import Turn, pieces
from qdebias.backends.mplug_owl3.cutting import Crops, CutMode
from qdebias.backends.mplug_owl3.release import MARKER, Grid, Release
from qdebias.backends.mplug_owl3.vocabulary import SPECIAL, Vocabulary
from qdebias.errors import PromptError
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Question, refuse_special_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One sequence of tokens.

    Attributes:
        text: All of it as text, as the tokens spell it.
        ids: (L,) token ids.
        starts: For each marker in order, the index in `ids` of its first token.
    """

    text: str
    ids: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """Cuts images and writes prompts.

    Attributes:
        vocabulary: The checkpoint's.
        release: Its generation: decides the text around the tiles.
        side: Pixels a side of a crop.
        cut: Whether and how images are cut.
        longest: Most tokens that the model can read.
    """

    vocabulary: Vocabulary
    release: Release
    side: int
    cut: CutMode
    longest: int = 32768

    def crops(self, image: RgbImage) -> Crops:
        """Return the crops of one image."""
        return self.cut.crops(image, self.side)

    def prompt(self, turns: Sequence[Turn], grids: Sequence[Grid | None], prefix: str = "") -> Prompt:
        """Return the sequence of a conversation, and `prefix` behind it, tokenised on its own.

        The official processor cannot be given a prefix: it drops the text of a last reply, see `conversation.pieces`.

        Args:
            turns: The conversation.
            grids: For each image, how it was cut; None where it was not.
            prefix: How the reply begins.

        Raises:
            PromptError: The tokens do not spell the text, or are too many.
        """
        texts = [*pieces(turns, self.cut.announced(grids), self.release), prefix]
        ids: list[int] = []
        starts: list[int] = []
        for text in texts:
            if text == MARKER:
                starts.append(len(ids))
            ids += self.vocabulary.encode(text)
        text = unicodedata.normalize("NFC", "".join(texts))
        if self.vocabulary.decode(ids) != text:
            raise PromptError(f"the vocabulary does not spell the prompt as asked: {self.vocabulary.decode(ids)!r}")
        if len(ids) > self.longest:
            raise PromptError(f"the prompt has {len(ids)} tokens, the model reads {self.longest}; ask less at once")
        return Prompt(text=text, ids=tuple(ids), starts=tuple(starts))

    def question_prompt(self, question: Question, grids: Sequence[Grid | None], placement: Placement) -> Prompt:
        """Return the sequence of one question about images that are cut like `grids`.

        Markers and text are divided by one space, as in the paper's script.

        Raises:
            SettingError: The question contains a special token.
            PromptError: The result is not as placed.
        """
        refuse_special_tokens(question, SPECIAL)
        markers = MARKER * len(grids)
        content = f"{markers} {question.text}" if placement == "before" else f"{question.text} {markers}"
        prompt = self.prompt([Turn("user", content), Turn("assistant", "")], grids, question.answer_prefix)
        self._verify(prompt, question, placement)
        return prompt

    def _verify(self, prompt: Prompt, question: Question, placement: Placement) -> None:
        """Check in the ids themselves that images and prefix are where they were asked to be."""
        first, last = prompt.starts[0], prompt.starts[-1]
        beside = prompt.ids[last:] if placement == "before" else prompt.ids[:first]
        if unicodedata.normalize("NFC", question.text) not in self.vocabulary.decode(beside):
            raise PromptError(f"the images do not stand {placement} the question {question.text!r}: {prompt.text!r}")
        opened = "<|im_start|>assistant\n" + unicodedata.normalize("NFC", question.answer_prefix)
        if not prompt.text.endswith(opened):
            raise PromptError(f"the prompt does not end with {opened!r}: {prompt.text!r}")
