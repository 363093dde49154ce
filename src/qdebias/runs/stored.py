"""Scoring into a run folder: only what is missing is asked.

`StoredScorer.ask` fills the run and `StoredScorer.results` reads scores from it; neither decodes an image of which
everything is known.
"""

import json
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from itertools import chain, tee
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.errors import SettingError, StoreError
from qdebias.image import EncodedImage, RgbImage, digest, max_side_of
from qdebias.inputs.addresses import absolute_name
from qdebias.inputs.items import Member
from qdebias.methods.outline import answer_key, outline_of, question_id
from qdebias.methods.plan import Failure, Score
from qdebias.prompts import Request
from qdebias.runs.derive import Derivation, derivation, known_pixels
from qdebias.runs.lines import Answer, FileState, Outcome, file_state
from qdebias.runs.run import Run
from qdebias.runs.scorer import Explanation, Scorer, finite


class StoredBackend:
    """Fits `Backend`: answers come from the run where they are there, else from the model and into the run.

    Args:
        backend: The model.
        run: The run folder.
        seconds: Where the time is noted in which the model answered each question, by the key of the answer.
    """

    def __init__(self, backend: Backend, run: Run, seconds: dict[str, float] | None = None) -> None:
        self.digests = Digests()
        self._backend = backend
        self._run = run
        self._seconds = {} if seconds is None else seconds

    @property
    def fingerprint(self) -> Fingerprint:
        """That of the model."""
        return self._backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            StoreError: What the model answered cannot be stored.
        """
        keys = [self._keys(request) for request in requests]
        known = {key: self._run.index.logits(key) for key in chain(*keys)}
        missing: list[tuple[Request, list[str]]] = []
        wanted = {key for key, logits in known.items() if logits is None}
        for request, row in zip(requests, keys, strict=True):
            questions = {key: one for key, one in zip(row, request.questions, strict=True) if key in wanted}
            wanted -= questions.keys()
            if questions:
                missing.append((replace(request, questions=tuple(questions.values())), list(questions)))
        stored = {key: logits for key, logits in known.items() if logits is not None}
        stored |= {answer.key: answer.logits for answer in self._ask(missing)}
        return [[stored[key] for key in row] for row in keys]

    def _keys(self, request: Request) -> list[str]:
        images = tuple(self.digests.of(image) for image in request.images)
        return [
            answer_key(self._run.identity, images, question_id(request.placement, one)) for one in request.questions
        ]

    def _ask(self, missing: Sequence[tuple[Request, list[str]]]) -> list[Answer]:
        """Ask the model, with the keys of the answers, and store what it says."""
        if not missing:
            return []
        start = time.perf_counter()
        answered = finite(self._backend.option_logits([request for request, _ in missing]))
        seconds = time.perf_counter() - start
        answers = [
            Answer(
                key=key,
                images=tuple(self.digests.of(image) for image in request.images),
                placement=request.placement,
                question=question,
                logits=np.asarray(logits, dtype=np.float64),
            )
            for (request, keys), row in zip(missing, answered, strict=True)
            for key, question, logits in zip(keys, request.questions, row, strict=True)
        ]
        self._run.add_answers(answers)
        self._seconds |= {answer.key: seconds / len(answers) for answer in answers}
        return answers


class Digests:
    """Digests of images in memory, each computed once while the image lives."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[RgbImage], str]] = {}

    def of(self, image: RgbImage) -> str:
        """Return `qdebias.image.digest` of the image."""
        number = id(image)
        if number not in self._known:
            forget = weakref.ref(image, lambda _: self._known.pop(number, None))
            self._known[number] = forget, digest(image)
        return self._known[number][1]


