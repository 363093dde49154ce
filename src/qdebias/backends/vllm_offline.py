"""Any model of vLLM in this process, which returns the log-probabilities of exactly the options.

Written to the documented API of vLLM 0.30 to 0.33 and tested against a stand-in; not run on a GPU yet.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.checkpoint import locate
from qdebias.backends.openai_http.chat import messages
from qdebias.backends.openai_http.connection import Json
from qdebias.backends.openai_http.prompt import PreparedQuestion, prepare
from qdebias.backends.prompt import PRESETS, Argument, Form
from qdebias.errors import BackendError, ImageError, MissingPackageError, SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request, refuse_special_tokens


def load_vllm(
    source: str,  # a folder or a hub id
    *,
    dtype: str = "auto",  # of the weights; "auto" for that of the checkpoint
    revision: str | None = None,  # branch, tag or commit of the hub repository
    max_images: int = 2,  # in a request
    max_model_len: int | None = None,  # tokens of a prompt; None for the model's own limit
    memory: float = 0.9,  # share of the GPU's memory to use
    gpus: int = 1,  # for tensor parallelism
    template_args: Mapping[str, Argument] | None = None,  # arguments of the chat template, beside `PRESETS`
) -> "VllmBackend":
    """Return a backend that runs a checkpoint with vLLM."""
    if max_images < 1 or gpus < 1 or not 0 < memory <= 1:
        raise SettingError(
            f"max_images and gpus must be 1 or more and memory in (0, 1], got max_images={max_images}, gpus={gpus}, "
            f"memory={memory}"
        )
    if importlib.util.find_spec("vllm") is None:
        raise MissingPackageError('vllm not installed: pip install "qdebias[vllm]"')
    checkpoint = locate(source, revision)
    vllm = importlib.import_module("vllm")
    engine = vllm.LLM(
        model=str(checkpoint.folder),
        dtype=dtype,
        max_model_len=max_model_len,
        gpu_memory_utilization=memory,
        tensor_parallel_size=gpus,
        limit_mm_per_prompt={"image": max_images},
        enable_prefix_caching=True,
        logprobs_mode="raw_logprobs",
        generation_config="vllm",
        seed=0,
    )
    arguments = {**PRESETS, **(template_args or {})}
    identity = {
        "backend": "vllm",
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        **checkpoint.digests(),
        "dtype": dtype,
        "template_args": json.dumps(arguments, sort_keys=True),
    }
    fingerprint = Fingerprint(identity=identity, environment={"vllm": importlib.metadata.version("vllm")})
    return VllmBackend(engine=engine, sampling=vllm.SamplingParams, fingerprint=fingerprint, template_args=arguments)


class VllmBackend:
    """A model in vLLM; `load_vllm` makes one.

    `engine` is a `vllm.LLM`, `sampling` the class `vllm.SamplingParams`. A digest of the prompt of a fixed conversation
    is added to the fingerprint.
    """

    def __init__(
        self,
        *,
        engine: Any,  # noqa: ANN401
        sampling: Callable[..., Any],
        fingerprint: Fingerprint,
        template_args: Mapping[str, Argument] = PRESETS,
    ) -> None:
        self._engine, self._sampling, self._arguments = engine, sampling, dict(template_args)
        self._tokenizer = _Tokenizer(engine.get_tokenizer())
        self._prepared: dict[Form, PreparedQuestion] = {}
        template = self._render(messages("A question?", [], "before", "An answer"), started=True)
        digest = hashlib.blake2b(template.encode(), digest_size=8).hexdigest()
        self._fingerprint = replace(fingerprint, identity={**fingerprint.identity, "template": digest})

    @property
    def fingerprint(self) -> Fingerprint:
        """The identity and environment of this backend."""
        return self._fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the log-probabilities of every option, see `Backend.option_logits`.

        All questions go to the engine at once, those with a started answer before the others; questions about the same
        images are adjacent, so that its prefix cache applies. An ImageError means that an image is too large.
        """
        answers = [[np.empty(0)] * len(request.questions) for request in requests]
        for started in (True, False):
            places, conversations, tokens = [], [], []
            for request, answer in zip(requests, answers, strict=True):
                for place, question in enumerate(request.questions):
                    if bool(question.answer_prefix) == started:
                        prepared = self._prepare(request, question)
                        images = _parts(request.images)
                        places.append((answer, place))
                        conversations.append(messages(question.text, images, request.placement, prepared.reply))
                        tokens.append(prepared.tokens or ())
            outputs = self._chat(conversations, tokens, started=started) if places else ()
            for (answer, place), output, ids in zip(places, outputs, tokens, strict=True):
                found: Mapping[int, Any] = (output.outputs[0].logprobs or [{}])[0]
                missing = [token for token in ids if token not in found]
                if missing:
                    raise BackendError(
                        f"vLLM does not return the requested log-probabilities of the tokens {missing}; "
                        f"install a version from 0.30 on"
                    )
                answer[place] = np.array([float(found[token].logprob) for token in ids])
        return answers

    def _prepare(self, request: Request, question: Question) -> PreparedQuestion:
        """Return how a question is sent and read, after checking it once."""
        form = Form(question=question, placement=request.placement, images=len(request.images))
        if form not in self._prepared:

            def render(images: int, prefix: str) -> str:
                grey = _parts([np.full((64, 64, 3), 128, dtype=np.uint8)] * images)
                return self._render(messages(question.text, grey, form.placement, prefix), started=bool(prefix))

            added: Mapping[int, Any] = getattr(self._tokenizer.tokenizer, "added_tokens_decoder", {})
            refuse_special_tokens(question, [token.content for token in added.values() if token.special])
            self._prepared[form] = prepare(form, render, self._tokenizer)
        return self._prepared[form]

    def _render(self, conversation: list[Json], *, started: bool) -> str:
        (output,) = self._chat([conversation], [(0,)], started=started)
        return self._tokenizer.decode(output.prompt_token_ids)

    def _chat(
        self, conversations: Sequence[list[Json]], tokens: Sequence[Sequence[int]], *, started: bool
    ) -> Sequence[Any]:
        try:
            outputs: Sequence[Any] = self._engine.chat(
                conversations,
                [self._sampling(max_tokens=1, temperature=0.0, logprob_token_ids=list(ids)) for ids in tokens],
                use_tqdm=False,
                add_generation_prompt=not started,
                continue_final_message=started,
                chat_template_kwargs=self._arguments,
            )
        except ValueError as error:  # vLLM's refusal of a prompt that is too long, or of too many images
            line = " ".join(str(error).split())
            raise ImageError(f"vLLM refuses the images or the question: {line}") from error
        return outputs


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """A tokenizer of vLLM, adapted to `option_tokens`."""

    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def _parts(images: Sequence[RgbImage]) -> list[Json]:
    return [{"type": "image_pil", "image_pil": Image.fromarray(image)} for image in images]
