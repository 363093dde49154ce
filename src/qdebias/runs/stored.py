"""Scoring into a run folder: only missing answers are asked for, and images with all answers are not decoded."""

import json
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import asdict, replace
from itertools import tee
from pathlib import Path
from tempfile import TemporaryFile
from typing import cast

import numpy as np

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.equations import FloatArray
from qdebias.errors import SettingError, StoreError
from qdebias.image import EncodedImage, RgbImage, digest, max_side_of
from qdebias.inputs.addresses import absolute_name
from qdebias.inputs.items import EncodedItem
from qdebias.methods.outline import answer_key, outline_of, question_id
from qdebias.methods.plan import Failure, Score
from qdebias.prompts import Request
from qdebias.runs.derive import Derivation, known_pixels
from qdebias.runs.lines import Outcome, file_state
from qdebias.runs.run import Run
from qdebias.runs.scorer import Scorer, finite


class StoredBackend:
    """Fits `Backend`: answers come from the run where they are stored, else from the model and into the run.

    Args:
        backend: The model.
        run: The run folder.
        seconds: Takes the time in which the model answered each question, by the key of the answer.
    """

    def __init__(self, backend: Backend, run: Run, seconds: dict[str, float] | None = None) -> None:
        self._backend = backend
        self._run = run
        self._seconds = {} if seconds is None else seconds
        self._digests: dict[int, tuple[weakref.ref[RgbImage], str]] = {}

    @property
    def fingerprint(self) -> Fingerprint:
        """That of the model."""
        return self._backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            StoreError: An answer of the model cannot be stored.
        """
        known: dict[str, FloatArray | None] = {}
        missing: list[tuple[Request, list[str], list[str]]] = []  # with the images' digests and the answers' keys
        rows: list[list[str]] = []
        for request in requests:
            images, questions = [self.digest_of(image) for image in request.images], {}
            rows.append([])
            for question in request.questions:
                key = answer_key(self._run.identity, images, question_id(request.placement, question))
                rows[-1].append(key)
                if key not in known:
                    known[key] = self._run.index.logits(key)
                    if known[key] is None:
                        questions[key] = question
            if questions:
                missing.append((replace(request, questions=tuple(questions.values())), images, list(questions)))
        if missing:
            self._ask(missing, known)
        return [[cast(FloatArray, known[key]) for key in row] for row in rows]

    def _ask(
        self, missing: Sequence[tuple[Request, list[str], list[str]]], known: dict[str, FloatArray | None]
    ) -> None:
        """Ask the model, store its answers, and put them into `known`."""
        start = time.perf_counter()
        answered = finite(self._backend.option_logits([request for request, _, _ in missing]))
        seconds = time.perf_counter() - start
        rows, questions = [], {}
        for (request, images, keys), answers in zip(missing, answered, strict=True):
            for key, question, logits in zip(keys, request.questions, answers, strict=True):
                number = question_id(request.placement, question)
                if number not in self._run.manifest.questions:
                    questions[number] = {"placement": request.placement} | asdict(question)
                values = known[key] = np.asarray(logits, dtype=np.float64)
                rows.append({"key": key, "question": number, "images": images, "logits": values.tolist()})
        self._run.add_answers(rows, questions)
        self._seconds |= {row["key"]: seconds / len(rows) for row in rows}

    def digest_of(self, image: RgbImage) -> str:
        """Return `qdebias.image.digest` of an image in memory, computed once while the image lives."""
        number = id(image)
        if number not in self._digests:
            forget = weakref.ref(image, lambda _: self._digests.pop(number, None))
            self._digests[number] = forget, digest(image)
        return self._digests[number][1]


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
        self._derivation = Derivation(run, scorer.method) if known else None

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
        underway: deque[Outcome] = deque()
        for result in self._scorer.explain_many(self._missing(images, underway, retry=retry), on_error="return"):
            outcome = underway.popleft()
            if isinstance(result, Failure):
                outcome = replace(outcome, error=result.error)
            else:
                conditions = result.plan.conditions if self._derivation is not None else ()
                outcome = replace(
                    outcome,
                    image=self._stored.digest_of(result.image),
                    conditions=tuple(self._stored.digest_of(condition.image) for condition in conditions),
                    similarity=result.plan.similarity,
                )
            self._run.add_outcome(outcome)
            yield outcome

    def results(self, images: Iterable[Path | EncodedImage]) -> Iterator[Score | Failure]:
        """Yield the score of each image, or why it has none, in order; nothing is asked that is stored.

        Raises:
            StoreError: An image was not asked about, or the index of the run is damaged.
        """
        if self._derivation is None:
            return self._scorer.score_many(images, on_error="return")
        return self._derived(map(_names, images), self._derivation)

    def ask_all(
        self, images: Iterable[Path | EncodedImage], on_progress: Callable[[int], None]
    ) -> Iterator[tuple[str, Score | Failure]]:
        """Ask what is missing, then return the name and the result of each image, in order.

        `on_progress` is called with the number of images that are done. The names wait in a temporary file, so that the
        images are iterated once, however many they are; only a method without an outline needs them again.
        """
        total = 0
        with ExitStack() as stack:
            names = stack.enter_context(TemporaryFile("w+", encoding="utf-8"))

            def noted() -> Iterator[Path | EncodedImage]:
                nonlocal total
                for total, image in enumerate(images, start=1):  # noqa: B007 (how many they were)
                    print(json.dumps(_names(image)), file=names)
                    yield image

            for asked, _ in enumerate(self.ask(noted()), start=1):
                on_progress(asked + self.skipped)
            if self._total != total:  # it was not known at the beginning
                self._total = total
                self._run.method(self._scorer.method, name=self._name, context=self._scorer.context, total=total)
            names.seek(0)
            stack.pop_all()

        def results() -> Iterator[tuple[str, Score | Failure]]:
            with names:
                shown, pairs = tee(json.loads(line) for line in names)
                found = self.results(images) if self._derivation is None else self._derived(pairs, self._derivation)
                for (name, _), result in zip(shown, found, strict=True):
                    yield name, result

        return results()

    def _derived(self, names: Iterable[Sequence[str]], derived: Derivation) -> Iterator[Score | Failure]:
        """Yield the results of images by their `_names`."""
        for shown, stored in names:
            outcome = self._run.index.outcome(stored, self._method)
            if outcome is None:
                raise StoreError(
                    f"{shown}: is not in index.sqlite of this run; ask about it first, or, if that was done, the index "
                    f"is damaged: delete it, and it is rebuilt"
                )
            yield derived.result(outcome, shown)

    def _missing(
        self, images: Iterable[Path | EncodedImage], underway: deque[Outcome], *, retry: bool
    ) -> Iterator[Path | EncodedImage]:
        """Yield the images that have to be looked at, and put what is known of each at the end of `underway`."""
        for image in images:
            file = image if isinstance(image, Path) else image.source if isinstance(image, EncodedItem) else image.name
            size, mtime_ns = file_state(Path(file))
            new = Outcome(path=_names(image)[1], method=self._method, size=size, mtime_ns=mtime_ns)
            found = self._run.index.outcome(new.path, self._method)
            if found is not None and found.state == new.state:
                settled = found.error is None or not retry
            else:
                settled = found is None and self._known_from_other_methods(new)
            if settled or any(new.path == other.path for other in underway):
                self.skipped += 1
                continue
            underway.append(new)
            yield image

    def _known_from_other_methods(self, new: Outcome) -> bool:
        """Whether every answer is stored already because other methods asked the same; if so, note it down."""
        if self._derivation is None or not self._derivation.outline.shared:
            return False
        pixels = known_pixels(self._run, new.path, seed=self._scorer.context.seed, state=new.state)
        if pixels is None or self._derivation.answers(pixels) is None:
            return False
        conditions = tuple(pixels.conditions[name] for name in self._derivation.outline.conditions)
        self._run.add_outcome(replace(new, image=pixels.image, conditions=conditions), asked=False)
        return True


def _names(image: Path | EncodedImage) -> tuple[str, str]:
    """Return what an image is called in messages and results, and in the run: absolute, links kept."""
    if isinstance(image, Path):
        return str(image), str(image.absolute())
    return image.name, absolute_name(image.name)
