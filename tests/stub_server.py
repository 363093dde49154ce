"""A server for tests: speaks as vLLM, as llama.cpp, or as one of which nothing is known, with or without logprobs.

Its model answers by a hash of the prompt and the pixels, so that whatever is sent shows in the answer.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image

from qdebias.image import RgbImage, digest

Shape = Literal["vllm", "llama.cpp", "other"]
Json = dict[str, Any]

WORDS = (" good", " poor", " fair", "Good", "Poor", "good", "poor", "Yes", "No", " Yes", " No", "X", ".")
PIECES = re.compile(r"<[^<>]*>| ?[A-Za-z]+|.", re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of an answer.

    Attributes:
        status: Of HTTP.
        body: What is sent.
        headers: What is sent with it.
        cut: Send only half of it, and hang up.
        hang: Wait this many seconds first.
    """

    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: float = 0.0


@dataclass
class Stub:
    """The server's model and manners; tests change them while it runs.

    Attributes:
        shape: How it speaks.
        model: Name of its model.
        reports: Name that its answers bear, if another.
        key: The API key that it wants.
        logprobs: Whether it tells log-probabilities.
        usage: Whether it counts tokens.
        knows_ids: Whether, as vLLM, it knows logprob_token_ids.
        limit: How many of the most likely tokens it tells at most.
        continues: Whether it continues a started answer; if not, it closes it and opens another one.
        refuses_fields: Whether it refuses what it does not know.
        drops_prefix: Whether it leaves the started answer out.
        trims: Whether it cuts the space off the end of a started answer.
        images_first: Whether its template moves the images to the front.
        gap: What its template writes before a reply.
        opens: What its template writes where the model begins a reply, and nowhere else, as an empty thought.
        loses: Whether its template cuts that out of a reply that begins with it.
        head: Gives what its template writes before everything.
        unlikely: Words that are less likely than all others.
        twin: A word of which there are two tokens.
        delay: Gives the seconds that an answer takes.
        faults: What happens to the next chat completions that have images.
        always: What happens to all chat completions that have images.
        refuses: Gives what happens to a chat completion, from its images; None: it is answered.
        rewrites: Changes the answer to a path.
        requests: Paths and bodies so far, in order of arrival.
        received: Every image so far.
    """

    shape: Shape = "vllm"
    model: str = "stub/model"
    reports: str = ""
    key: str = ""
    logprobs: bool = True
    usage: bool = True
    knows_ids: bool = True
    limit: int = 1000
    continues: bool = True
    refuses_fields: bool = False
    drops_prefix: bool = False
    trims: bool = False
    images_first: bool = False
    gap: str = ""
    opens: str = ""
    loses: bool = False
    head: Callable[[], str] = lambda: ""
    unlikely: tuple[str, ...] = ()
    twin: str = ""
    delay: Callable[[], float] = lambda: 0.0
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    refuses: Callable[[list[RgbImage]], Fault | None] = lambda _: None
    rewrites: Callable[[str, Any], Any] = lambda _, answer: answer
    requests: list[tuple[str, Json]] = field(default_factory=list)
    received: list[RgbImage] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ids: dict[str, int] = field(default_factory=dict)

    def chats(self) -> list[Json]:
        """Return the chat completions that had images."""
        return [body for path, body in self.requests if path == "/v1/chat/completions" and has_images(body)]

    def encode(self, text: str) -> list[int]:
        with self.lock:
            return [self.ids.setdefault(piece, len(self.ids)) for piece in PIECES.findall(text)]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = {number: piece for piece, number in self.ids.items()}
        return "".join(pieces[number] for number in ids)

    def render(self, body: Json) -> tuple[str, list[RgbImage]]:
        """Return the prompt, with a mark for each image, and the images."""
        text, images = self.head(), []
        messages = list(body["messages"])
        if self.drops_prefix:
            messages = messages[:1]
        for message in messages:
            content, pictures = self.content(message["content"])
            images += pictures
            if message["role"] == "assistant":
                content = content.removeprefix(self.opens) if self.loses else content
                content = self.gap + (content.rstrip() if self.trims else content)
            text += f"<|{message['role']}|>{content}"
            text += "" if message["role"] == "assistant" and self.continues else "<|end|>"
        return (text if text.endswith(content) and len(messages) > 1 else f"{text}<|assistant|>{self.opens}"), images

    def content(self, content: str | list[Json]) -> tuple[str, list[RgbImage]]:
        if isinstance(content, str):
            return content, []
        images = [decode(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
        parts = ["<image>" if part["type"] == "image_url" else part["text"] for part in content]
        return "".join(sorted(parts, key="<image>".__ne__) if self.images_first else parts), images

    def distribution(self, prompt: str, images: Sequence[RgbImage]) -> dict[str, float]:
        """Return the log-probability of each word, most likely first."""
        asked = "\0".join([prompt, *map(digest, images)])
        logits = np.array([_uniform(f"{asked}\0{word}") for word in WORDS])
        logits -= [20.0 * (word in self.unlikely) for word in WORDS]
        logits -= np.log(np.exp(logits).sum())
        return dict(sorted(zip(WORDS, logits.tolist(), strict=True), key=lambda item: -item[1]))

    def complete(self, body: Json) -> Json:
        prompt, images = self.render(body)
        with self.lock:
            self.received += images
        logprobs = self.distribution(prompt, images)
        entries = self.entries(body, logprobs)
        sampled = body["messages"][-1]["content"] if self.shape == "llama.cpp" else ""
        choice: Json = {"index": 0, "message": {"role": "assistant", "content": sampled}, "finish_reason": "length"}
        if self.logprobs and entries:
            choice["logprobs"] = {"content": [{**entries[0], "top_logprobs": entries}]}
        reply: Json = {"model": self.reports or self.model, "choices": [choice], "object": "chat.completion"}
        if self.usage:
            reply["usage"] = {"prompt_tokens": len(self.encode(prompt)) + 9 * len(images)}
        return reply

    def entries(self, body: Json, logprobs: dict[str, float]) -> list[Json]:
        named = body.get("logprob_token_ids") if self.shape == "vllm" and self.knows_ids else None
        shown = list(logprobs)[: body.get("top_logprobs", 0)]
        if named is not None:
            shown = [word for word in logprobs if self.encode(word)[0] in named]
        if self.shape == "vllm" and body.get("return_tokens_as_token_ids"):
            texts = [f"token_id:{self.encode(word)[0]}" for word in shown]
            return [
                {"token": text, "logprob": logprobs[word], "bytes": list(text.encode())}
                for text, word in zip(texts, shown, strict=True)
            ]
        entries: list[Json] = [{"token": word, "logprob": logprobs[word], "bytes": None} for word in shown]
        if self.twin:
            entries += [{"token": self.twin, "logprob": -8.0, "bytes": None}]
        if self.shape == "llama.cpp":
            entries = [{**entry, "id": self.encode(entry["token"])[0]} for entry in entries]
            if not body.get("logit_bias"):
                return []  # as if the sampled token were a part of a letter
        return entries

    def models(self) -> Json:
        entry: Json = {"id": self.model, "object": "model", "owned_by": "somebody"}
        if self.shape == "vllm":
            entry["owned_by"] = "vllm"
        if self.shape == "llama.cpp":
            entry |= {"owned_by": "llamacpp", "meta": {"n_vocab": 500, "n_params": 7, "size": 28, "ftype": "F32"}}
        return {"object": "list", "data": [entry, *({"id": name} for name in ["another"] if self.shape == "other")]}


def has_images(body: Json) -> bool:
    return isinstance(body["messages"][0]["content"], list)


def decode(url: str) -> RgbImage:
    kind, _, data = url.partition(",")
    if kind != "data:image/png;base64":
        raise ValueError(f"no PNG: {kind}")
    with Image.open(BytesIO(base64.b64decode(data)), formats=["PNG"]) as picture:
        return np.asarray(picture)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stub: Stub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.stub.requests.append((self.path, {}))
        if self.path == "/v1/models":
            self.answer(200, self.stub.models())
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        stub = self.stub
        with stub.lock:
            stub.requests.append((self.path, body))
            chat = self.path == "/v1/chat/completions" and has_images(body)
            fault = (stub.faults.popleft() if stub.faults else stub.always) if chat else None
            if chat and fault is None:
                fault = stub.refuses(stub.render(body)[1])
            stub.busy += 1
            stub.busiest = max(stub.busiest, stub.busy)
        try:
            if fault:
                self.fail(fault)
            else:
                time.sleep(stub.delay() if chat else 0.0)
                self.answer(*self.reply(body))
        finally:
            with stub.lock:
                stub.busy -= 1

    def reply(self, body: Json) -> tuple[int, Json]:
        stub, sent = self.stub, self.headers.get("authorization", "")
        if stub.key and sent != f"Bearer {stub.key}":
            return 401, {"error": {"message": f"Incorrect API key provided: {sent}", "code": "invalid_api_key"}}
        if self.path == "/v1/chat/completions":
            if body["model"] != stub.model:
                return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
            if body.get("top_logprobs", 0) > stub.limit:
                return 400, {"error": {"message": f"top_logprobs must be at most {stub.limit}"}}
            if stub.refuses_fields and "continue_final_message" in body:
                return 422, {"detail": [{"loc": ["body"], "msg": "Extra inputs are not permitted"}]}
            return 200, stub.complete(body)
        if self.path == "/tokenize" and stub.shape == "vllm":
            text = body["prompt"] if "prompt" in body else stub.render(body)[0]
            return 200, {"tokens": stub.encode(text), "count": 1, "max_model_len": 4096}
        if self.path == "/tokenize" and stub.shape == "llama.cpp":
            return 200, {"tokens": stub.encode(body["content"])}
        if self.path == "/detokenize" and stub.shape != "other":
            return 200, {"prompt" if stub.shape == "vllm" else "content": stub.decode(body["tokens"])}
        if self.path == "/apply-template" and stub.shape == "llama.cpp":
            return 200, {"prompt": stub.render(body)[0]}
        return 404, {"detail": "Not Found"}

    def answer(self, status: int, body: Json) -> None:
        self.send(status, json.dumps(self.stub.rewrites(self.path, body)).encode(), {})

    def fail(self, fault: Fault) -> None:
        time.sleep(fault.hang)
        self.send(fault.status, fault.body.encode(), fault.headers, cut=fault.cut)

    def send(self, status: int, data: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
        except (BrokenPipeError, ConnectionResetError):  # the client waits no longer
            self.close_connection = True
        self.close_connection |= cut


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass  # a client that hangs up is what some tests are about


@contextmanager
def serving(stub: Stub, port: int = 0) -> Iterator[str]:
    """Run the server on this machine and yield its address, without a model."""
    handler = type("Handler", (_Handler,), {"stub": stub})
    with _Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def _uniform(text: str) -> float:
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return number / 2**64 * 8 - 4
