"""Scores out of a run folder: of any method whose answers are there, without images and without a model."""

from collections.abc import Iterator
from dataclasses import dataclass

from qdebias.errors import SettingError
from qdebias.methods.describe import describe
from qdebias.methods.keys import identity_digest
from qdebias.methods.method import Method, Score
from qdebias.methods.plan import Failure
from qdebias.runs.derive import Derivation, derivation, known_pixels
from qdebias.runs.manifest import Manifest
from qdebias.runs.outcome import Outcome
from qdebias.runs.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """One image of a run.

    Attributes:
        path: Where it was.
        result: Its score, or why it has none.
    """

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
