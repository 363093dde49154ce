"""A model behind a server, and images behind addresses, when the network breaks off or is slow."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from command import assert_calm
from faults.batch import COUNT, SCORE, Batch, forget, prepare
from faults.cable import Cable, plugged
from faults.cell import Observed, Try
from faults.models import PATIENCE, SERVER
from faults.processes import Command, assert_one_line, run, wait_until
from stub_server import Stub, serving

MODEL = "faults.models:server"

STALL = 1.5
"""Seconds: longer than `faults.models.server` waits for an answer."""


def drops(command: Batch) -> Try:
    """The connection breaks off now and then, and then for good."""
    return partial(_drops, command)


def stalls(command: Batch) -> Try:
    """Nothing comes through now and then, and then for good."""
    return partial(_stalls, command)


def _drops(command: Batch, root: Path, times: int) -> Observed:
    def disturb(cable: Cable, seconds: float) -> None:
        cable.cut()
        time.sleep(seconds)
        cable.mend()

    with _served(root) as (stub, cable):
        _passes(command, root, stub, cable, times, disturb=lambda: disturb(cable, 0.2))
        asked = _does_not_pass(command, root, stub, cable, Cable.cut, Cable.mend, "cannot reach|broke off")
    fetched = _images(root, times) if command is SCORE else 0
    rows = f"; {fetched} images that could not be fetched were rows, scored on retry" if fetched else ""
    return Observed(
        trials=times + 1 + (times + 1 if fetched else 0),
        words=f"{times} breaks survived, identical bytes; after the last a one-line "
        f"error, then only {asked} missing asked{rows}",
    )


def _stalls(command: Batch, root: Path, times: int) -> Observed:
    def disturb(cable: Cable) -> None:
        cable.squeeze()
        time.sleep(STALL)
        cable.release()

    with _served(root) as (stub, cable):
        stub.delay = lambda: 0.02
        _passes(command, root, stub, cable, times, disturb=lambda: disturb(cable))
        asked = _does_not_pass(command, root, stub, cable, Cable.squeeze, Cable.renew, "did not answer within 1 s")
    return Observed(
        trials=times + 1,
        words=f"{times} stalls survived, identical bytes; after the last a one-line "
        f"error, then only the {asked} missing asked",
    )


@contextmanager
def _served(root: Path) -> Iterator[tuple[Stub, Cable]]:
    prepare(root)
    stub = Stub(delay=lambda: 0.005)
    with serving(stub) as address, plugged(int(address.rpartition(":")[2].partition("/")[0])) as cable:
        yield stub, cable


def _at(stub: Stub, cable: Cable, patience: float = 60) -> dict[str, str]:
    return {SERVER: f"http://127.0.0.1:{cable.port}/v1#{stub.model}", PATIENCE: str(patience)}


def _passes(command: Batch, root: Path, stub: Stub, cable: Cable, times: int, *, disturb: object) -> None:
    """The command goes on by itself, and ends as if nothing had been."""
    where = _at(stub, cable)
    expected = command.complete(root, MODEL, environment=where)
    forget(root)
    chance, process = command.chance(), command.start(root, MODEL, environment=where)
    for _ in range(times):
        _wait_for(command, root, process, 1 + chance.randrange(command.total // (times + 2)))
        disturb()  # type: ignore[operator]
    done = process.finish()
    assert_calm(done, 0)
    command.check_whole(root)
    assert command.results(root, done) == expected
    forget(root)


def _does_not_pass(command: Batch, root: Path, stub: Stub, cable: Cable, begin: object, end: object, words: str) -> int:
    """The command gives up in one line, and asks only what is missing when it is given again."""
    process = command.start(root, MODEL, environment=_at(stub, cable, patience=0.5))
    _wait_for(command, root, process, command.total // 2)
    begin(cable)  # type: ignore[operator]
    assert_one_line(process.finish(), words)
    missing = COUNT - command.steps(root) * command.size
    assert 0 < missing < COUNT
    end(cable)  # type: ignore[operator]
    wait_until(lambda: stub.busy == 0)
    stub.requests.clear()
    command.complete(root, MODEL, environment=_at(stub, cable))
    assert len(stub.chats()) == missing
    return missing


def _wait_for(command: Batch, root: Path, process: Command, more: int) -> None:
    enough = command.steps(root) + more
    wait_until(lambda: command.steps(root) >= enough or not process.running())
    assert process.running(), process.finish()


def _images(root: Path, times: int) -> int:
    """Images behind addresses: short breaks are passed over, a long one costs rows, which `retry` mends."""
    forget(root)
    with _files(root) as port, plugged(port) as cable:
        names = [f"http://127.0.0.1:{cable.port}/photos/{path.name}" for path in sorted((root / "photos").iterdir())]
        (root / "list.txt").write_text("\n".join(names))
        words = ("score", "list.txt", "--model", "faults.models:slow", *SCORE.words[2:])
        process = Command(words, folder=root)
        for _ in range(times):
            _wait_for(SCORE, root, process, 4)
            cable.cut()
            cable.mend()
        _wait_for(SCORE, root, process, COUNT - 20 - SCORE.steps(root))
        cable.cut()
        assert_calm(process.finish(), 1)
        failed = [row for row in _rows(root) if row["error"] is not None]
        assert 0 < len(failed) < COUNT - 4 * times
        assert all(str(row["error"]).startswith(f"{row['path']}: ") for row in failed)
        cable.mend()
        assert_calm(run(["retry", "run"], folder=root), 0)
        assert_calm(run(words, folder=root), 0)
        scores = {str(row["path"]).rpartition("/")[2]: row["score"] for row in _rows(root)}
    forget(root)
    SCORE.complete(root, "fake")
    assert scores == {str(row["path"]).rpartition("/")[2]: row["score"] for row in _rows(root)}
    forget(root)
    return len(failed)


def _rows(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass  # broken connections are what the trials are about


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _files(root: Path) -> Iterator[int]:
    """Serve the files of a folder."""
    with _Server(("127.0.0.1", 0), partial(_Files, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
