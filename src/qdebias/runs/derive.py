"""From stored answers to scores, without an image and without a model."""

from collections.abc import Mapping
from dataclasses import dataclass

from qdebias.errors import SettingError, StoreError
from qdebias.methods.method import Answers, Method, Plan, Score
from qdebias.methods.outline import Outline, outline
from qdebias.runs.index import Index
from qdebias.runs.manifest import Manifest, MethodEntry
from qdebias.runs.outcome import FileState, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What is known of an image without decoding it.

    Attributes:
        image: Digest of the image.
        conditions: Digest of each conditional image by its name, under one seed.
        similarity: What a method measured on the pixels, see `Plan.similarity`.
    """

    image: str
    conditions: Mapping[str, str]
    similarity: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """Makes the scores of one method from the answers of a run; `derivation` makes one.

    Attributes:
        index: The index of the run.
        identity: Digest of the identity of its model.
        method: The method.
        outline: What it asks.
    """

    index: Index
    identity: str
    method: Method
    outline: Outline

    def score(self, pixels: Pixels) -> Score | None:
        """Return the score of an image, None where an answer is not stored."""
        answers = self.answers(pixels)
        plan = Plan(requests=(), similarity=pixels.similarity)
        return None if answers is None else self.method.combine(plan, answers)

    def answers(self, pixels: Pixels) -> Answers | None:
        """Return the answers to the method's requests, None where one is not stored."""
        keys = self.outline.keys(self.identity, pixels.image, pixels.conditions)
        if keys is None:
            return None
        answers = []
        for row in keys:
            logits = [self.index.logits(key) for key in row]
            found = [one for one in logits if one is not None]
            if len(found) < len(row):
                return None
            answers.append(found)
        return answers

    def score_of(self, outcome: Outcome) -> Score:
        """Return the score of an image that was done under this very method.

        Raises:
            StoreError: An answer is missing.
        """
        made = dict(zip(self.outline.conditions, outcome.conditions, strict=True))
        score = self.score(Pixels(image=outcome.image or "", conditions=made, similarity=outcome.similarity))
        if score is None:
            raise StoreError(
                f"{outcome.path}: answers about it are gone although it is recorded as done; the run folder was "
                f"changed by hand, so begin a new one"
            )
        return score


def derivation(index: Index, identity: str, method: Method) -> Derivation:
    """Return what makes the scores of a method.

    Raises:
        SettingError: The method has no outline, so its answers can only be found with the images at hand.
    """
    outlined = outline(method)
    if outlined is None:
        raise SettingError(
            f"the scores of {type(method).__name__} cannot be made from stored answers alone; "
            f"score the images again into the same run, which asks nothing twice"
        )
    return Derivation(index=index, identity=identity, method=method, outline=outlined)


def known_pixels(
    index: Index, manifest: Manifest, path: str, *, seed: int, state: FileState | None = None
) -> Pixels | None:
    """Return what any method of the run noted of an image, None where nothing was.

    Args:
        index: The index of the run.
        manifest: What its run.json says.
        path: The image.
        seed: Seed of the conditional images.
        state: Only what was noted of the file in this state counts; None takes any.
    """
    image = None
    conditions: dict[str, str] = {}
    for outcome in index.outcomes_of(path):
        if outcome.image is None or state not in (None, outcome.state):
            continue
        image = outcome.image
        entry: MethodEntry = manifest.methods[outcome.method]
        if entry.seed == seed:
            conditions |= dict(zip(entry.conditions, outcome.conditions, strict=True))
    return None if image is None else Pixels(image=image, conditions=conditions)
