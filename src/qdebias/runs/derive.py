"""From stored answers to scores, without an image and without a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qdebias.errors import SettingError, StoreError
from qdebias.methods.describe import describe
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Answers, Failure, Method, Plan, Score
from qdebias.methods.recipe import Recipe
from qdebias.runs.lines import FileState, Outcome
from qdebias.runs.manifest import Manifest
from qdebias.runs.run import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What is known of an image without decoding it."""

    image: str  # its digest
    conditions: Mapping[str, str]  # digest of each conditional image by its name, under one seed
    similarity: tuple[float, ...] = ()  # see Plan.similarity


class Derivation:
    """Makes the scores of one method from the answers of a run; a SettingError where that needs the images."""

    def __init__(self, run: Snapshot, method: Method) -> None:
        outline = outline_of(method)
        if outline is None:
            raise SettingError(
                f"the scores of {type(method).__name__} need the images: give it an outline, see "
                f"qdebias.methods.outline, or score the images again into the same run, which asks nothing twice"
            )
        self.run, self.method, self.outline = run, method, outline

    def answers(self, pixels: Pixels) -> Answers | None:
        """Return the answers to the method's requests, None where one is not stored."""
        keys, answers = self.outline.keys(self.run.identity, pixels.image, pixels.conditions), []
        if keys is None:
            return None
        for row in keys:
            found = [logits for key in row if (logits := self.run.index.logits(key)) is not None]
            if len(found) < len(row):
                return None
            answers.append(found)
        return answers

    def score(self, pixels: Pixels) -> Score | None:
        """Return the score of an image, None where an answer is not stored."""
        answers = self.answers(pixels)
        plan = Plan(requests=(), similarity=pixels.similarity)
        return None if answers is None else self.method.combine(plan, answers)

    def result(self, outcome: Outcome, name: str | None = None) -> Score | Failure:
        """Return the result of an image under this very method; `name` replaces its path in a failure."""
        if outcome.error is not None:
            return Failure(name=name or outcome.path, error=outcome.error)
        conditions = dict(zip(self.outline.conditions, outcome.conditions, strict=True))
        score = self.score(Pixels(image=outcome.image or "", conditions=conditions, similarity=outcome.similarity))
        if score is None:
            raise StoreError(
                f"{outcome.path}: its answers are missing although it is recorded as done, so the run folder was "
                f"changed by hand; start a new one"
            )
        return score


def known_pixels(run: Snapshot, path: str, *, seed: int, state: FileState | None = None) -> Pixels | None:
    """Return the pixels that any method of the run noted for an image, if any, and for the file in this `state`."""
    image = None
    conditions: dict[str, str] = {}
    for outcome in run.index.outcomes_of(path):
        if outcome.image is None or state not in (None, outcome.state):
            continue
        image = outcome.image
        entry = run.manifest.methods[outcome.method]
        if entry.seed == seed:
            conditions |= dict(zip(entry.conditions, outcome.conditions, strict=True))
    return None if image is None else Pixels(image=image, conditions=conditions)


def recorded(snapshot: Snapshot, recipe: Recipe, *, seed: int = 0) -> Iterator[tuple[str, Score | Failure]]:
    """Yield path and score of each image of a run under a method, by path.

    The method need not have been used in the run, if others asked the same: `average` can be read from a run of
    `paper`. Images about which it would have to ask more are failures; a SettingError where that is all of them.
    """
    derived = Derivation(snapshot, recipe.method)
    known = known_method(snapshot.manifest, recipe.method, seed=seed)
    if known is not None:
        return ((outcome.path, derived.result(outcome)) for outcome in snapshot.index.outcomes_under(known))
    if not derived.outline.shared or not any(isinstance(one, Score) for _, one in _shared(derived, seed)):
        used = sorted({f"{entry.name} (seed {entry.seed})" for entry in snapshot.manifest.methods.values()})
        raise SettingError(
            f"{snapshot.folder} has no answers to the questions of {recipe.name} with seed {seed}; "
            f"it was used with {', '.join(used) or 'no method'}"
        )
    return _shared(derived, seed)


def known_method(manifest: Manifest, method: Method, *, seed: int) -> str | None:
    """Return the id under which a method was last used in the run, None where it was not."""
    settings, outline = describe(method), outline_of(method)
    count = len(outline.conditions) if outline else 0  # a fit once noted none
    for number, entry in reversed([*manifest.methods.items()]):
        if (entry.settings, entry.seed, len(entry.conditions)) == (settings, seed, count):
            return number
    return None


def _shared(derived: Derivation, seed: int) -> Iterator[tuple[str, Score | Failure]]:
    """Yield the scores that can be made from what other methods asked."""
    index = derived.run.index
    for path in index.paths():
        pixels = known_pixels(derived.run, path, seed=seed)
        if pixels is not None and (score := derived.score(pixels)) is not None:
            yield path, score
        else:
            errors = (outcome.error for outcome in index.outcomes_of(path) if outcome.error is not None)
            why = next(errors, f"{path}: some questions of this method were never asked")
            yield path, Failure(name=path, error=why)
