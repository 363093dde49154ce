"""A backend on a server answers as one in this process does, whichever kind of server it is."""

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pytest

from contract import QUALITY, SAME, BackendContract, assert_same, pair, picture
from qdebias.backends.base import Backend
from qdebias.backends.openai_http.backend import OpenAIBackend, load_openai
from qdebias.backends.openai_http.chat import EncodedImages, png_url
from qdebias.errors import OptionError, PromptError, SettingError
from qdebias.prompts import Placement, Request
from qdebias.runs.scorer import Scorer
from stub_server import Shape, Stub, decode, serving

SHAPES: tuple[Shape, ...] = ("vllm", "llama.cpp", "other")


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def url(stub: Stub) -> Iterator[str]:
    with serving(stub) as address:
        yield f"{address}#{stub.model}"


class TestVllm(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with serving(Stub(shape="vllm")) as url:
            yield load_openai(url)


class TestLlama(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with serving(Stub(shape="llama.cpp")) as url:
            yield load_openai(url)


class TestOther(BackendContract):
    @pytest.fixture
    def placements(self) -> tuple[Placement, ...]:
        return ("before",)

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with serving(Stub(shape="other")) as url:
            yield load_openai(f"{url}#stub/model")


def test_all_servers_give_the_models_own_log_probabilities() -> None:
    request = pair(1, 2)
    want = []
    for question in request.questions:
        text = f"<|user|><image><image>{question.text}<|end|><|assistant|>{question.answer_prefix}"
        logprobs = Stub().distribution(text, request.images)
        want.append(np.array([logprobs[option] for option in question.options]))
    for shape in SHAPES:
        with serving(Stub(shape=shape)) as url:
            assert_same(load_openai(f"{url}#stub/model").option_logits([request]), [want])


def test_pixels_arrive_as_they_are(stub: Stub, url: str) -> None:
    request = Request(images=(picture(1, 33, 97), picture(2, 64, 80)[::-1]), questions=(QUALITY,))
    load_openai(url).option_logits([request])
    for sent, received in zip(request.images, stub.received, strict=True):
        np.testing.assert_array_equal(sent, received)


@pytest.mark.parametrize("image", [np.zeros((32, 32, 3), np.uint8), picture(3, 41, 100), picture(4, 500, 32)])
def test_png_decodes_to_the_same_pixels(image: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(png_url(image)), image)


def test_images_come_before_the_question_and_its_prefix_last(stub: Stub, url: str) -> None:
    load_openai(url).option_logits([pair(1, 2)])
    quality, same = stub.chats()
    user, assistant = quality["messages"]
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
    assert assistant == {"role": "assistant", "content": QUALITY.answer_prefix}
    assert (quality["continue_final_message"], quality["add_generation_prompt"]) == (True, False)
    assert [message["role"] for message in same["messages"]] == ["user"]
    assert "continue_final_message" not in same


def test_one_token_is_asked_for_and_nothing_stands_between_it_and_the_logits(stub: Stub, url: str) -> None:
    load_openai(url).option_logits([pair(1, 2)])
    for body in stub.chats():
        assert (body["max_tokens"], body["temperature"], body["top_p"], body["logprobs"]) == (1, 1, 1, True)
        assert body["top_logprobs"] > 0


def test_questions_of_one_request_wait_for_each_other(stub: Stub, url: str) -> None:
    stub.delay = lambda: 0.02
    load_openai(url).option_logits([pair(1, 2)])
    assert stub.busiest == 1


def test_concurrency_is_bounded(stub: Stub, url: str) -> None:
    stub.delay = lambda: 0.02
    load_openai(url, concurrency=3).option_logits([pair(1, number) for number in range(2, 12)])
    assert stub.busiest == 3


def test_answers_are_never_swapped(stub: Stub, url: str) -> None:
    requests = [Request(images=(picture(number, 32, 32),), questions=(QUALITY, SAME)) for number in range(64)]
    alone = load_openai(url, concurrency=1).option_logits(requests)
    wobble, all_there = np.random.default_rng(0), threading.Barrier(32)

    def delay() -> float:
        all_there.wait(timeout=60)
        return float(wobble.uniform(0, 0.03))

    stub.delay = delay
    together = load_openai(url, concurrency=32).option_logits(requests)
    assert stub.busiest == 32
    assert_same(alone, together)
    assert len({logits.tobytes() for logits in chain(*together)}) == 2 * len(requests)


def test_each_image_is_encoded_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: Counter[int] = Counter()
    module = sys.modules[EncodedImages.__module__]

    def counting(image: np.ndarray) -> str:
        encoded[id(image)] += 1
        return png_url(image)

    monkeypatch.setattr(module, "png_url", counting)
    query = picture(1, 64, 64)
    requests = [Request(images=(picture(n, 64, 64), query), questions=(QUALITY, SAME)) for n in range(2, 6)]
    load_openai(url).option_logits(requests)
    assert sorted(encoded.values()) == [1] * 5


def test_questions_are_checked_once(stub: Stub, url: str) -> None:
    backend = load_openai(url)
    backend.option_logits([pair(1, 2)])
    before = len(stub.requests)
    backend.option_logits([pair(3, 4)])
    assert len(stub.requests) == before + 2


def test_a_running_event_loop_is_left_alone(url: str) -> None:
    async def inside() -> None:
        loop = asyncio.get_running_loop()
        assert_same(load_openai(url).option_logits([pair(1, 2)]), want)
        assert asyncio.get_running_loop() is loop

    want = load_openai(url).option_logits([pair(1, 2)])
    asyncio.run(inside())


def test_threads_are_gone_afterwards(url: str) -> None:
    backend = load_openai(url)
    before = threading.active_count()
    backend.option_logits([pair(1, 2)])
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the stub server's own threads end when they notice that the client has gone
    assert threading.active_count() <= before


def test_scores_come_out(url: str) -> None:
    scores = list(Scorer(backend=load_openai(url)).score_many([picture(n, 40, 48) for n in range(3)]))
    assert all(0 <= score.value <= 1 and len(score.good) == 4 for score in scores)


# --- options


@pytest.mark.parametrize("shape", SHAPES)
def test_case_and_space_tell_tokens_apart(shape: Shape) -> None:
    question = replace(QUALITY, answer_prefix="", options=("Good", "good", " good"), values=(1, 1, 1))
    with serving(Stub(shape=shape)) as url:
        request = replace(pair(1, 2), questions=(question,))
        ((logits,),) = load_openai(f"{url}#stub/model").option_logits([request])
    assert len(set(logits.tolist())) == 3


def test_vllm_is_asked_for_exactly_the_options(stub: Stub, url: str) -> None:
    stub.unlikely, stub.limit = (" good", " poor"), 20
    load_openai(url, top_logprobs=1).option_logits([pair(1, 2)])
    assert stub.chats()[0]["logprob_token_ids"] == stub.encode(" good poor")


def test_older_vllm_returns_the_most_likely_tokens_instead(stub: Stub, url: str) -> None:
    stub.knows_ids = False
    assert_same(load_openai(url).option_logits([pair(1, 2)]), load_openai(url).option_logits([pair(1, 2)]))
    stub.unlikely = (" poor",)
    with pytest.raises(OptionError, match=r"' poor' is not among the 12 tokens .*logprob_token_ids .*--max-logprobs"):
        load_openai(url, top_logprobs=12).option_logits([pair(1, 2)])


def test_llama_is_asked_again_for_all_tokens() -> None:
    stub = Stub(shape="llama.cpp", unlikely=(" poor",))
    with serving(stub) as url:
        ((logits, _),) = load_openai(url, top_logprobs=3).option_logits([pair(1, 2)])
    assert logits[1] < -10
    assert [body["top_logprobs"] for body in stub.chats()][:2] == [3, 500]


def test_missing_option_is_an_error_and_never_a_zero() -> None:
    with serving(Stub(shape="other", unlikely=(" poor",))) as url:
        backend = load_openai(f"{url}#stub/model", top_logprobs=12)
        with pytest.raises(OptionError, match=r"' poor' is not among the 12 tokens .*so it has no score.*top_logprobs"):
            backend.option_logits([pair(1, 2)])


def test_missing_option_names_its_kin() -> None:
    with serving(Stub(shape="other", unlikely=("Yes",))) as url:
        backend = load_openai(f"{url}#stub/model", top_logprobs=12)
        with pytest.raises(OptionError, match=r"option 'Yes' .*\(' Yes' there is another token\)"):
            backend.option_logits([replace(pair(1, 2), questions=(SAME,))])


def test_words_that_the_server_writes_alike_are_refused() -> None:
    with serving(Stub(shape="other", twin=" good")) as url, pytest.raises(OptionError, match="stands 2 times"):
        load_openai(f"{url}#stub/model").option_logits([pair(1, 2)])


def test_first_word_takes_the_space_that_the_template_leaves_to_it() -> None:
    for shape in ("vllm", "llama.cpp"):
        stub = Stub(shape=shape, gap=" ")
        with serving(stub) as url:
            ((logits,),) = load_openai(url).option_logits([replace(pair(1, 2), questions=(SAME,))])
        prompt = f"<|user|><image><image>{SAME.text}<|end|><|assistant|>"
        logprobs = stub.distribution(prompt, pair(1, 2).images)
        np.testing.assert_allclose(logits, [logprobs[" Yes"], logprobs[" No"]])


# --- the prompt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", ["continues", "drops_prefix"])
def test_prefix_that_is_not_continued_is_refused(shape: Shape, fault: str) -> None:
    stub = Stub(shape=shape)
    setattr(stub, fault, not getattr(stub, fault))
    message = r"answer prefix 'The quality of the image is'.*prompt='no-prefix'"
    with serving(stub) as url, pytest.raises(PromptError, match=message):
        load_openai(f"{url}#stub/model").option_logits([pair(1, 2)])
    assert not stub.chats(), "no image was sent"


@pytest.mark.parametrize("shape", SHAPES)
def test_trimmed_space_is_noticed(shape: Shape) -> None:
    question = replace(QUALITY, answer_prefix="The quality of the image is ", options=("good", "poor"))
    request = replace(pair(1, 2), questions=(question,))
    with serving(Stub(shape=shape)) as url:
        load_openai(f"{url}#stub/model").option_logits([request])
    with serving(Stub(shape=shape, trims=True)) as url, pytest.raises(PromptError, match=r"answer prefix .*is '"):
        load_openai(f"{url}#stub/model").option_logits([request])


THOUGHT = "<|channel>thought\n<channel|>"


@pytest.mark.parametrize("shape", ["vllm", "llama.cpp"])
def test_an_empty_thought_that_a_begun_answer_lacks_is_sent_with_it(shape: Shape) -> None:
    stub = Stub(shape=shape, opens=THOUGHT)
    with serving(stub) as url:
        ((quality, same),) = load_openai(url).option_logits([pair(1, 2)])
    start = f"<|user|><image><image>{{}}<|end|><|assistant|>{THOUGHT}"
    for got, question in ((quality, QUALITY), (same, SAME)):
        want = stub.distribution(start.format(question.text) + question.answer_prefix, pair(1, 2).images)
        np.testing.assert_allclose(got, [want[option] for option in question.options])
    with serving(replace(stub, loses=True)) as url, pytest.raises(PromptError, match="model begins its reply behind"):
        load_openai(url).option_logits([pair(1, 2)])


@pytest.mark.parametrize("shape", ["vllm", "llama.cpp"])
def test_a_thought_that_stays_open_is_refused_where_there_is_no_prefix(shape: Shape) -> None:
    with serving(Stub(shape=shape, opens="<think>\n")) as url:
        backend = load_openai(url)
        backend.option_logits([replace(pair(1, 2), questions=(QUALITY,))])
        with pytest.raises(PromptError, match="opens a chain of thought"):
            backend.option_logits([replace(pair(1, 2), questions=(SAME,))])


def test_a_thought_shows_in_the_count_of_tokens_where_prompts_are_not_shown() -> None:
    request = replace(pair(1, 2), questions=(SAME,))
    with serving(Stub(shape="other", opens="<think>\n")) as url:
        with pytest.raises(PromptError, match=r"has 2 tokens more .* opens a chain of thought"):
            load_openai(f"{url}#stub/model").option_logits([request])
        load_openai(f"{url}#stub/model", prompt="trusted").option_logits([request])
    for manner in ({"gap": " "}, {"continues": False}, {"refuses_fields": True}):
        with serving(Stub(shape="other", **manner)) as url:  # type: ignore[arg-type]
            load_openai(f"{url}#stub/model").option_logits([request])


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d %b %Y", "%B %d, %Y"])
def test_a_prompt_with_todays_date_is_refused(form: str) -> None:
    stub = Stub(head=lambda: f"It is {datetime.now(UTC).strftime(form)}.")
    with (
        serving(stub) as url,
        pytest.raises(PromptError, match=r"writes today's date \(.*give the date in template_args"),
    ):
        load_openai(url).option_logits([pair(1, 2)])
    with serving(Stub(head=lambda: "It is 2025-01-01.")) as url:
        load_openai(url).option_logits([pair(1, 2)])


@pytest.mark.parametrize(
    ("shape", "given", "sent"),
    [
        ("vllm", None, {"enable_thinking": False, "thinking": False}),
        (
            "llama.cpp",
            {"reasoning_effort": "low"},
            {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
        ),
        ("other", {"enable_thinking": False}, {"enable_thinking": False}),
        ("other", None, None),
    ],
)
def test_arguments_of_the_template_are_sent_and_part_of_the_identity(
    shape: Shape, given: dict[str, Any] | None, sent: dict[str, Any] | None
) -> None:
    stub = Stub(shape=shape)
    with serving(stub) as url:
        backend = load_openai(f"{url}#stub/model", template_args=given)
        backend.option_logits([pair(1, 2)])
    shown = [body for path, body in stub.requests if "messages" in body]
    assert all(body.get("chat_template_kwargs") == sent for body in shown)
    assert backend.fingerprint.identity.get("template_args") == (json.dumps(sent, sort_keys=True) if sent else None)


@pytest.mark.parametrize("shape", ["vllm", "llama.cpp"])
def test_moved_images_are_noticed(shape: Shape) -> None:
    with serving(Stub(shape=shape, images_first=True)) as url:
        backend = load_openai(url)
        backend.option_logits([pair(1, 2)])
        with pytest.raises(PromptError, match="are not after the question"):
            backend.option_logits([pair(1, 2, "after")])


def test_images_after_the_question_need_trust_where_prompts_are_not_shown() -> None:
    with serving(Stub(shape="other")) as url:
        with pytest.raises(PromptError, match=r"whether the images come after .*prompt='trusted'"):
            load_openai(f"{url}#stub/model").option_logits([pair(1, 2, "after")])
        load_openai(f"{url}#stub/model", prompt="trusted").option_logits([pair(1, 2, "after")])


def test_server_that_refuses_the_fields_cannot_continue() -> None:
    message = r"does not continue .*422: Extra inputs are not permitted.*'no-prefix'"
    with serving(Stub(shape="other", refuses_fields=True)) as url, pytest.raises(PromptError, match=message):
        load_openai(f"{url}#stub/model").option_logits([pair(1, 2)])


def test_server_that_does_not_count_proves_nothing() -> None:
    with serving(Stub(shape="other", usage=False)) as url:
        with pytest.raises(PromptError, match=r"does not count .*prompt='trusted'"):
            load_openai(f"{url}#stub/model").option_logits([pair(1, 2)])
        load_openai(f"{url}#stub/model", prompt="trusted").option_logits([pair(1, 2)])


@pytest.mark.parametrize("shape", SHAPES)
def test_without_prefix_options_are_the_first_word(shape: Shape) -> None:
    stub = Stub(shape=shape, continues=False)
    with serving(stub) as url:
        backend = load_openai(f"{url}#stub/model", prompt="no-prefix")
        ((logits, _),) = backend.option_logits([pair(1, 2)])
    prompt = f"<|user|><image><image>{QUALITY.text}<|end|><|assistant|>"
    logprobs = stub.distribution(prompt, pair(1, 2).images)
    np.testing.assert_allclose(logits, [logprobs["Good"], logprobs["Poor"]])
    assert backend.fingerprint.identity["prompt"] == "no-prefix"


# --- fingerprint


def test_host_is_environment_and_model_identity(stub: Stub, url: str) -> None:
    one = load_openai(url).fingerprint
    with serving(Stub()) as other:
        two = load_openai(f"{other}#stub/model").fingerprint
    assert one.identity == two.identity
    assert one.environment["url"] != two.environment["url"]
    stub.reports = "stub/model-2026-01-01"
    assert load_openai(url).fingerprint.identity["model"] == "stub/model-2026-01-01"


def test_path_of_the_model_on_the_server_is_no_identity() -> None:
    with serving(Stub(shape="llama.cpp", model="/models/some/llava.gguf")) as url:
        assert load_openai(url).fingerprint.identity["model"] == "llava.gguf"


def test_template_and_weights_are_identity() -> None:
    identities = []
    for stub in (Stub(shape="llama.cpp"), Stub(shape="llama.cpp", gap=" ")):
        with serving(stub) as url:
            identities.append(dict(load_openai(url).fingerprint.identity))
    assert identities[0]["size"] == identities[1]["size"] == "28"
    assert identities[0].pop("template") != identities[1].pop("template")
    assert identities[0] == identities[1]


# --- settings


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "is not the URL of a server; write it like openai:http"),
        ("localhost:8000", "is not the URL"),
        ("ftp://localhost", "is not the URL"),
        ("http://:80", "is not the URL"),
        ("http://localhost:99999", "is not the URL"),
        ("http://localhost?x=1", "is not the URL"),
        ("http://me:secret@localhost/v1#m", "must not hold a user name or password"),
    ],
)
def test_address_that_is_none(address: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        load_openai(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"concurrency": 0}, {"timeout": 0.0}, {"patience": -1.0}, {"top_logprobs": 0}, {"prompt": "guessed"}]
)
def test_impossible_settings(settings: dict, url: str) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        load_openai(url, **settings)


def test_model_needs_no_name_where_there_is_one(url: str) -> None:
    bare = url.partition("/v1")[0]
    assert load_openai(bare).fingerprint.identity["model"] == "stub/model"


def test_one_of_several_models_must_be_named() -> None:
    with (
        serving(Stub(shape="other")) as url,
        pytest.raises(SettingError, match=r"lists 2 models; .* after a #: stub/model, another"),
    ):
        load_openai(url)


def test_importing_it_loads_nothing_that_is_not_needed() -> None:
    program = "import sys, qdebias.backends.openai_http.backend\nprint({'torch', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("set()", "")


def test_text_of_a_backend_says_what_it_is(url: str) -> None:
    assert re.fullmatch(r"OpenAIBackend\('http://127.0.0.1:\d+/v1', model='stub/model'\)", repr(load_openai(url)))
    assert isinstance(load_openai(url), OpenAIBackend)
