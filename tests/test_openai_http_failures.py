"""Whatever goes wrong with a server is told in one clear line, and never costs the key."""

import logging
import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract import QUALITY, assert_same, pair, picture
from qdebias.backends.openai_http import connection
from qdebias.backends.openai_http.backend import load_openai
from qdebias.backends.openai_http.connection import PassingError, refusal, server_words
from qdebias.errors import BackendError, ImageError, QdebiasError, SettingError
from qdebias.methods.plan import Failure
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend
from stub_server import Fault, Stub, serving

KEY = "sk-very-secret-0123456789"
ONE = [replace(pair(1, 2), questions=(QUALITY,))]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = connection.wait_random_exponential(multiplier=0.01, max=0.05)
    monkeypatch.setattr(connection, "_backoff", backoff)
    for name in ("QDEBIAS_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def url(stub: Stub) -> Iterator[str]:
    with serving(stub) as address:
        yield f"{address}#{stub.model}"


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def failure_of(url: str, patience: float = 0.2, timeout: float = 0.2) -> str:
    """Return the line that a backend fails with when it is asked."""
    backend = load_openai(url, patience=patience, timeout=timeout)
    with pytest.raises(QdebiasError) as caught:
        backend.option_logits(ONE)
    return one_line(caught.value)


# --- each failure has its line


def test_server_that_is_not_there() -> None:
    start = time.monotonic()
    with pytest.raises(BackendError, match=r"cannot reach http://127.0.0.1:9/v1/models .*start the server, or correct"):
        load_openai("http://127.0.0.1:9/v1")
    assert time.monotonic() - start < 20, "a wrong URL is told without waiting for the patience of 300 s"


def test_401_with_and_without_a_key(stub: Stub, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.key = KEY
    with pytest.raises(BackendError, match=r"refuses the key \(401\); set .* QDEBIAS_API_KEY: there is none"):
        load_openai(url)
    monkeypatch.setenv("QDEBIAS_API_KEY", "another")
    with pytest.raises(BackendError, match=r"\(401\).* the key in it is wrong"):
        load_openai(url)
    monkeypatch.setenv("QDEBIAS_API_KEY", KEY)
    load_openai(url).option_logits(ONE)


def test_429_that_lasts(stub: Stub, url: str) -> None:
    stub.always = Fault(429, '{"error": {"message": "Rate limit reached"}}')
    assert re.search("answers 429: Rate limit reached; ask less at a time", failure_of(url))
    assert len(stub.chats()) > 2


def test_429_that_asks_for_more_than_there_is_patience_for(stub: Stub, url: str) -> None:
    stub.always = Fault(429, "{}", {"Retry-After": "3600"})
    assert "429" in failure_of(url)
    assert len(stub.chats()) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_server_that_stays_away(status: int, stub: Stub, url: str) -> None:
    stub.always = Fault(status, '{"error": {"message": "Loading model"}}')
    assert f"answers {status}: Loading model; wait until it is up" in failure_of(url)


def test_500(stub: Stub, url: str) -> None:
    stub.always = Fault(500, '{"error": {"message": "image input is not supported"}}')
    assert "answers 500: image input is not supported; its log says why" in failure_of(url, patience=60)
    assert len(stub.chats()) == 3 + 1, "once more with a grey image"


def test_timeout(stub: Stub, url: str) -> None:
    stub.always = Fault(hang=0.3)
    assert "did not answer within 0.1 s; raise timeout" in failure_of(url, patience=60, timeout=0.1)


def test_half_a_response(stub: Stub, url: str) -> None:
    stub.always = Fault(body='{"choices": []}' * 20, cut=True)
    assert "broke off in the middle of its answer" in failure_of(url)


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "", "[1, 2]", '{"choices": [{"mess'])
def test_something_else_than_json(body: str, stub: Stub, url: str) -> None:
    stub.always = Fault(body=body)
    assert "answers with something else than JSON" in failure_of(url)


@pytest.mark.parametrize("body", ["{}", '{"choices": []}', '{"choices": [{"logprobs": {"content": []}}]}'])
def test_answer_without_logprobs(body: str, stub: Stub, url: str) -> None:
    stub.always = Fault(body=body)
    assert "answers without log-probabilities although they were requested" in failure_of(url)


def test_server_that_ignores_logprobs_is_refused_before_the_first_image(stub: Stub, url: str) -> None:
    stub.logprobs = False
    with pytest.raises(BackendError, match=r"answers without log-probabilities .* use a server that supports logprobs"):
        load_openai(url)
    assert not stub.received


