"""What the methods of a comparison cost, and for which of them the model was really asked."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qdebias.methods import presets
from qdebias.methods.cost import cost_of
from qdebias.methods.outline import Outline, outline
from qdebias.runs.derive import known_pixels
from qdebias.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent on a method; None where its questions are not known before the images are seen.

    Attributes:
        forwards: How many questions it asks about one image, each a forward pass.
        asked: How many the model was asked now for its sake: those that neither the run held, nor a method that is
            listed before it asks.
        rate: How many images a second the model answers all questions of this method about, whatever else is asked:
            measured on the images of which all of them were asked now. None where there are none.
    """

    forwards: int | None = None
    asked: int | None = None
    rate: float | None = None


def spent_on(
    run: Run, methods: Sequence[str], paths: Sequence[Path], asked: Mapping[str, float], *, seed: int
) -> dict[str, Spent]:
    """Return what was spent on each method.

    Args:
        run: The run that holds the answers.
        methods: Names of the methods, in the order in which they are listed.
        paths: The images.
        asked: Seconds by the keys of the questions that the model was asked, from `AskedBackend`.
        seed: Seed of the degradations.
    """
    left, found = set(asked), {}
    for name in methods:
        method = presets.get(name).method
        outlined, cost = outline(method), cost_of(method)
        if outlined is None or cost is None:
            found[name] = Spent()
            continue
        images = list(_keys(run, outlined, paths, seed)) if asked else []
        own = left.intersection(itertools.chain.from_iterable(images))
        left -= own
        timed = [sum(asked[key] for key in keys) for keys in images if keys and all(key in asked for key in keys)]
        rate = len(timed) / sum(timed) if sum(timed) > 0 else None
        found[name] = Spent(forwards=cost.forwards, asked=len(own), rate=rate)
    return found


def _keys(run: Run, outlined: Outline, paths: Sequence[Path], seed: int) -> Iterator[list[str]]:
    """Yield the keys of the questions about each image."""
    for path in paths:
        pixels = known_pixels(run.index, run.manifest, str(path.absolute()), seed=seed)
        if pixels is not None:
            rows = outlined.keys(run.identity, pixels.image, pixels.conditions) or ()
            yield [key for row in rows for key in row]
