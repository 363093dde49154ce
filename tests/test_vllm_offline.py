"""vLLM does not run on the machines that run these tests: a stand-in answers in the shape of its objects."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from contract import QUALITY, BackendContract, pair
from qdebias.backends.base import Backend, Fingerprint
from qdebias.backends.vllm_offline import VllmBackend, load_vllm
from qdebias.errors import BackendError, ImageError, MissingPackageError, PromptError, SettingError
from qdebias.image import digest
from stub_server import WORDS, Stub


@dataclass(frozen=True, kw_only=True)
class Sampling:
    max_tokens: int
    temperature: float
    logprob_token_ids: list[int]


@dataclass
class Engine:
    """Answers like `vllm.LLM` for the methods that are used of it.

    Attributes:
        stub: Its model.
        tells: Whether it tells the log-probabilities that it is requested.
        longest: How many tokens a prompt may have.
        calls: How many conversations each call had.
    """

    stub: Stub = field(default_factory=Stub)
    tells: bool = True
    longest: int = 10_000
    calls: list[int] = field(default_factory=list)

    def get_tokenizer(self) -> Any:
        def encode(text: str, *, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return self.stub.encode(text)

        def decode(ids: list[int], *, skip_special_tokens: bool) -> str:
            assert not skip_special_tokens
            return self.stub.decode(ids)

        own = SimpleNamespace(content="TILE_GLOBAL", special=True)
        return SimpleNamespace(encode=encode, decode=decode, added_tokens_decoder={0: own})

    def chat(
        self,
        messages: list[list[dict]],
        sampling_params: Sequence[Sampling],
        *,
        use_tqdm: bool,
        add_generation_prompt: bool,
        continue_final_message: bool,
        chat_template_kwargs: dict[str, Any],
    ) -> list[Any]:
        assert chat_template_kwargs["enable_thinking"] is False
        assert not use_tqdm
        assert add_generation_prompt is not continue_final_message
        assert all((one[-1]["role"] == "assistant") is continue_final_message for one in messages)
        self.calls.append(len(messages))
        return [self.answer(one, params) for one, params in zip(messages, sampling_params, strict=True)]

    def answer(self, messages: list[dict], params: Sampling) -> Any:
        content = messages[0]["content"]
        parts = content if isinstance(content, list) else []
        images = [np.asarray(part["image_pil"]) for part in parts if part["type"] == "image_pil"]
        plain = [{**one, "content": shown(one["content"])} for one in messages]
        prompt, _ = self.stub.render({"messages": plain})
        ids = self.stub.encode(prompt)
        if len(ids) > self.longest:
            raise ValueError(f"The decoder prompt (length {len(ids)}) is\nlonger than {self.longest}")
        logprobs = self.stub.distribution(prompt, images)
        by_id = {self.stub.encode(word)[0]: SimpleNamespace(logprob=logprobs[word]) for word in WORDS}
        named = {token: by_id.get(token, SimpleNamespace(logprob=-50.0)) for token in params.logprob_token_ids}
        completion = SimpleNamespace(token_ids=[3], logprobs=[named if self.tells else {}])
        return SimpleNamespace(prompt_token_ids=ids, outputs=[completion])


def shown(content: str | list[dict]) -> str:
    """Return a content with marks for its images."""
    if isinstance(content, str):
        return content
    return "".join("<image>" if part["type"] == "image_pil" else part["text"] for part in content)


def backend_of(engine: Engine) -> VllmBackend:
    identity = {"backend": "vllm", "model": "stub"}
    return VllmBackend(engine=engine, sampling=Sampling, fingerprint=Fingerprint(identity=identity))


class TestContract(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return backend_of(Engine())


def test_pixels_reach_the_engine() -> None:
    engine, request = Engine(), replace(pair(1, 2), questions=(QUALITY,))
    ((logits,),) = backend_of(engine).option_logits([request])
    prompt = f"<|user|><image><image>{QUALITY.text}<|end|><|assistant|>{QUALITY.answer_prefix}"
    logprobs = engine.stub.distribution(prompt, request.images)
    np.testing.assert_allclose(logits, [logprobs[" good"], logprobs[" poor"]])
    assert len({digest(image) for image in request.images}) == 2


def test_all_questions_of_a_kind_go_at_once() -> None:
    engine = Engine()
    backend = backend_of(engine)
    backend.option_logits([pair(1, 2)])
    engine.calls.clear()
    backend.option_logits([pair(1, 2), pair(3, 4), pair(5, 6)])
    assert engine.calls == [3, 3]


def test_closed_answer_is_refused() -> None:
    with pytest.raises(PromptError, match="instead of the answer prefix"):
        backend_of(Engine(Stub(continues=False))).option_logits([pair(1, 2)])


def test_prompt_that_is_too_long_is_the_images_fault() -> None:
    engine = Engine()
    backend = backend_of(engine)
    backend.option_logits([pair(1, 2)])
    engine.longest = 5
    with pytest.raises(ImageError, match=r"prompt \(length \d+\) is longer than 5"):
        backend.option_logits([pair(1, 2)])


def test_version_that_does_not_tell_is_refused() -> None:
    with pytest.raises(BackendError, match=r"does not return the requested log-probabilities .* from 0\.30 on"):
        backend_of(Engine(tells=False)).option_logits([pair(1, 2)])


def test_absent_vllm_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingPackageError, match=r'vllm not installed: pip install "qdebias\[vllm\]"'):
        load_vllm("some/model")


@pytest.mark.parametrize("settings", [{"max_images": 0}, {"gpus": 0}, {"memory": 0.0}, {"memory": 1.5}])
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        load_vllm("some/model", **settings)


def test_engine_is_made_for_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    def make(**settings: Any) -> Engine:
        made.update(settings)
        return Engine()

    module = ModuleType("vllm")
    vars(module).update(LLM=make, SamplingParams=Sampling)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.30.0")
    (tmp_path / "config.json").write_text("{}")
    backend = load_vllm(str(tmp_path), dtype="bfloat16", max_model_len=4096)
    assert made["enable_prefix_caching"] is True
    assert (made["logprobs_mode"], made["dtype"], made["max_model_len"]) == ("raw_logprobs", "bfloat16", 4096)
    assert backend.fingerprint.identity["model"] == tmp_path.name
    assert backend.fingerprint.identity["template_args"] == '{"enable_thinking": false, "thinking": false}'
    other = VllmBackend(engine=Engine(Stub(gap=" ")), sampling=Sampling, fingerprint=backend.fingerprint)
    assert other.fingerprint.identity["template"] != backend.fingerprint.identity["template"]
    assert backend.fingerprint.environment == {"vllm": "0.30.0"}


def test_special_tokens_of_the_model_are_refused_in_a_question() -> None:
    request = replace(pair(1, 2), questions=(replace(QUALITY, text="Is TILE_GLOBAL good?"),))
    with pytest.raises(SettingError, match="contains 'TILE_GLOBAL', which models read as a special token"):
        backend_of(Engine()).option_logits([request])