def test_wrong_model(url: str) -> None:
    with pytest.raises(BackendError, match=r"does not serve the model 'gpt'; it serves: stub/model"):
        load_openai(url.replace("stub/model", "gpt"))


def test_url_that_is_no_api(url: str) -> None:
    with pytest.raises(SettingError, match="lists no models"):
        load_openai(url.replace("/v1#stub/model", "/v2"))
    with pytest.raises(BackendError, match=r"answers 404: Not Found; correct the name of the model, or the path"):
        load_openai(url.replace("/v1", "/v2"))


def test_model_that_changes_underway(stub: Stub, url: str) -> None:
    backend = load_openai(url)
    stub.reports = "stub/other"
    with pytest.raises(BackendError, match="answers as 'stub/other' and no longer as 'stub/model'"):
        backend.option_logits(ONE)


def test_redirect_is_not_followed(stub: Stub, url: str) -> None:
    stub.always = Fault(307, "{}", {"Location": "http://127.0.0.1:9/v1"})
    assert "it redirects to http://127.0.0.1:9/v1: name that URL instead" in failure_of(url)


def test_other_refusals_are_quoted(stub: Stub, url: str) -> None:
    stub.always = Fault(400, '{"object": "error", "message": "At most 1 image(s)\\n may be provided"}')
    assert "answers 400: At most 1 image(s) may be provided" in failure_of(url)
    assert len(stub.chats()) == 1 + 1, "once more with a grey image"


def test_limit_of_the_list_is_told_before_the_first_image(stub: Stub, url: str) -> None:
    stub.limit = 5
    with pytest.raises(BackendError, match="top_logprobs must be at most 5"):
        load_openai(url)
    assert not stub.received
    load_openai(url, top_logprobs=5)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(413, "Request Entity Too Large"),
        Fault(400, '{"error": {"message": "The prompt (total length 9000) is too long to fit into the model"}}'),
        Fault(400, '{"error": {"message": "request (9000 tokens) exceeds the available context size (4096 tokens)"}}'),
    ],
)
def test_images_that_are_too_large_fail_alone(fault: Fault, stub: Stub, url: str) -> None:
    stub.refuses = lambda images: fault if any(image.shape[1] == 400 for image in images) else None
    backend = load_openai(url, concurrency=1)
    large = replace(ONE[0], images=(picture(1, 40, 400), picture(2, 40, 40)))
    with pytest.raises(ImageError, match="the images are more than the server takes; make them smaller"):
        backend.option_logits([large])
    results = Scorer(backend=backend, method="vanilla", batch=4).score_many(
        [picture(1, 40, 40), picture(2, 40, 400), picture(3, 40, 40)], on_error="return"
    )
    assert [isinstance(result, Failure) for result in results] == [False, True, False]


@pytest.mark.parametrize(
    ("body", "text", "words"),
    [
        ({"error": {"message": "a\nb"}}, "", "a b"),
        ({"error": "plain"}, "", "plain"),
        ({"detail": [{"msg": "Field required"}]}, "", "Field required"),
        ({"message": "m"}, "", "m"),
        (None, "<html>  no  </html>", "<html> no </html>"),
        ({"odd": 1}, '{"odd": 1}', '{"odd": 1}'),
        (None, "x" * 1000, "x" * 300 + "..."),
    ],
)
def test_words_of_a_server(body: object, text: str, words: str) -> None:
    assert server_words(body, text) == words


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float) -> None:
    error = refusal(429, "", {"retry-after": header}, url="u", has_key=False)
    assert isinstance(error, PassingError)
    assert (error.retry_after, error.tries) == (seconds, math.inf)


# --- what passes is survived


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, "{}", {"Retry-After": "0.05"}),
        Fault(500),
        Fault(503),
        Fault(hang=0.3),
        Fault(body="{}" * 50, cut=True),
        Fault(body="<html>"),
    ],
    ids=["429", "500", "503", "timeout", "half", "html"],
)
def test_failures_that_pass_change_nothing(fault: Fault, stub: Stub, url: str) -> None:
    requests = [pair(n, n + 1) for n in range(4)]
    backend = load_openai(url, timeout=0.2)
    want = backend.option_logits(requests)
    stub.faults = deque([fault] * 2)
    assert_same(backend.option_logits(requests), want)


def test_retry_after_is_waited_for(stub: Stub, url: str) -> None:
    backend = load_openai(url)
    stub.faults = deque([Fault(429, "{}", {"Retry-After": "0.3"})])
    start = time.monotonic()
    backend.option_logits(ONE)
    assert time.monotonic() - start > 0.3


