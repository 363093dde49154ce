"""Scoring into a run folder: what is missing is asked, what is there is combined.

The two steps are apart: `ask` fills the store, `results` reads scores from it, and neither decodes an image of which
everything is known.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path

from qdebias.downsize import max_side_of
from qdebias.engine import Explanation, Failure, Scorer
from qdebias.errors import SettingError
from qdebias.method import Score
from qdebias.store.backend import StoredBackend
from qdebias.store.derive import derivation, known_pixels
from qdebias.store.outcome import FileState, Outcome, file_state
from qdebias.store.outline import outline
from qdebias.store.run import Run


class StoredScorer:
    """Scores image files into a run folder.

    Args:
        run: The run folder, from `open_run`.
        scorer: How images are scored, with the model whose answers the run holds.
        name: What the method is called in the run.
        total: How many images there will be, for `qdebias status`.

    Attributes:
        skipped: How many images `ask` passed over so far because everything about them is stored.

    Raises:
        SettingError: The method cannot be told from others, or the run holds answers about images of other sizes.
    """

    def __init__(self, run: Run, scorer: Scorer, *, name: str, total: int | None = None) -> None:
        if max_side_of(run.manifest.identity) != scorer.max_side:
            raise SettingError(
                f"the run was opened for max_side={max_side_of(run.manifest.identity)} and the scorer has "
                f"max_side={scorer.max_side}; open it with the fingerprint of the scorer"
            )
        self.skipped = 0
        self._run = run
        self._stored = StoredBackend(scorer.backend, run)
        self._scorer = copy(scorer)
        self._scorer.backend = self._stored
        self._method = run.method(scorer.method, name=name, context=scorer.context, total=total)
        known = outline(scorer.method) is not None
        self._derivation = derivation(run.index, run.identity, scorer.method) if known else None

    def ask(self, paths: Iterable[Path], *, retry: bool = False) -> Iterator[Outcome]:
        """Ask what is missing about the images, and yield what became of each that was not done before.

        What is yielded is stored. Images of which everything is stored are only counted, in `skipped`.

        Args:
            paths: Image files.
            retry: Whether images that failed before are tried again although the file has not changed.

        Raises:
            BackendError: The model cannot answer.
            StoreError: The disk refuses; what was yielded before is kept.
        """
        underway: deque[tuple[str, FileState]] = deque()
        results = self._scorer.explain_many(self._missing(paths, underway, retry=retry), on_error="return")
        for result in results:
            path, state = underway.popleft()
            outcome = self._outcome(path, state, result)
            self._run.add_outcome(outcome)
            yield outcome

    def results(self, paths: Sequence[Path]) -> Iterator[Score | Failure]:
        """Yield the score of each image, or why it has none, in order; nothing is asked that is stored."""
        if self._derivation is None:
            yield from self._scorer.score_many(paths, on_error="return")
            return
        for path in paths:
            outcome = self._run.index.outcome(_name(path), self._method)
            if outcome is None:
                yield Failure(name=str(path), error=f"{path}: was not asked about in this run")
            elif outcome.error is not None:
                yield Failure(name=str(path), error=outcome.error)
            else:
                yield self._derivation.score_of(outcome)

    def _missing(self, paths: Iterable[Path], underway: deque[tuple[str, FileState]], *, retry: bool) -> Iterator[Path]:
        """Yield the images that have to be looked at, and put each at the end of `underway`."""
        for path in paths:
            name = _name(path)
            state = file_state(path)
            if self._settled(name, state, retry=retry) or any(name == other for other, _ in underway):
                self.skipped += 1
                continue
            underway.append((name, state))
            yield path

    def _settled(self, path: str, state: FileState, *, retry: bool) -> bool:
        found = self._run.index.outcome(path, self._method)
        if found is not None and found.state == state:
            return found.error is None or not retry
        return found is None and self._known_from_other_methods(path, state)

    def _known_from_other_methods(self, path: str, state: FileState) -> bool:
        """Whether every answer is stored already because other methods asked the same; if so, note it down."""
        if self._derivation is None or not self._derivation.outline.shared:
            return False
        seed = self._scorer.context.seed
        pixels = known_pixels(self._run.index, self._run.manifest, path, seed=seed, state=state)
        if pixels is None or self._derivation.answers(pixels) is None:
            return False
        conditions = tuple(pixels.conditions[name] for name in self._derivation.outline.conditions)
        outcome = Outcome(path=path, method=self._method, state=state, image=pixels.image, conditions=conditions)
        self._run.add_outcome(outcome, asked=False)
        return True

    def _outcome(self, path: str, state: FileState, result: Explanation | Failure) -> Outcome:
        if isinstance(result, Failure):
            return Outcome(path=path, method=self._method, state=state, error=result.error)
        conditions = [self._stored.digests.of(condition.image) for condition in result.plan.conditions]
        return Outcome(
            path=path,
            method=self._method,
            state=state,
            image=self._stored.digests.of(result.image),
            conditions=tuple(conditions) if self._derivation is not None else (),
            similarity=result.plan.similarity,
        )


def _name(path: Path) -> str:
    """Return the absolute path, links kept: the name of the image in the run."""
    return str(path.absolute())
