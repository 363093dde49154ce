"""A thousand hostile and odd files: each is scored, or gives the one error that is expected of it."""

import json
import os
import re
import subprocess
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError, features

from command import assert_calm, qdebias
from corpus import Built, all_cases, build
from corpus.names import NAMES, absent_paths
from corpus.pictures import encoded
from qdebias.backends.fake import FakeBackend
from qdebias.errors import ImageError
from qdebias.image import load_image
from qdebias.inputs.addresses import is_there
from qdebias.inputs.items import container_kind
from qdebias.methods.plan import Failure
from qdebias.runs.scorer import Scorer

LONGEST = 5.0
"""Seconds after which a file counts as one that hangs."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    return build(all_cases(), tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def results(corpus: list[Built]) -> list[str | None]:
    """The error of each file from Python, None where it was scored."""
    scorer = Scorer(backend=FakeBackend(), method="vanilla")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the command line does
        got = list(scorer.score_many([built.path for built in corpus], on_error="return"))
    return [result.error if isinstance(result, Failure) else None for result in got]


def test_there_are_hundreds_of_different_files(corpus: list[Built]) -> None:
    assert len(corpus) >= 300
    assert len({built.path for built in corpus}) == len(corpus)


@pytest.mark.filterwarnings("ignore:IM image format is deprecated:DeprecationWarning")
def test_every_format_that_pillow_knows_is_there(corpus: list[Built]) -> None:
    """As a file that Pillow itself takes for one of that format."""
    Image.init()
    found = set()
    for built in corpus:
        if built.case.kind in ("format", "rare"):
            with suppress(UnidentifiedImageError), Image.open(built.path) as picture:
                found.add(str(picture.format).upper())
    assert found - {"MPO"} == set(Image.OPEN) - (set() if features.check("avif") else {"AVIF"})


def test_each_file_is_scored_or_gives_its_one_error(corpus: list[Built], trials: Callable[[int], None]) -> None:
    for built in corpus:
        start = time.monotonic()
        try:
            pixels = load_image(built.path)
        except ImageError as error:
            message = str(error)
            assert built.case.error is not None, message
            assert re.search(built.case.error, message.removeprefix(str(built.path))), message
            assert message.startswith(str(built.path)), message
        else:
            assert built.case.error is None or built.case.whole is not None, built.path
            if built.case.whole is not None:
                np.testing.assert_array_equal(pixels, pixels_of(built.case.whole, built.path), str(built.path))
        assert time.monotonic() - start < LONGEST, built.path
    trials(len(corpus))


def pixels_of(data: bytes, beside: Path) -> np.ndarray:
    whole = beside.with_name("whole")
    whole.write_bytes(data)
    pixels = load_image(whole)
    whole.unlink()
    return pixels


def test_a_run_over_all_of_them_goes_on_to_the_end(
    corpus: list[Built], results: list[str | None], tmp_path: Path, trials: Callable[[int], None]
) -> None:
    """From the command line with a run folder, twice: the second time nothing is asked, and the rows are the same."""
    paths = [str(built.path) for built in corpus]
    arguments = ("score", "--model", "fake", "--method", "vanilla", "--json", "--run", tmp_path / "run", *paths)
    first, again = qdebias(*arguments), qdebias(*arguments)
    for result in (first, again):
        assert_calm(result, 1)
    rows = [json.loads(line) for line in first.stdout.split("\n") if line]
    once = {Path(path).resolve() if is_there(path) else path: path for path in reversed(paths)}
    named = [place for place, path in enumerate(paths) if path in set(once.values())]
    assert len(paths) - 3 < len(named) < len(paths), "a link to a file that is named too counts once"
    assert [os.fsencode(row["path"]) for row in rows] == [os.fsencode(paths[place]) for place in named]
    for row, error in zip(rows, [results[place] for place in named], strict=True):
        assert (
            row["error"] == error
            or "needs more memory than is available" in row["error"]
            or (container_kind(row["path"]) == "video" and "is damaged, or no video" in row["error"])
        ), row
        assert (row["score"] is None) == (row["error"] is not None)
    assert again.stdout == first.stdout
    changed = sum(
        built.path.is_symlink() and str(built.path.readlink()).startswith("/proc/") for built in corpus
    )  # those of another process
    assert f"{len(named) - changed} images were done before" in again.stderr
    trials(2 * len(paths))


def test_any_name_can_be_typed(corpus: list[Built], tmp_path: Path, trials: Callable[[int], None]) -> None:
    """Also one with a leading dash, behind `--`, and one that looks like a pattern."""
    folder = next(built.path.parent for built in corpus if built.case.kind == "name")
    names = [os.fsdecode(name) for name in NAMES.values()]
    out = tmp_path / "scores.csv"
    result = qdebias(
        "score", "--model", "fake", "--method", "vanilla", "--json", "--out", out, "--", *names, folder=folder
    )
    assert_calm(result, 0)
    rows = [json.loads(line) for line in result.stdout.split("\n") if line]
    assert [os.fsencode(row["path"]) for row in rows] == list(NAMES.values())
    assert not (folder / "pwned").exists()
    trials(len(names))


def test_names_are_shown_without_what_a_terminal_obeys(corpus: list[Built]) -> None:
    folder = next(built.path.parent for built in corpus if built.case.kind == "name")
    result = qdebias("score", "--model", "fake", "--method", "vanilla", folder)
    assert_calm(result, 0)
    lines = result.stdout.rstrip("\n").split("\n")
    assert len(lines) == len([name for name in NAMES.values() if not name.startswith(b".")])
    assert not [char for line in lines for char in line if char != "\t" and not char.isprintable()]


def test_paths_that_lead_nowhere_fail_beside_the_rest(corpus: list[Built], trials: Callable[[int], None]) -> None:
    folder = next(built.path.parent for built in corpus if built.case.kind == "path")
    absent = absent_paths(folder)
    result = qdebias("score", "--model", "fake", "--method", "vanilla", "--json", folder / "sound.png", *absent)
    assert_calm(result, 1)
    rows = {row["path"]: row["error"] for row in map(json.loads, result.stdout.splitlines())}
    assert rows.pop(str(folder / "sound.png")) is None
    assert set(rows) == set(absent)
    for path, pattern in absent.items():
        assert re.search(pattern, rows[path].removeprefix(path)), rows[path][-200:]
        alone = qdebias("score", "--model", "fake", path)
        assert_calm(alone, 2)
        assert alone.stderr.startswith("error: nothing to score: ")
    trials(2 * len(absent))


def test_folders_deeper_than_calls_can_be_are_searched(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1100):
        folder = folder / "d"
        folder.mkdir()
    (folder / "x.png").write_bytes(encoded("PNG"))
    try:
        result = qdebias("score", "--model", "fake", "--method", "vanilla", "--json", tmp_path)
    finally:
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # what removes old tests calls itself for each folder
    assert_calm(result, 0)
    assert json.loads(result.stdout)["path"] == str(folder / "x.png")


def test_folders_that_lead_into_themselves_are_searched_once(tmp_path: Path) -> None:
    """Also with a line break and an escape sequence in the name of one."""
    odd = tmp_path / "two\nlines \x1b[31m"
    for folder in (tmp_path / "sub", odd):
        folder.mkdir()
        (folder / "x.png").write_bytes(encoded("PNG"))
    for name, target in (("self", "."), ("again", "."), ("up", ".."), ("far", "self/self/up/sub"), ("nowhere", "gone")):
        (tmp_path / "sub" / name).symlink_to(target)
    for folder in (tmp_path, tmp_path / "sub" / "self" / "self" / "up"):
        for argument in (folder, folder / "**" / "*.png", folder / "*" / "**" / "*.png"):
            result = qdebias("score", "--model", "fake", "--method", "vanilla", "--json", argument)
            assert_calm(result, 0)
            found = [json.loads(line)["path"] for line in result.stdout.splitlines()]
            assert found == [f"{folder}/sub/x.png", f"{folder}/{odd.name}/x.png"], argument


def test_a_file_without_permission_is_one_clear_error() -> None:
    """By a user who may not read it, also where the tests run as one who may read everything."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        path = Path(made, "locked.png")
        path.write_bytes(encoded("PNG"))
        path.chmod(0)
        if os.geteuid() != 0:
            assert _refused(path) == 0
            return
        child = os.fork()
        if child == 0:  # nothing of pytest is run twice
            os.seteuid(65534)
            os._exit(_refused(path))
        assert os.waitpid(child, 0)[1] == 0


def _refused(path: Path) -> int:
    """Return 0 where reading is refused with the words that name the cause."""
    try:
        load_image(path)
    except ImageError as error:
        return 0 if str(error) == f"{path}: cannot be read, permission denied" else 1
    return 2
