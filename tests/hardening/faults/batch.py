"""The commands that go through images and end, as far as the trials have to know them."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from command import assert_calm
from faults.processes import Command, Done, wait_until

COUNT = 60
"""Images in a trial."""

FAKE, SLOW = "fake", "faults.models:slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A command.

    Attributes:
        name: What it is called.
        words: Its arguments, without the model; every path is relative, so that results are the same in any folder.
        steps: Returns how many images or chunks are done.
        results: Returns, once it is done, all that it wrote and printed, in a form that has to be the same each time.
        check_whole: Asserts that each image is in its folder exactly once.
        size: How many images a step is.
        environment: More variables.
    """

    name: str
    words: Sequence[str]
    steps: Callable[[Path], int]
    results: Callable[[Path, Done], object]
    check_whole: Callable[[Path], None]
    size: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many steps all images are."""
        return COUNT // self.size

    def start(
        self,
        root: Path,
        model: str = SLOW,
        *more: object,
        memory: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Command:
        """Start it."""
        words, variables = (*self.words, "--model", model, *more), {**self.environment, **(environment or {})}
        return Command(words, folder=root, memory=memory, environment=variables)

    def run(self, root: Path, model: str = FAKE, *more: object, **settings: object) -> Done:
        """Run it to its end; see `start`."""
        return self.start(root, model, *more, **settings).finish()  # type: ignore[arg-type]

    def under_way(self, root: Path, steps: int, model: str = SLOW, **settings: object) -> Command:
        """Start it, and return when so many more images are done."""
        enough, process = self.steps(root) + steps, self.start(root, model, **settings)  # type: ignore[arg-type]
        wait_until(lambda: self.steps(root) >= enough or not process.running())
        assert process.running(), process.finish()
        return process

    def complete(self, root: Path, model: str = SLOW, *more: object, **settings: object) -> object:
        """Run it to its end and return its results; nothing may be absent or there twice."""
        done = self.run(root, model, *more, **settings)
        assert_calm(done, 0)
        self.check_whole(root)
        return self.results(root, done)

    def expected(self, model: str = SLOW) -> object:
        """Return the results where nothing goes wrong."""
        if (self.name, model) not in _UNDISTURBED:
            with TemporaryDirectory() as folder:
                prepare(Path(folder) / "trial")
                _UNDISTURBED[self.name, model] = self.complete(Path(folder) / "trial", model)
        return _UNDISTURBED[self.name, model]

    def chance(self) -> random.Random:
        """Return chance that is the same each time."""
        return random.Random(self.name)  # noqa: S311


_UNDISTURBED: dict[tuple[str, str], object] = {}


def prepare(root: Path, count: int = COUNT) -> None:
    """Write the images and their labels."""
    (root / "photos").mkdir(parents=True)
    rows = ["image,mos"]
    for number, data in enumerate(_photos()[:count]):
        (root / "photos" / f"{number:02}.png").write_bytes(data)
        rows.append(f"photos/{number:02}.png,{number * 7 % COUNT}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def forget(root: Path) -> None:
    """Remove what a command wrote."""
    for path in root.iterdir():
        if path.name in ("run", "run-2", "out"):
            shutil.rmtree(path)
        elif path.name.startswith("rows"):
            path.unlink()


def lines(path: Path) -> list[str]:
    """Return the lines of a file that another process may be writing, without a torn last one."""
    text = path.read_text() if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def noise(side: tuple[int, int], seed: int = 3) -> bytes:
    """Return a PNG of noise."""
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*side, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@cache
def _photos() -> Sequence[bytes]:
    return [noise((32, 40), seed) for seed in range(COUNT)]


def _steps(root: Path) -> int:
    return len(lines(root / "run" / "images.jsonl"))


def _check_each_image_is_there_once(root: Path) -> None:
    for name, key in (("images.jsonl", "path"), ("answers.jsonl", "key")):
        counts = Counter(json.loads(line)[key] for line in lines(root / "run" / name))
        assert len(counts) == len(list((root / "photos").iterdir())), (name, len(counts))
        assert set(counts.values()) == {1}, name


def _results(root: Path, done: Done) -> object:
    return done.stdout, (root / "rows.jsonl").read_bytes()


_RUN = ("--method", "vanilla", "--batch", "1", "--run", "run", "--out", "rows.jsonl", "--json")

SCORE = Batch(
    name="score",
    words=("score", "photos", *_RUN),
    steps=_steps,
    results=_results,
    check_whole=_check_each_image_is_there_once,
)

EVALUATE = Batch(
    name="evaluate",
    words=("evaluate", "labels.csv", *_RUN, "--resamples", "50"),
    steps=_steps,
    results=_results,
    check_whole=_check_each_image_is_there_once,
)
