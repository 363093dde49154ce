"""Damaged bytes and odd texts: what is read is right, or there is one error of ours; never another exception."""

import gzip
import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from corpus.pictures import encoded
from mutation import always, examples, mutated
from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.errors import ImageError, QdebiasError, StoreError
from qdebias.image import load_image
from qdebias.inputs import open_images
from qdebias.inputs.datasets.matlab import load_variable
from qdebias.inputs.datasets.readers import read_records
from qdebias.methods.expression import known_parts
from qdebias.methods.method import Score, Vanilla
from qdebias.metrics.calibration import load_calibration
from qdebias.runs.records import read_scores
from qdebias.runs.run import open_run, open_snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.status import run_status
from qdebias.runs.stored import StoredScorer

KEPT = Path(__file__).with_name("kept")
"""Files that once ended in a traceback."""

COLUMNS = {"image": ["a.png", "b.png"], "score": [0.25, 0.5], "path": ["a.png", "b.png"], "error": [None, "x"]}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF"])
def test_damaged_images(form: str, tmp_path: Path, thorough: bool, trials: Callable[[int], None]) -> None:
    path = tmp_path / "x"

    @examples(400 if thorough else 25)
    @given(mutated(encoded(form)))
    def holds(data: bytes) -> None:
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = load_image(path, max_pixels=1_000_000)
            except ImageError:
                pass
            else:
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3
        trials(1)

    holds()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four images and a run in which they were asked about."""
    base = tmp_path_factory.mktemp("store")
    noise = np.random.default_rng(5)
    for number in range(4):
        Image.fromarray(noise.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(base / f"{number}.png")
    results(base / "run", base)
    return base


def results(folder: Path, photos: Path) -> list[float]:
    """Ask what is missing in a run, and return all scores."""
    backend, paths = FakeBackend(), sorted(photos.glob("*.png"))
    with open_run(folder, backend.fingerprint, model="fake") as run:
        scorer = StoredScorer(run, Scorer(backend=backend, method="vanilla", batch=2), name="vanilla")
        for _ in scorer.ask(paths):
            pass
        return [one.value for one in scorer.results(paths) if isinstance(one, Score)]


@pytest.mark.parametrize("name", ["answers.jsonl", "images.jsonl", "run.json", "index.sqlite"])
@pytest.mark.parametrize("indexed", [True, False])
def test_damaged_run_folders(
    name: str, indexed: bool, finished: Path, tmp_path: Path, thorough: bool, trials: Callable[[int], None]
) -> None:
    """Either one error, or every image has the score it had: no answer is lost unasked, and none is invented."""
    expected = results(finished / "run", finished)
    folder = tmp_path / "run"

    @examples(150 if thorough else 10)
    @given(mutated((finished / "run" / name).read_bytes()))
    def holds(data: bytes) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished / "run", folder)
        if not indexed:
            (folder / "index.sqlite").unlink()
        (folder / name).write_bytes(data)
        with suppress(StoreError), open_snapshot(folder) as snapshot:
            run_status(snapshot)
        try:
            got = results(folder, finished)
        except StoreError:
            pass
        else:
            assert got == expected
        trials(1)

    holds()


def table(suffix: str) -> bytes:
    """Return a small sound table of a format."""
    memory = BytesIO()
    if suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in (COLUMNS.keys(), *zip(*COLUMNS.values(), strict=True)):
            book.active.append(list(row))
        book.save(memory)
    elif suffix == ".mat":
        savemat(memory, {"score": np.array(COLUMNS["score"]), "image": np.array(COLUMNS["image"], dtype=object)})
    elif suffix == ".parquet":
        pq.write_table(pa.table(COLUMNS), memory)
    elif suffix == ".json":
        return json.dumps(COLUMNS).encode()
    elif suffix == ".jsonl":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows())
    elif suffix == ".csv.gz":
        return gzip.compress(table(".csv"), mtime=0)
    else:
        return "".join(
            ",".join(map(str, row)) + "\n" for row in (COLUMNS, *zip(*COLUMNS.values(), strict=True))
        ).encode()
    return memory.getvalue()


def rows() -> list[dict[str, object]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


READERS: dict[str, tuple[Callable[[Path], object], ...]] = {
    ".csv": (read_records, read_scores, lambda path: list(open_images([str(path)]))),
    ".csv.gz": (read_records,),
    ".tsv": (read_records,),
    ".json": (read_records, load_calibration),
    ".jsonl": (read_records, read_scores),
    ".xlsx": (read_records,),
    ".mat": (lambda path: load_variable(path, "score"),),
    ".parquet": (read_scores, lambda path: list(open_images([str(path)]))),
    ".txt": (lambda path: list(open_images([str(path)])),),
}


@pytest.mark.parametrize("suffix", READERS)
def test_damaged_tables(suffix: str, tmp_path: Path, thorough: bool, trials: Callable[[int], None]) -> None:
    path = tmp_path / f"table{suffix}"

    slow = suffix == ".mat"  # read in a process of its own each time

    @examples((30 if slow else 200) if thorough else (2 if slow else 15))
    @given(mutated(table(suffix)))
    @always(b"[" * 20_000, b'{"a":' * 20_000, b'"' + b"x" * 20_000, b"\xff\xfe\0", b"1e999,NaN", b"")
    @always(*(kept.read_bytes() for kept in sorted(KEPT.glob(f"*{suffix}"))))
    def holds(data: bytes) -> None:
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for reader in READERS[suffix]:
                with suppress(QdebiasError):
                    reader(path)
        trials(1)

    holds()


WORDS = sorted({word for kind in known_parts().split("; ") for word in kind.partition(": ")[2].split(", ")})
NUMBERS = st.sampled_from(["0", "1", "2", "100", "0.5", "1e5", "-1", "9" * 400, "1000000", "\u0661", "nan", ""])


def expressions() -> st.SearchStrategy[str]:
    """Return expressions that are nearly right, with every part there is."""
    start = st.sampled_from(
        [*presets.RECIPES, "", "nonsense", "os:system", "qdebias:score", "a.b:c", "paper@", "paper@fog"]
    )
    condition = st.sampled_from(["fog", "zoom-blur", "jpeg", "nothing", "os:getcwd", ""])
    word = st.sampled_from(WORDS).flatmap(
        lambda text: st.tuples(NUMBERS, condition).map(
            lambda pair: text.replace("NUMBER", pair[0]).replace("CONDITION", pair[1])
        )
    )
    return st.tuples(start, st.lists(word | st.text(max_size=6), max_size=4)).map(
        lambda both: "+".join([both[0], *both[1]])
    )


def test_method_expressions(thorough: bool, trials: Callable[[int], None]) -> None:
    @examples(2000 if thorough else 150)
    @given(expressions())
    @always(
        "qdebias:score", "paper+seeds" + "9" * 400, "paper+topk" + "9" * 400, "vanilla+t" + "9" * 400, "paper@", "+", ""
    )
    def holds(text: str) -> None:
        try:
            recipe = presets.get(text)
        except QdebiasError:
            pass
        else:
            assert presets.get(recipe.name).name == recipe.name
        trials(1)

    holds()


TOML = b"""method = "paper"
parts = ["levels5", "logodds", "t2"]
[quality]
text = "The visual quality of the first image is poor. How about that of the second image? Good or poor?"
answer_prefix = "The quality of the image is"
options = [" good", " poor"]
values = [1, 0]
"""


def test_method_files(tmp_path: Path, thorough: bool, trials: Callable[[int], None]) -> None:
    path = tmp_path / "mine.toml"
    odd = (b"values = [nan, inf]", b"method = 1", b"a." * 5000 + b"a = 1", b"x = " + b"[" * 5000)

    @examples(500 if thorough else 50)
    @given(mutated(TOML))
    @always(*(line + b"\n" + TOML for line in odd))
    def holds(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(QdebiasError):
            assert presets.get(str(path)).method is not Vanilla
        trials(1)

    holds()