def test_waits_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    state = connection.RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    longest = []
    for state.attempt_number in (1, 3, 20):
        waits = {connection._backoff(state) for _ in range(200)}
        assert len(waits) > 150
        longest.append(max(waits))
    assert 0.3 < longest[0] <= 0.5 < longest[1] <= 2 < longest[2] <= 30


def test_server_that_restarts_underway_loses_and_repeats_nothing(stub: Stub) -> None:
    requests = [pair(n, n + 1) for n in range(8)]
    stub.delay = lambda: 0.02
    with serving(stub) as address:
        port = int(address.rpartition(":")[2].removesuffix("/v1"))
        backend = load_openai(address, concurrency=2)
        want = backend.option_logits(requests[:1])
    answers: list = []
    waiting = threading.Thread(target=lambda: answers.append(backend.option_logits(requests)))
    waiting.start()
    time.sleep(0.2)
    with serving(stub, port):
        waiting.join()
    (got,) = answers
    assert_same(got[:1], want)
    asked = [str(body["messages"]) for body in stub.chats()]
    assert len(set(asked)) == 16


def test_another_model_after_a_restart_is_refused(stub: Stub) -> None:
    stub.shape = "llama.cpp"
    with serving(stub) as address:
        port = int(address.rpartition(":")[2].removesuffix("/v1"))
        backend = load_openai(address)
    stub.gap = " "
    failures: list[BackendError] = []

    def ask() -> None:
        with pytest.raises(BackendError) as caught:
            backend.option_logits(ONE)
        failures.append(caught.value)

    waiting = threading.Thread(target=ask)
    waiting.start()
    time.sleep(0.1)
    with serving(stub, port):
        waiting.join()
    assert "came back with another model" in one_line(failures[0])


# --- the key


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503])
def test_key_shows_nowhere(
    status: int, stub: Stub, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("QDEBIAS_API_KEY", KEY)
    stub.key = KEY
    backend = load_openai(url, patience=0.05)
    backend.option_logits(ONE)
    stub.always = Fault(status, f'{{"error": {{"message": "your key {KEY} is not liked"}}}}')
    with pytest.raises(QdebiasError) as caught:
        backend.option_logits(ONE)
    shown = [
        str(caught.value),
        repr(caught.value),
        caplog.text,
        repr(backend),
        repr(vars(backend)),
        repr(backend.fingerprint),
    ]
    link: BaseException | None = caught.value
    while link is not None:
        shown.append(f"{link!r} {vars(link)}")
        link = link.__cause__ or link.__context__
    assert caplog.text
    assert not [text for text in shown if KEY in text]


def test_key_that_cannot_be_sent_is_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (f"{KEY}\nX-Evil: 1", f"{KEY} {KEY}", f"{KEY}é"):
        monkeypatch.setenv("QDEBIAS_API_KEY", key)
        with pytest.raises(SettingError, match="API key holds a space or a letter that is not ASCII") as caught:
            load_openai(url)
        assert KEY not in str(caught.value)


def test_key_in_a_redirect_is_not_quoted(stub: Stub, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDEBIAS_API_KEY", KEY)
    stub.always = Fault(307, "{}", {"Location": f"/?key={KEY}"})
    assert "it redirects to /?key=***" in failure_of(url)


def test_line_break_behind_a_key_does_not_matter(stub: Stub, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.key = KEY
    monkeypatch.setenv("QDEBIAS_API_KEY", f"{KEY}\n")
    load_openai(url)


def test_openais_key_is_for_openai_alone(stub: Stub, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(BackendError, match="there is none"):
        load_openai(url)


def test_key_is_not_in_a_run_folder(stub: Stub, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.key = KEY
    monkeypatch.setenv("QDEBIAS_API_KEY", KEY)
    backend = load_openai(url)
    with open_run(tmp_path, backend.fingerprint, model=f"openai:{url}") as run:
        StoredBackend(backend, run).option_logits(ONE)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_interrupt_ends_what_is_underway(stub: Stub, url: str) -> None:
    stub.delay = lambda: 60.0
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from contract import pair\nfrom qdebias.backends.openai_http.backend import load_openai\n"
        "load_openai(sys.argv[2]).option_logits([pair(1, 2), pair(3, 4)])"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while len(stub.chats()) < 2 and process.poll() is None:
            time.sleep(0.01)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert errors.rstrip().endswith("KeyboardInterrupt")
