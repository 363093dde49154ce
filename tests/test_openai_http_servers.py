"""Servers of every kind: how they spell tokens and list models, what they refuse, and where a reply begins."""

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contract import SAME, pair, picture
from qdebias.backends.openai_http import connection
from qdebias.backends.openai_http.backend import load_openai
from qdebias.backends.openai_http.chat import candidates, option_logprobs
from qdebias.backends.openai_http.connection import refusal, server_words
from qdebias.errors import BackendError, ImageError, OptionError, QdebiasError, SettingError
from qdebias.methods.plan import Failure
from qdebias.runs.scorer import Scorer
from stub_server import Fault, Stub, serving

ASKED = [replace(pair(1, 2), questions=(SAME,))]
CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_backoff", connection.wait_random_exponential(multiplier=0.01, max=0.02))


def on_chats(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, Any], Any]:
    return lambda path, answer: change(answer) if path == CHAT and "choices" in answer else answer


def with_list(**logprobs: float) -> Callable[[str, Any], Any]:
    """Return what replaces each list of a server by one of these."""

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in logprobs.items()]
        return {**answer, "choices": [{"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}

    return on_chats(change)


def p_yes(stub: Stub, **settings: Any) -> float:
    with serving(stub) as url:
        ((logits,),) = load_openai(f"{url}#{stub.model}", patience=0.2, **settings).option_logits(ASKED)
    return float(1 / (1 + np.exp(logits[1] - logits[0])))


def error_of(stub: Stub, **settings: Any) -> str:
    with serving(stub) as url, pytest.raises(QdebiasError) as caught:
        load_openai(f"{url}#{stub.model}", patience=0.2, **settings).option_logits(ASKED)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the space before a reply

BOTH = {" Yes": -0.1, " No": -2.4, "Yes": -6.0, "No": -5.0}
SPACED, BARE = 1 / (1 + math.exp(-2.4 + 0.1)), 1 / (1 + math.exp(-5 + 6))


@pytest.mark.parametrize(("gap", "want"), [(" ", SPACED), ("", BARE)])
@pytest.mark.parametrize("prompt", ["checked", "trusted", "no-prefix"])
def test_the_space_before_a_reply_is_found_by_counting(gap: str, want: float, prompt: Any) -> None:
    assert p_yes(Stub(shape="other", gap=gap, rewrites=with_list(**BOTH)), prompt=prompt) == pytest.approx(want)


class Trimming(Stub):
    """Its template trims replies; "photograph" is one token behind a space, and two without."""

    def render(self, body: Any) -> Any:
        messages = [
            {**one, "content": one["content"].strip()} if one["role"] == "assistant" else one
            for one in body["messages"]
        ]
        return super().render({**body, "messages": messages})

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return ids + ids[:1] * (text.count("photograph") - text.count(" photograph"))


@pytest.mark.parametrize(("gap", "want"), [(" ", SPACED), ("", BARE)])
def test_the_space_is_found_where_the_template_trims_replies(gap: str, want: float) -> None:
    assert p_yes(Trimming(shape="other", gap=gap, rewrites=with_list(**BOTH))) == pytest.approx(want)


def test_a_space_that_ends_the_prompt_belongs_to_no_reply() -> None:
    class Ending(Stub):
        def render(self, body: Any) -> Any:
            text, images = super().render(body)
            return (f"{text} " if text.endswith("<|assistant|>") else text), images

    assert p_yes(Ending(shape="other", gap=" ", rewrites=with_list(**BOTH))) == pytest.approx(BARE)


def test_without_a_count_the_clearly_likelier_spelling_is_read() -> None:
    assert p_yes(Stub(shape="other", usage=False, rewrites=with_list(**BOTH))) == pytest.approx(SPACED)
    bare = {"Yes": -0.1, "No": -2.4, " Yes": -6.0, " No": -5.0}
    assert p_yes(Stub(shape="other", usage=False, rewrites=with_list(**bare))) == pytest.approx(SPACED)


def test_two_spellings_that_cannot_be_told_apart_are_refused() -> None:
    near = {" Yes": -1.0, " No": -1.4, "Yes": -1.6, "No": -2.0}
    stub = Stub(shape="other", usage=False, rewrites=with_list(**near))
    assert "both with and without a space before it" in error_of(stub)
    assert p_yes(stub, prompt="trusted") == pytest.approx(1 / (1 + math.exp(-0.4)))


# --- one image that is refused


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(400, '{"error": {"message": "content management policy", "code": "x"}}'), "400: content man"),
        (Fault(403, '{"error": {"message": "input was flagged"}}'), "input was flagged"),
        (Fault(404, '{"detail": "no processor"}'), "no processor"),
        (Fault(500, '{"error": {"message": "height:28 must be larger"}}'), "500: height:28"),
        (Fault(502, "{}"), "502"),
        (Fault(200, "{}"), "without log-probabilities"),
        (Fault(200, ""), "something else than JSON"),
        (Fault(200, '{"error": {"message": "cannot read it", "code": 422}}'), "422: cannot read it"),
        (Fault(200, '{"choices": [{"finish_reason": "content_filter", "logprobs": null}]}'), "'content_filter'"),
        (Fault(200, "{}", cut=True, hang=0), "without log-probabilities|broke off|something else"),
        (Fault(hang=0.4), "did not answer within"),
    ],
)
def test_a_server_that_refuses_one_image_costs_that_image(fault: Fault, words: str) -> None:
    stub = Stub(shape="other", refuses=lambda images: fault if images[-1].shape[1] == 400 else None)
    with serving(stub) as url:
        backend = load_openai(f"{url}#{stub.model}", patience=0.1, timeout=0.25)
        images = [picture(1, 40, 40), picture(2, 40, 400), picture(3, 40, 40)]
        first, refused, last = Scorer(backend=backend, method="vanilla", batch=3).score_many(images, on_error="return")
    assert not isinstance(first, Failure)
    assert not isinstance(last, Failure)
    assert isinstance(refused, Failure)
    assert "\n" not in refused.error
    assert any(word in refused.error for word in words.split("|")), refused.error
    assert "a grey image of 64 x 64 pixels is answered" in refused.error


