"""From stored answers to scores, without an image and without a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qdebias.errors import SettingError, StoreError
from qdebias.methods.describe import describe
from qdebias.methods.method import Answers, Method, Plan, Score
from qdebias.methods.outline import Outline, identity_digest, outline
from qdebias.methods.plan import Failure
from qdebias.runs.index import Index
from qdebias.runs.lines import FileState, Outcome
from qdebias.runs.manifest import Manifest, MethodEntry
from qdebias.runs.run import Snapshot


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
    """Makes the scores of one method from the answers of a run; `derivation` makes one."""

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
        """Return the score of an image that was done under this very method."""
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """One image of a run."""

    path: str
    result: Score | Failure


def recorded(snapshot: Snapshot, method: Method, *, name: str, seed: int = 0) -> Iterator[Recorded]:
    """Yield the score of each image of a run under a method, by path.

    The method need not have been used in the run, if others asked the same: `average` can be read from a run of
    `paper`. Images about which it would have to ask more are failures.

    Args:
        snapshot: The run.
        method: The method.
        name: What it is called, for messages.
        seed: Seed of its degradations.

    Raises:
        SettingError: The run has no answers for it at all, or the method always needs the images.
    """
    derived = derivation(snapshot.index, identity_digest(snapshot.manifest.identity), method)
    known = known_method(snapshot.manifest, method, seed=seed)
    if known is not None:
        return (_of(derived, outcome) for outcome in snapshot.index.outcomes_under(known))
    if not derived.outline.shared or not any(isinstance(one.result, Score) for one in _shared(snapshot, derived, seed)):
        used = sorted({f"{entry.name} (seed {entry.seed})" for entry in snapshot.manifest.methods.values()})
        raise SettingError(
            f"{snapshot.folder} has no answers to what {name} with seed {seed} asks; "
            f"it was used with {', '.join(used) or 'no method'}"
        )
    return _shared(snapshot, derived, seed)


def known_method(manifest: Manifest, method: Method, *, seed: int) -> str | None:
    """Return the id under which a method was used in the run, None where it was not."""
    settings = describe(method)
    found = [number for number, entry in manifest.methods.items() if entry.settings == settings and entry.seed == seed]
    return found[-1] if found else None


def _of(derived: Derivation, outcome: Outcome) -> Recorded:
    if outcome.error is not None:
        return Recorded(path=outcome.path, result=Failure(name=outcome.path, error=outcome.error))
    return Recorded(path=outcome.path, result=derived.score_of(outcome))


def _shared(snapshot: Snapshot, derived: Derivation, seed: int) -> Iterator[Recorded]:
    """Yield what can be made of what other methods asked."""
    for path in snapshot.index.paths():
        pixels = known_pixels(snapshot.index, snapshot.manifest, path, seed=seed)
        score = None if pixels is None else derived.score(pixels)
        if score is not None:
            yield Recorded(path=path, result=score)
            continue
        errors = [outcome.error for outcome in snapshot.index.outcomes_of(path) if outcome.error is not None]
        why = errors[0] if errors else f"{path}: not everything that this method asks was asked"
        yield Recorded(path=path, result=Failure(name=path, error=why))