class StoredScorer:
    """Scores images into a run folder.

    A file is recognised by path, size and time of change, a member of a shard or table by its name and by the shard or
    table as a file, and what lies behind an address by the address alone.

    Args:
        run: The run folder, from `open_run`.
        scorer: How images are scored, with the model whose answers the run holds.
        name: What the method is called in the run; None: as the scorer has it.
        total: How many images there will be, for `qdebias status`; None where that is not known yet.
        seconds: Where the time is noted that the model took for each answer, see `StoredBackend`.

    Attributes:
        skipped: How many images `ask` passed over so far because everything about them is stored.

    Raises:
        SettingError: The method cannot be told from others, or the run holds answers about images of other sizes.
    """

    def __init__(
        self,
        run: Run,
        scorer: Scorer,
        *,
        name: str | None = None,
        total: int | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        if max_side_of(run.manifest.identity) != scorer.max_side:
            raise SettingError(
                f"the run was opened for max_side={max_side_of(run.manifest.identity)} and the scorer has "
                f"max_side={scorer.max_side}; open it with the fingerprint of the scorer"
            )
        self.skipped = 0
        self._run = run
        self._stored = StoredBackend(scorer.backend, run, seconds)
        self._scorer = copy(scorer)
        self._scorer.backend = self._stored
        self._name, self._total = name or scorer.recipe.name, total
        self._method = run.method(scorer.method, name=self._name, context=scorer.context, total=total)
        outline, conditions = outline_of(scorer.method), run.manifest.methods[self._method].conditions
        known = outline is not None and len(outline.conditions) == len(conditions)  # a fit once noted none
        self._derivation = derivation(run, scorer.method) if known else None

    def ask(self, images: Iterable[Path | EncodedImage], *, retry: bool = False) -> Iterator[Outcome]:
        """Ask what is missing about the images, and yield what became of each that was not done before.

        What is yielded is stored. Images of which everything is stored are only counted, in `skipped`.

        Args:
            images: Image files, and what `qdebias.inputs` makes of shards, tables and addresses. They are drawn only
                a little ahead of the model.
            retry: Whether images that failed before are tried again although the file has not changed.

        Raises:
            BackendError: The model cannot answer.
            StoreError: The disk refuses; what was yielded before is kept.
        """
        underway: deque[tuple[str, FileState]] = deque()
        results = self._scorer.explain_many(self._missing(images, underway, retry=retry), on_error="return")
        for result in results:
            name, state = underway.popleft()
            outcome = self._outcome(name, state, result)
            self._run.add_outcome(outcome)
            yield outcome

    def results(self, images: Iterable[Path | EncodedImage]) -> Iterator[Score | Failure]:
        """Yield the score of each image, or why it has none, in order; nothing is asked that is stored.

        Raises:
            StoreError: An image was not asked about, or the index of the run is damaged.
        """
        if self._derivation is None:
            return self._scorer.score_many(images, on_error="return")
        return self._derived(((_shown(image), _stored(image)) for image in images), self._derivation)

    def ask_all(
        self, images: Iterable[Path | EncodedImage], on_progress: Callable[[int], None]
    ) -> Iterator[tuple[str, Score | Failure]]:
        """Ask what is missing, then return the name and the result of each image, in order.

        The images are gone through once, however many they are and wherever they come from: meanwhile their names wait
        in a temporary file. (Only a method of one's own that has to be planned anew needs the images again.)

        Args:
            images: As for `ask`; something that can be gone through again.
            on_progress: Is told how many images are done, again and again.
        """
        with ExitStack() as stack:
            names = stack.enter_context(TemporaryFile("w+", encoding="utf-8"))
            for asked, _ in enumerate(self.ask(_noted(images, names)), start=1):
                on_progress(asked + self.skipped)
            names.seek(0)
            total = sum(1 for _ in names)
            if self._total != total:  # it was not known at the beginning
                self._total = total
                self._run.method(self._scorer.method, name=self._name, context=self._scorer.context, total=total)
            names.seek(0)
            whole = stack.pop_all()

        def results() -> Iterator[tuple[str, Score | Failure]]:
            with whole:
                shown, pairs = tee(tuple(json.loads(line)) for line in names)
                found = self.results(images) if self._derivation is None else self._derived(pairs, self._derivation)
                for (name, _), result in zip(shown, found, strict=True):
                    yield name, result

        return results()

    def _derived(self, names: Iterable[tuple[str, str]], derived: Derivation) -> Iterator[Score | Failure]:
        """Yield the results of images by their names in messages and in the run."""
        for shown, stored in names:
            outcome = self._run.index.outcome(stored, self._method)
            if outcome is None:
                raise StoreError(
                    f"{shown}: is not in index.sqlite of this run; ask about it first, or, if that was done, the index "
                    f"is damaged: delete it, and it is rebuilt"
                )
            yield derived.result(outcome, shown)

    def _missing(
        self, images: Iterable[Path | EncodedImage], underway: deque[tuple[str, FileState]], *, retry: bool
    ) -> Iterator[Path | EncodedImage]:
        """Yield the images that have to be looked at, and put each at the end of `underway`."""
        for image in images:
            name, state = _stored(image), _state(image)
            found = self._run.index.outcome(name, self._method)
            if found is not None and found.state == state:
                settled = found.error is None or not retry
            else:
                settled = found is None and self._known_from_other_methods(name, state)
            if settled or any(name == other for other, _ in underway):
                self.skipped += 1
                continue
            underway.append((name, state))
            yield image

    def _known_from_other_methods(self, path: str, state: FileState) -> bool:
        """Whether every answer is stored already because other methods asked the same; if so, note it down."""
        if self._derivation is None or not self._derivation.outline.shared:
            return False
        seed = self._scorer.context.seed
        pixels = known_pixels(self._run, path, seed=seed, state=state)
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


def _shown(image: Path | EncodedImage) -> str:
    """Return the name of an image in messages and results."""
    return str(image) if isinstance(image, Path) else image.name


def _stored(image: Path | EncodedImage) -> str:
    """Return the name of an image in the run: absolute, links kept."""
    return str(image.absolute()) if isinstance(image, Path) else absolute_name(image.name)


def _state(image: Path | EncodedImage) -> FileState:
    """Return by what an image is recognised when it is met again."""
    if isinstance(image, Path):
        return file_state(image)
    return file_state(Path(image.container if isinstance(image, Member) else image.name))


def _noted(images: Iterable[Path | EncodedImage], names: IO[str]) -> Iterator[Path | EncodedImage]:
    """Yield the images, and write down what each is called here and in the run."""
    for image in images:
        print(json.dumps([_shown(image), _stored(image)]), file=names)
        yield image