def test_an_option_that_is_missing_for_one_image_costs_that_image() -> None:
    stub = Stub(shape="other")
    stub.rewrites = on_chats(lambda answer: without(" poor", answer) if stub.received[-1:] and odd(stub) else answer)

    def odd(stub: Stub) -> bool:
        return stub.received[-1].shape[1] == 400

    def without(word: str, answer: dict[str, Any]) -> dict[str, Any]:
        top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        top = [one for one in top if one["token"] != word]
        return answer | {"choices": [{"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}

    with serving(stub) as url:
        backend = load_openai(f"{url}#{stub.model}", concurrency=1)
        images = [picture(1, 40, 40), picture(2, 40, 400)]
        sound, failed = Scorer(backend=backend, method="vanilla").score_many(images, on_error="return")
    assert not isinstance(sound, Failure)
    assert isinstance(failed, Failure)
    assert "' poor' is not among" in failed.error


@pytest.mark.parametrize("status", [400, 500])
def test_what_fails_for_every_image_ends_the_run(status: int) -> None:
    stub = Stub(shape="other", always=Fault(status, '{"error": {"message": "no eyes"}}'))
    with serving(stub) as url, pytest.raises(BackendError, match="no eyes") as caught:
        load_openai(f"{url}#{stub.model}", patience=0.1).option_logits(ASKED)
    assert not isinstance(caught.value, ImageError)


def test_a_rate_limit_is_no_fault_of_an_image() -> None:
    stub = Stub(shape="other", refuses=lambda images: Fault(429, "{}") if images[-1].std() else None)
    assert "answers 429" in error_of(stub)


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_wrong_with_one_image_is_not_said_of_the_key_or_the_model(status: int) -> None:
    refused = Fault(status, json.dumps({"error": {"message": "content filter"}}))
    stub = Stub(shape="other", refuses=lambda images: refused if images[-1].std() else None)
    told = error_of(stub)
    assert f"answers {status}: content filter (a grey image" in told
    assert "QDEBIAS_API_KEY" not in told
    assert "name of the model" not in told


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "cp1252"])
def test_words_of_a_server_are_read_in_its_character_set(charset: str) -> None:
    data = '{"error": {"message": "caf\u00e9"}}'.encode(charset)
    assert connection._decoded(data, charset) == '{"error": {"message": "caf\u00e9"}}'
    assert "caf" in connection._decoded('"caf\u00e9"'.encode("latin-1"), "klingon")


def test_a_server_with_a_shorter_list_is_asked_for_a_shorter_one() -> None:
    stub = Stub(shape="other", limit=5, rewrites=with_list(**BOTH))
    with serving(stub) as url:
        backend = load_openai(f"{url}#{stub.model}", prompt="trusted")
        assert len(backend.option_logits(ASKED)) == len(ASKED)
        with pytest.raises(BackendError, match="at most 5"):
            load_openai(f"{url}#{stub.model}", prompt="trusted", top_logprobs=20)


# --- tokens


@pytest.mark.parametrize("told", ["spelled", "absent", "true"])
@pytest.mark.parametrize("spell", [lambda word: word.replace(" ", "\u0120"), lambda word: word.replace(" ", "\u2581")])
def test_tokens_are_read_as_vocabularies_spell_them(spell: Callable[[str], str], told: str) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        for one in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            spelled = spell(one["token"])
            true = list(one["token"].encode())
            one["bytes"] = {"spelled": list(spelled.encode()), "absent": None, "true": true}[told]
            one["token"] = spelled
        return answer

    plain, spelled = Stub(shape="other"), Stub(shape="other", rewrites=on_chats(change))
    assert p_yes(spelled) == p_yes(plain)


@pytest.mark.parametrize(
    ("tokens", "want"),
    [
        (["\u0120good", "\u010a", "\u00c3\u00a9"], [b" good", b"\n", b"\xc3\xa9"]),
        (["\u2581good", "<0x0A>", "<0x20>"], [b" good", b"\n", b" "]),
        ([" good", "\u0120", "\u2581"], [b" good", "\u0120".encode(), "\u2581".encode()]),
        (["good", "\ud83d"], [b"good", b"\xed\xa0\xbd"]),
        (["b' good'", 'b"\\xe9"', "bytes:\\x20poor", "bytes:a"], [b" good", b"\xe9", b" poor", b"bytes:a"]),
    ],
)
def test_spellings_of_tokens(tokens: list[str], want: list[bytes]) -> None:
    top = [{"token": token, "logprob": -1.0} for token in tokens]
    reply = {"choices": [{"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}
    assert [one.text for one in candidates(reply)] == want


@pytest.mark.parametrize(
    "entry",
    [
        *(None, 7, [], "x", {}, {"token": None, "logprob": -1}, {"token": "x", "logprob": None}),
        *({"token": "x", "logprob": 10**400}, {"token": "x", "logprob": "much"}),
        {"token": "token_id:x", "logprob": -1},
        {"token": "x", "logprob": -1, "bytes": [300, -1]},
    ],
)
def test_an_entry_of_odd_types_is_passed_over(entry: Any) -> None:
    top = [{"token": " good", "logprob": -1.0}, entry]
    reply = {"choices": [{"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}
    assert candidates(reply)[0].text == b" good"


def test_a_list_of_one_token_has_its_true_reason() -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = []
        return answer

    stub = Stub(shape="other", rewrites=on_chats(change))
    assert "it ignores top_logprobs" in error_of(stub)
    assert not stub.received


# --- lists of models and names of fields

M = {"id": "stub/model"}


@pytest.mark.parametrize(
    "listed",
    [
        *([M], {"data": [M]}, {"models": [{"name": "stub/model"}]}, {"models": [{"model": "stub/model"}]}),
        ["stub/model"],
        *({"stub/model": {"max": 7}}, {"data": {"stub/model": {}}}, {"data": [7, None, M]}),
        *({"data": []}, {}, None, 7, "x"),
        {"object": "list", "data": [{"id": "other", "aliases": ["stub/model"]}, {"id": "third", "aliases": 7}]},
    ],
)
def test_lists_of_models_have_many_forms(listed: Any) -> None:
    stub = Stub(shape="other", model="stub/model")
    if isinstance(listed, dict) and listed.get("data") and "aliases" in str(listed):
        stub.model = "other"
    stub.rewrites = lambda path, answer: listed if path == "/v1/models" else answer
    with serving(stub) as url:
        load_openai(f"{url}#stub/model", patience=0.1).option_logits(ASKED)


def test_a_name_that_a_list_lacks_is_told_with_those_it_has() -> None:
    stub = Stub(shape="other", rewrites=lambda path, answer: ["a", "b"] if path == "/v1/models" else answer)
    with serving(stub) as url:
        with pytest.raises(BackendError, match="does not serve the model 'x'; it serves: a, b"):
            load_openai(f"{url}#x")
        with pytest.raises(SettingError, match="lists 2 models; name the one you mean after a #: a, b"):
            load_openai(url)


def test_a_server_that_wants_max_completion_tokens_gets_it() -> None:
    class Newer(Stub):
        def complete(self, body: Any) -> Any:
            if "max_tokens" in body:
                return {"error": {"message": "Unsupported parameter: use 'max_completion_tokens'.", "code": 400}}
            return super().complete(body)

    stub = Newer(shape="other")
    assert p_yes(stub) == p_yes(Stub(shape="other"))
    assert {body["max_completion_tokens"] for body in stub.chats()} == {1}


# --- answers that are no answers


@pytest.mark.parametrize(
    "body",
    [
        *("[" * 100_000, '{"a":' * 100_000, '{"choices": ' + "9" * 5000 + "}", "[1]", "7", '"x"', "null"),
        *("NaN", "\ud800"),
        *('{"choices": 7}', '{"choices": {}}', '{"choices": [7]}', '{"choices": [{"logprobs": {"content": [[]]}}]}'),
        *('{"model": [], "choices": []}', '{"usage": 7}', '{"error": 7}'),
        '{"error": {"message": {"a": [1]}, "code": "x"}}',
    ],
)
def test_odd_answers_are_one_line(body: str) -> None:
    stub = Stub(shape="other")
    data = body.encode("utf-8", "surrogatepass").decode("latin-1")
    stub.always = Fault(200, data)
    assert error_of(stub)


@pytest.mark.parametrize("worth", ["-inf", "-Infinity", float("-inf"), -9999.0])
def test_an_option_without_a_probability_is_missing_and_no_score(worth: float | str) -> None:
    """JSON has no infinity: some servers write it as text, and clients leave it so."""
    listed = [{"token": " good", "logprob": -1.0}, {"token": " poor", "logprob": worth}]
    reply = {"choices": [{"logprobs": {"content": [{**listed[0], "top_logprobs": listed}]}}]}
    with pytest.raises(OptionError, match="option ' poor' is not among the 2 tokens"):
        option_logprobs(reply, (" good", " poor"), None, "ask for more")


def test_words_of_a_server_hold_no_control_characters() -> None:
    assert server_words({"error": "a\x1b[31mb\x00c\u202ed"}, "") == "a [31mb c d"


@pytest.mark.parametrize("after", ["inf", "nan", "1e999", "9" * 400, "Wed, 21 Oct 99999 07:28:00 GMT"])
def test_a_wait_without_end_is_not_kept(after: str) -> None:
    assert refusal(429, "", {"retry-after": after}, url="u", has_key=False).retry_after == 0.0  # type: ignore[attr-defined]


def bomb(coding: str) -> Callable[[Any, int, Any], None]:
    def answer(handler: Any, _: int, __: Any) -> None:
        data = gzip.compress(bytes(50_000_000)) if coding == "gzip" else b"{}"
        handler.send(200, data, {"content-encoding": coding})

    return answer


@pytest.mark.parametrize(
    ("coding", "words"), [("gzip", "answers with more than 1 MiB"), ("br", "packs its answer ('br') although")]
)
def test_answers_are_bounded_when_unpacked_too(coding: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_BYTES", 1 << 20)
    stub = Stub(shape="other")
    monkeypatch.setattr("stub_server._Handler.answer", bomb(coding))
    assert words in error_of(stub)


def test_a_packed_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    want = p_yes(Stub(shape="other"))

    def packed(handler: Any, status: int, body: Any) -> None:
        handler.send(status, gzip.compress(json.dumps(body).encode()), {"content-encoding": "gzip"})

    monkeypatch.setattr("stub_server._Handler.answer", packed)
    assert p_yes(Stub(shape="other")) == want


def test_an_answer_that_comes_byte_by_byte_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(response: Any, url: str) -> bytes:  # noqa: ARG001
        while True:
            await connection.anyio.sleep(0.01)

    stub = Stub(shape="other")
    with serving(stub) as url:
        backend = load_openai(f"{url}#{stub.model}", patience=0.1, timeout=0.1)
        monkeypatch.setattr(connection, "_content", drip)
        with pytest.raises(BackendError, match=r"did not answer within 0\.1 s"):
            backend.option_logits(ASKED)


def test_a_tokenizer_that_answers_no_numbers_is_one_line() -> None:
    stub = Stub(shape="llama.cpp")
    stub.rewrites = lambda path, answer: {"tokens": 7} if path == "/tokenize" else answer
    assert "tokens that are not numbers" in error_of(stub)
