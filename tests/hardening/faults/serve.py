"""What a server and its clients meet."""

import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from command import assert_calm
from faults.cable import plugged
from faults.cell import Observed
from faults.clock import JUMPS
from faults.memory import NANO
from faults.processes import assert_one_line, run, wait_until
from faults.service import DROPPED, IMAGES, Serving, alive, all_at_once, children, free_port, serving
from faults.weights import FILE, MODEL, cut_off, overwritten

TOLD = 503
"""Status of what a server that is ending no longer begins."""


@cache
def expected() -> list[float | int | None]:
    """Return the scores where nothing goes wrong."""
    with TemporaryDirectory() as folder, serving(Path(folder)) as served:
        return served.scores()


def killed(root: Path, times: int) -> Observed:
    """SIGKILL, with requests under way."""
    root.mkdir()
    chance, whole = Random("killed"), 0  # noqa: S311
    for _ in range(times):
        with _under_way(root, chance) as (served, answers):
            assert served.stop(signal.SIGKILL).returncode == -signal.SIGKILL
            whole += _check_whole_or([answer.result() for answer in answers], DROPPED)
    with serving(root) as served:
        assert served.scores() == expected()
    return Observed(
        trials=times,
        words=f"{whole} complete and correct answers, {times * len(IMAGES) - whole} "
        "broken connections; correct again afterwards",
    )


def told(root: Path, times: int) -> Observed:
    """SIGTERM, with requests under way."""
    root.mkdir()
    chance, whole = Random("told"), 0  # noqa: S311
    for _ in range(times):
        with _under_way(root, chance) as (served, answers):
            done = served.stop(signal.SIGTERM)
            assert done.returncode == -signal.SIGTERM, done
            assert "Traceback" not in done.stderr, done.stderr
            whole += _check_whole_or([answer.result() for answer in answers], DROPPED, TOLD)
    refused = times * len(IMAGES) - whole
    return Observed(
        trials=times, words=f"{whole} requests in progress answered, {refused} later ones refused, none cut short"
    )


def drops(root: Path, times: int) -> Observed:
    """Connections of clients break off in the midst of uploads and answers."""
    root.mkdir()
    chance, whole = Random("drops"), 0  # noqa: S311
    with serving(root) as served, plugged(int(served.url.rpartition(":")[2])) as cable:
        through = Serving(process=served.process, url=f"http://127.0.0.1:{cable.port}")
        for _ in range(times):
            with ThreadPoolExecutor(len(IMAGES)) as pool:
                answers = all_at_once(through, IMAGES, pool)
                _some_are_answered(answers, chance)
                cable.cut()
                cable.mend()
                whole += _check_whole_or([answer.result() for answer in answers], DROPPED)
        assert served.scores() == expected()
        assert served.metric("qdebias_held_bytes") == served.metric("qdebias_queue_images") == 0
        served.stop(signal.SIGTERM)
    return Observed(
        trials=times,
        words=f"{whole} complete and correct answers, the other connections broke; no queue slot stayed taken",
    )


def slow_model(root: Path, times: int) -> Observed:
    """A model that takes longer than the deadline."""
    root.mkdir()
    with serving(root, "--deadline", 1, model="faults.models:stalling") as served:
        for _ in range(times):
            (root / "stall").touch()
            assert served.score(IMAGES[0]) == 504
            (root / "stall").unlink()
            assert served.score(IMAGES[0]) == expected()[0]
        served.stop(signal.SIGTERM)
    return Observed(trials=times, words="504 at the deadline, scored normally afterwards")


def jumps(root: Path, _: int) -> Observed:
    """A clock that jumps by a year five times a second."""
    root.mkdir()
    with serving(root, "--deadline", 20, environment=JUMPS) as served:
        begin, rounds = time.monotonic(), 0
        while time.monotonic() - begin < 2:
            assert served.scores() == expected()
            rounds += 1
        trials = int((time.monotonic() - begin) * 5)
        served.stop(signal.SIGTERM)
    return Observed(trials=trials, words=f"{rounds * len(IMAGES)} unchanged scores, no deadline missed")


def same_port(root: Path, times: int) -> Observed:
    """A second server at the port of the first."""
    root.mkdir()
    with serving(root) as served:
        port = served.url.rpartition(":")[2]
        for _ in range(times):
            second = run(("serve", "--port", port, "--model", "fake"), folder=root)
            assert_one_line(second, rf"{port}.*in use")
            assert served.score(IMAGES[0]) == expected()[0]
        served.stop(signal.SIGTERM)
    return Observed(trials=times, words="the second refused with a one-line error, the first undisturbed")


def swapped(root: Path, times: int) -> Observed:
    """The weights are overwritten or cut off under a server."""
    root.mkdir()
    shutil.copytree(NANO, root / "model")
    with serving(root, model=MODEL) as served:
        before = served.scores(IMAGES[:4])
        assert all(isinstance(score, float) for score in before)
        for change in (overwritten, cut_off)[:times]:
            change(root / FILE)
            assert served.scores(IMAGES[:4]) == before
        served.stop(signal.SIGTERM)
    again = run(("serve", "--port", free_port(), "--model", f"model={MODEL}"), folder=root)
    assert_calm(again, 2)
    assert "error: model: a weight file is damaged, cut short" in again.stderr, again.stderr
    return Observed(
        trials=times + 1, words="the same scores to its end; then refused with a one-line error that names the file"
    )


@contextmanager
def _under_way(root: Path, chance: Random) -> "Iterator[tuple[Serving, list[Future[float | int | None]]]]":
    """Serve until some of the requests are answered; afterwards no process of the server may be left."""
    with serving(root) as served, ThreadPoolExecutor(len(IMAGES)) as pool:
        helpers = children(served.process.pid)
        answers = all_at_once(served, IMAGES, pool)
        _some_are_answered(answers, chance)
        yield served, answers
    _wait_gone(helpers)


def _some_are_answered(answers: "list[Future[float | int | None]]", chance: Random) -> None:
    """Wait until a part of the requests is answered, and the others are under way."""
    enough = chance.randrange(1, len(answers) - 2)
    wait_until(lambda: sum(answer.done() for answer in answers) >= enough)


def _check_whole_or(got: "list[object]", *others: object) -> int:
    """Return how many answers came; each that did is the right one."""
    right = [one == want for one, want in zip(got, expected(), strict=True)]
    assert all(one in others for one, is_right in zip(got, right, strict=True) if not is_right), got
    return sum(right)


def _wait_gone(helpers: list[int]) -> None:
    """The processes that a server started end with it."""
    assert helpers
    end = time.monotonic() + 10
    while any(map(alive, helpers)):
        assert time.monotonic() < end, "processes of the server were left behind"
        time.sleep(0.02)
