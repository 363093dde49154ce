"""Asking about pairs of images in both orders, through a run folder that keeps every answer."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from qdebias.backends.base import Backend
from qdebias.errors import ImageError
from qdebias.image import MAX_PIXELS, RgbImage, digest, downsized, load_image
from qdebias.methods.outline import answer_key, question_id
from qdebias.prompts import Question, Request
from qdebias.runs.run import Run
from qdebias.runs.stored import StoredBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image file that was looked at.

    Attributes:
        path: The file.
        digest: `qdebias.image.digest` of its pixels; empty where it cannot be read.
        error: Why not; empty where it can.
    """

    path: Path
    digest: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large images may be.

    Attributes:
        max_pixels: Larger images are refused before they are decoded.
        max_side: The others are made smaller, see `qdebias.image`; None: they stay.
    """

    max_pixels: int = MAX_PIXELS
    max_side: int | None = None

    def load(self, path: Path) -> RgbImage:
        """Return the image of a file; raises `ImageError` where there is none within the limits."""
        image = load_image(path, max_pixels=self.max_pixels)
        return image if self.max_side is None else downsized(image, self.max_side, name=str(path))


def read_digests(paths: Sequence[Path], limits: Limits, *, threads: int = 2) -> Iterator[ImageFile]:
    """Yield what each file holds, in order; no pixels are kept."""

    def read(path: Path) -> ImageFile:
        try:
            return ImageFile(path=path, digest=digest(limits.load(path)))
        except ImageError as error:
            return ImageFile(path=path, error=str(error))

    with ThreadPoolExecutor(threads, thread_name_prefix="qdebias-load") as pool:
        yield from pool.map(read, paths)


Pair = tuple[ImageFile, ImageFile]


class PairComparer:
    """Asks which of two images is better, in both orders, and knows what was answered.

    Args:
        run: Keeps the answers.
        backend: The model.
        question: Its first option says that the first image is better, its second that the second is.
        batch: How many pairs are handed to the model at a time.
        limits: How large images may be.

    Attributes:
        errors: Why pairs could not be asked about.
    """

    def __init__(self, run: Run, backend: Backend, question: Question, *, batch: int, limits: Limits) -> None:
        self.errors: dict[Pair, str] = {}
        self._run = run
        self._stored = StoredBackend(backend, run)
        self._question = question
        self._batch = batch
        self._limits = limits
        self._images: OrderedDict[Path, RgbImage] = OrderedDict()

    def ask(self, pairs: Sequence[Pair]) -> Iterator[int]:
        """Ask about the pairs whose answers are not stored, and yield how many pairs are done, again and again.

        Raises:
            BackendError: The model cannot answer.
            StoreError: The disk refuses; what was answered before is kept.
        """
        missing = [pair for pair in pairs if self.margins(pair) is None]
        done = len(pairs) - len(missing)
        left = iter(missing)
        while batch := list(islice(left, self._batch)):
            self._ask(batch)
            done += len(batch)
            yield done

    def margins(self, pair: Pair) -> tuple[float, float] | None:
        """Return the log-odds that the first of a pair is better, asked in this order and in the other.

        None where they are not stored.
        """
        found = []
        for images, sign in (((pair[0].digest, pair[1].digest), 1), ((pair[1].digest, pair[0].digest), -1)):
            logits = self._run.index.logits(
                answer_key(self._run.identity, images, question_id("before", self._question))
            )
            if logits is None:
                return None
            found.append(sign * float(logits[0] - logits[1]))
        return found[0], found[1]

    def _ask(self, batch: Sequence[Pair]) -> None:
        """Ask about all at once; where an image is refused, find out in which pair it is and keep the others."""
        try:
            requests = [
                Request(images=images, questions=(self._question,))
                for pair in batch
                for images in (tuple(map(self._load, pair)), tuple(map(self._load, pair[::-1])))
            ]
            self._stored.option_logits(requests)
        except ImageError as error:
            if len(batch) == 1:
                self.errors[batch[0]] = str(error)
                return
            for pair in batch:
                self._ask([pair])

    def _load(self, file: ImageFile) -> RgbImage:
        """Return the pixels; those of the latest pairs are at hand, as pairs after one another share images."""
        if file.path not in self._images:
            image = self._limits.load(file.path)
            if self._stored.digest_of(image) != file.digest:
                raise ImageError(f"{file.path}: changed while it was being ranked; rank again")
            self._images[file.path] = image
        self._images.move_to_end(file.path)
        while len(self._images) > 2 * self._batch + 2:
            self._images.popitem(last=False)
        return self._images[file.path]
