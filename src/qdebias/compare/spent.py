"""What the methods of a comparison cost, and which of them the model was really asked for."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from qdebias import presets
from qdebias.store import Run
from qdebias.store.derive import known_pixels
from qdebias.store.outline import Outline, outline, outlined_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a method costs; None where its questions are not known before the images are seen.

    Attributes:
        questions: How many questions it asks about one image, each a forward pass.
        asked: How many the model was asked now for its sake: those that neither the run held, nor a method that is
            listed before it asks.
    """

    questions: int | None
    asked: int | None


def costs(run: Run, methods: Sequence[str], paths: Sequence[Path], asked: Set[str], *, seed: int) -> dict[str, Cost]:
    """Return what each method cost.

    Args:
        run: The run that holds the answers.
        methods: Names of the methods, in the order in which they are listed.
        paths: The images.
        asked: Keys of the questions that the model was asked, from `AskedBackend`.
        seed: Seed of the degradations.
    """
    left, found = set(asked), {}
    for name in methods:
        outlined = outline(presets.get(name).method)
        if outlined is None:
            found[name] = Cost(questions=None, asked=None)
            continue
        own = {key for key in _keys(run, outlined, paths, seed) if key in left} if left else set()
        left -= own
        found[name] = Cost(questions=question_count(outlined), asked=len(own))
    return found


def question_count(outlined: Outline) -> int:
    """Return how many questions a method asks about one image."""
    return sum(len(request.questions) for request in outlined.requests)


def _keys(run: Run, outlined: Outline, paths: Sequence[Path], seed: int) -> Iterator[str]:
    for path in paths:
        pixels = known_pixels(run.index, run.manifest, str(path.absolute()), seed=seed)
        if pixels is not None:
            rows = outlined_keys(outlined, run.identity, pixels.image, pixels.conditions) or ()
            yield from (key for row in rows for key in row)
