"""Damaged images and bodies sent to a running service: each is answered or refused, and the server goes on."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus.films import tiff
from mutation import always, examples, mutated
from qdebias.service.decoder import FORMATS
from serving import Running, code, encoded, noise, running

REFUSED = (400, 413, 415, 422)
"""What may be answered to a body that is not as described; never 500."""


@contextmanager
def unharmed() -> Iterator[Running]:
    """A server that has to hold nothing back, and to answer as ever, when the trials are over."""
    with running() as server:
        yield server
        with server.client() as client:
            assert client.post("/v1/score", files={"image": encoded(noise(1))}).status_code == 200
        assert (server.service.places.taken, server.service.memory.taken, server.service.pixels.out) == (0, 0, 0)


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_images(form: str, thorough: bool, trials: Callable[[int], None]) -> None:
    with unharmed() as server, server.client() as client:

        @examples(4000 if thorough else 60)
        @given(mutated(encoded(noise(1), form)))
        def holds(data: bytes) -> None:
            answer = client.post("/v1/score", files={"image": data}, data={"method": "vanilla"})
            if answer.status_code != 200:
                assert answer.status_code in REFUSED, answer.text
                code(answer)
            trials(1)

        holds()
        whole = client.post("/v1/score", files={"image": encoded(noise(1), form)})
        assert whole.status_code == 200


PIXELS = encoded(noise(1, 32, 32))
IMAGE = {"base64": base64.b64encode(PIXELS).decode()}
BODIES = {
    "/v1/score": {"image": IMAGE, "method": "vanilla", "model": "fake"},
    "/v1/score/batch": {"images": [IMAGE, {"base64": "AA=="}], "method": "vanilla", "model": None},
    "/v1/explain?format=json": {"image": IMAGE, "method": "vanilla"},
    "/v1/agreement": {"scores": [0.2, 0.5, 0.4], "quality": [1.5, 3.0, 4.5]},
}
"""A sound body of each route."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(IMAGE["base64"])
FIELDS = st.sampled_from(["image", "images", "method", "model", "base64", "url", "scores", "quality", "x"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12
)
DEEP = (b"[" * 100_000, b'{"image":' * 50_000, b'{"image":{"base64":"' + b"A" * 100_000, b"\xff\xfe\0", b"", b"1e999")


@pytest.mark.parametrize("path", BODIES)
def test_odd_json(path: str, thorough: bool, trials: Callable[[int], None]) -> None:
    """Damaged bytes, and values of the wrong kind in the right places."""
    with unharmed() as server, server.client() as client:
        placed = st.dictionaries(st.sampled_from(sorted(BODIES[path])), VALUES).map(lambda odd: BODIES[path] | odd)

        @examples(1000 if thorough else 50)
        @given(mutated(json.dumps(BODIES[path]).encode()) | placed.map(as_json) | VALUES.map(as_json))
        @always(*DEEP)
        def holds(body: bytes) -> None:
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
            if answer.status_code != 200:
                assert answer.status_code in REFUSED, (body, answer.text)
                code(answer)
            trials(1)

        holds()


def as_json(value: object) -> bytes:
    """Write what may hold infinities and halves of surrogate pairs, which is no JSON or none that can be read."""
    return json.dumps(value).encode()


def part(name: str, data: bytes, more: str = "") -> bytes:
    head = f'--edge\r\ncontent-disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + data + b"\r\n"


FORM = (
    part("image", PIXELS, '; filename="a.png"') + part("method", b"vanilla") + part("model", b"fake") + b"--edge--\r\n"
)
PIECES = st.sampled_from(
    [
        *(part("image", PIXELS, '; filename="a.png"'), part("image", PIXELS), part("url", b"http://a.example/")),
        *(part("method", b"vanilla"), part("method", b"\xff\xfe"), part("", b""), part("x" * 5000, b"")),
        *(part("image", b"", '; filename=""'), part("image", PIXELS, "; filename*=UTF-8''%ff%fe"), part("a\0b", b"x")),
        *(b"--edge\r\n\r\n\r\n", b"--edge\r\n: \r\n\r\n", b"--edge\n\n", b"--edge--", b"--edge", b"\r\n", b"x" * 5000),
        b"--edge\r\ncontent-type: multipart/mixed; boundary=edge\r\n\r\n",
        part("image", PIXELS, '; filename="a"\r\ncontent-transfer-encoding: base64\r\nx: "'),
        b"--edge\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
    ]
)
KINDS = st.sampled_from(
    [
        *("multipart/form-data; boundary=edge", "multipart/form-data", "multipart/form-data; boundary="),
        *("multipart/form-data; boundary=edge; charset=utf-16", 'multipart/form-data; boundary="edge', "multipart/x"),
        *("multipart/form-data; charset=nonsense; boundary=edge", "multipart/form-data; boundary=" + "e" * 500, ""),
    ]
)


def test_odd_forms(thorough: bool, trials: Callable[[int], None]) -> None:
    """Damaged bytes, parts in any order and number, and headers that do not fit them."""
    pieces = st.lists(PIECES, max_size=6).map(b"".join)

    with unharmed() as server, server.client() as client:

        @examples(3000 if thorough else 100)
        @given(mutated(FORM) | pieces | pieces.map(lambda body: body + b"--edge--\r\n"), KINDS)
        @example(FORM, "multipart/form-data; boundary=edge")
        @example(FORM[:-30], "multipart/form-data; boundary=edge")
        def holds(body: bytes, kind: str) -> None:
            for path in ("/v1/score", "/v1/score/batch"):
                answer = client.post(path, content=body, headers={"content-type": kind})
                if answer.status_code != 200:
                    assert answer.status_code in REFUSED, (body, kind, answer.text)
                    code(answer)
                trials(1)

        holds()


def test_pages_are_not_counted(trials: Callable[[int], None]) -> None:
    """To count those of a TIFF takes time that grows with their square."""
    with unharmed() as server, server.client() as client:
        answer = client.post("/v1/score", files={"image": tiff(100_000)})
        assert code(answer) == "422 several_frames"
        trials(1)
