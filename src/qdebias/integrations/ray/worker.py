"""What runs on each machine of a cluster: a process that holds the model and scores one chunk after the other."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qdebias.inputs import Image, LeftOut
from qdebias.integrations.ray.folder import Folder
from qdebias.integrations.ray.manifest import score_file
from qdebias.integrations.ray.plan import Plan
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.runs.options import Options
from qdebias.runs.records import AnsweredRecord, answered_record, columns_of, open_writer, words_of
from qdebias.runs.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of a chunk.

    Attributes:
        chunk: Its number.
        images: How many images it has.
        failed: How many of them could not be scored.
    """

    chunk: int
    images: int
    failed: int


class Worker:
    """Scores chunks of a run; a Ray actor, though it knows nothing of Ray.

    Args:
        setting: How images are scored.
        folder: The folder of the run.
    """

    def __init__(self, setting: Options, folder: Folder) -> None:
        self._setting, self._folder = setting, folder
        self._plan = Plan(folder)
        self._scorer: Scorer | None = None

    def load(self) -> Mapping[str, str]:
        """Load the model and return its identity."""
        return dict(self._ready().fingerprint.identity)

    def score(self, chunk: int) -> Tally:
        """Score a chunk and write its file."""
        return self._write(chunk, self._ready().score_named(self._images(chunk)))

    def score_alone(self, chunk: int, deadly: Mapping[int, int]) -> Tally:
        """Score a chunk image by image, noting down each before it is touched.

        Args:
            chunk: Its number.
            deadly: Images that are given up, by their places in the chunk: how many workers died on each.
        """
        tally = self._write(chunk, self._alone(chunk, deadly))
        self._folder.remove(note_file(chunk))
        return tally

    def _alone(self, chunk: int, deadly: Mapping[int, int]) -> Iterator[tuple[str, Score | Failure]]:
        scorer, images = self._ready(), self._images(chunk)
        for place in range(1 << 62):
            self._folder.write(note_file(chunk), str(place).encode())
            image = next(images, None)
            if image is None:
                return
            if place in deadly:
                name = _name(image)
                died = f"{deadly[place]} workers died while they scored nothing else"
                yield name, Failure(name=name, error=f"{name}: {died}; make it smaller or leave it out")
            else:
                yield from scorer.score_named([image])

    def _images(self, chunk: int) -> Iterator[Image]:
        return (image for image in self._plan.piece(chunk) if not isinstance(image, LeftOut))

    def _write(self, chunk: int, results: Iterable[tuple[str, Score | Failure]]) -> Tally:
        setting, images, failed = self._setting, 0, 0
        with tempfile.TemporaryDirectory(prefix="qdebias-") as here:
            path = Path(here) / "chunk.parquet"
            with open_writer(path, columns_of(AnsweredRecord, words_of(self._ready().method))) as write:
                for name, result in results:
                    images, failed = images + 1, failed + isinstance(result, Failure)
                    write(answered_record(name, result, model=setting.model, method=setting.method, seed=setting.seed))
            self._folder.write(score_file(chunk), path.read_bytes())
        return Tally(chunk=chunk, images=images, failed=failed)

    def _ready(self) -> Scorer:
        if self._scorer is None:
            self._scorer = self._setting.scorer()
        return self._scorer


def note_file(chunk: int) -> str:
    """Return the name of the file that says which image of a chunk is being scored alone."""
    return f"notes/{chunk:08}"


def _name(image: Image) -> str:
    return str(image) if isinstance(image, Path) else image.name
