"""Any model of vLLM in this process, asked for exactly the options' log-probabilities.

Written to the documented API of vLLM 0.30 to 0.33 and tested against a stand-in; not run on a GPU yet.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.checkpoint import Checkpoint, locate
from qdebias.backends.openai_http import Json
from qdebias.backends.openai_http.chat import messages
from qdebias.backends.openai_http.prompt import PreparedQuestion, prepare
from qdebias.backends.prompt import PRESETS, Argument, Form, special_tokens
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, ImageError, MissingPackageError, SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request, refuse_special_tokens

Engine: TypeAlias = Any
"""A `vllm.LLM`: its `chat` and its `get_tokenizer` are used."""

MakeSampling: TypeAlias = Callable[..., Any]
"""`vllm.SamplingParams`: how one token is sampled, and whose log-probabilities are told."""


def load_vllm(
    source: str,
    *,
    dtype: str = "auto",
    revision: str | None = None,
    max_images: int = 2,
    max_model_len: int | None = None,
    memory: float = 0.9,
    gpus: int = 1,
    template_args: Mapping[str, Argument] | None = None,
) -> "VllmBackend":
    """Return a backend that runs a checkpoint with vLLM.

    Args:
        source: A folder or a hub id.
        dtype: Numeric type of the weights: "auto" is that of the checkpoint.
        revision: Branch, tag or commit of the hub repository.
        max_images: How many images a request has at most.
        max_model_len: How many tokens a prompt has at most; None is what the model was made for.
        memory: Share of the GPU's memory that is taken.
        gpus: How many GPUs share the model.
        template_args: Arguments of the chat template, beside `PRESETS`.

    Raises:
        MissingPackageError: vLLM is not installed.
        SettingError: A setting is out of range.
        BackendError: There is no such checkpoint.
    """
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
    return VllmBackend(
        engine=engine,
        sampling=vllm.SamplingParams,
        fingerprint=_fingerprint(checkpoint, dtype, arguments),
        template_args=arguments,
    )


class VllmBackend:
    """A model in vLLM; `load_vllm` makes one.

    Args:
        engine: The model.
        sampling: `vllm.SamplingParams`.
        fingerprint: See `Fingerprint`; the prompt of a fixed conversation is added to it.
        template_args: Arguments of the chat template.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        sampling: MakeSampling,
        fingerprint: Fingerprint,
        template_args: Mapping[str, Argument] = PRESETS,
    ) -> None:
        self._engine = engine
        self._sampling = sampling
        self._tokenizer = _Tokenizer(engine.get_tokenizer())
        self._arguments = dict(template_args)
        self._prepared: dict[Form, PreparedQuestion] = {}
        template = self._render(messages("A question?", [], "before", "An answer"), started=True)
        digest = hashlib.blake2b(template.encode(), digest_size=8).hexdigest()
        self._fingerprint = replace(fingerprint, identity={**fingerprint.identity, "template": digest})

    @property
    def fingerprint(self) -> Fingerprint:
        """What made the answers of this backend."""
        return self._fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the log-probabilities of every option, see `Backend.option_logits`.

        All questions go to the engine at once, those with a started answer before the others; questions about the same
        images stand side by side, so that its prefix cache has them.

        Raises:
            OptionError: An option is no single token of the model.
            PromptError: The chat template does not keep the images or the answer prefix where they belong.
            ImageError: An image is more than the engine takes.
            BackendError: The engine does not tell what it was requested.
        """
        pairs = [(request, question) for request in requests for question in request.questions]
        answers: dict[int, FloatArray] = {}
        for started in (True, False):
            numbers = [number for number, (_, one) in enumerate(pairs) if bool(one.answer_prefix) == started]
            answers |= zip(numbers, self._answer([pairs[number] for number in numbers], started=started), strict=True)
        in_order = iter([answers[number] for number in range(len(pairs))])
        return [[next(in_order) for _ in request.questions] for request in requests]

    def _answer(self, pairs: Sequence[tuple[Request, Question]], *, started: bool) -> list[FloatArray]:
        if not pairs:
            return []
        forms = [Form(question=one, placement=r.placement, images=len(r.images)) for r, one in pairs]
        replies = [self._prepared_question(form) for form in forms]
        conversations = [
            messages(one.text, _parts(request.images), request.placement, reply.reply)
            for (request, one), reply in zip(pairs, replies, strict=True)
        ]
        tokens = [_known(reply) for reply in replies]
        outputs = self._chat(conversations, [self._params(ids) for ids in tokens], started=started)
        return [_logprobs(output, ids) for output, ids in zip(outputs, tokens, strict=True)]

    def _prepared_question(self, form: Form) -> PreparedQuestion:
        """Return how a question is asked, after checking it once."""
        if form not in self._prepared:

            def render(images: int, prefix: str) -> str:
                grey = _parts([np.full((64, 64, 3), 128, dtype=np.uint8)] * images)
                return self._render(messages(form.question.text, grey, form.placement, prefix), started=bool(prefix))

            refuse_special_tokens(form.question, special_tokens(self._tokenizer.tokenizer))
            self._prepared[form] = prepare(form, render, self._tokenizer)
        return self._prepared[form]

    def _render(self, conversation: list[Json], *, started: bool) -> str:
        (output,) = self._chat([conversation], [self._params((0,))], started=started)
        return self._tokenizer.decode(output.prompt_token_ids)

    def _params(self, tokens: Sequence[int]) -> Any:  # noqa: ANN401  vllm.SamplingParams
        return self._sampling(max_tokens=1, temperature=0.0, logprob_token_ids=list(tokens))

    def _chat(self, conversations: list[list[Json]], params: list[Any], *, started: bool) -> Sequence[Any]:
        try:
            outputs: Sequence[Any] = self._engine.chat(
                conversations,
                params,
                use_tqdm=False,
                add_generation_prompt=not started,
                continue_final_message=started,
                chat_template_kwargs=self._arguments,
            )
        except ValueError as error:  # how vLLM refuses a prompt that is too long, or too many images
            line = " ".join(str(error).split())
            raise ImageError(f"vLLM refuses the images or the question: {line}") from error
        return outputs


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """A tokenizer of vLLM, as `option_tokens` wants it."""

    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def _parts(images: Sequence[RgbImage]) -> list[Json]:
    return [{"type": "image_pil", "image_pil": Image.fromarray(image)} for image in images]


def _known(prepared: PreparedQuestion) -> tuple[int, ...]:
    if prepared.options.tokens is None:
        raise BackendError("the model has no tokenizer; give vLLM a checkpoint with one")
    return prepared.options.tokens


def _logprobs(output: Any, tokens: Sequence[int]) -> FloatArray:  # noqa: ANN401  vllm.RequestOutput
    found: Mapping[int, Any] = (output.outputs[0].logprobs or [{}])[0]
    missing = [token for token in tokens if token not in found]
    if missing:
        raise BackendError(
            f"vLLM does not tell the log-probabilities of the tokens {missing} although it was requested them; "
            f"install a version from 0.30 on"
        )
    return np.array([float(found[token].logprob) for token in tokens])


def _fingerprint(checkpoint: Checkpoint, dtype: str, arguments: Mapping[str, Argument]) -> Fingerprint:
    return Fingerprint(
        identity={
            "backend": "vllm",
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "configuration": checkpoint.configuration_digest(),
            "weights": checkpoint.weights_digest(),
            "dtype": dtype,
            "template_args": json.dumps(arguments, sort_keys=True),
        },
        environment={"vllm": importlib.metadata.version("vllm")},
    )
