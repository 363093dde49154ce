"""Bodies that are not as described: refused as soon as that can be known, with nothing held afterwards."""

import base64
import itertools
import json
import re
import tracemalloc

import httpx2
import numpy as np
import pytest

from qdebias.service.reading import LONGEST_STRING, JsonBody, parse
from qdebias.service.refusal import Refusal
from qdebias.service.schema import AgreementRequest, BatchRequest, ScoreRequest
from serving import Running, code, encoded, noise

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
MANY = 6300

WRONG = {
    "unknown keys": ("/v1/score", b"{" + b",".join(b'"k%d":1' % n for n in range(MANY)) + b"}"),
    "one key again and again": ("/v1/score", b"{" + b",".join([b'"method":"a"'] * MANY) + b"}"),
    "keys of the image": ("/v1/score", b'{"image":{' + b",".join(b'"k%d":1' % n for n in range(MANY)) + b"}}"),
    "items of a wrong type": ("/v1/score/batch", b'{"images":[' + b",".join([b"1"] * MANY) + b"]}"),
    "items without an image": ("/v1/score/batch", b'{"images":[' + b",".join([b"{}"] * MANY) + b"]}"),
    "lists in lists": ("/v1/score", b"[" * MANY),
    "objects in objects": ("/v1/score", b'{"image":' * MANY),
    "lists as base64": ("/v1/score", b'{"image":{"base64":' + b"[" * 1000 + b"]" * 1000 + b"}}"),
    "many numbers": ("/v1/agreement", b'{"scores":[' + b",".join([b"1"] * 50_000) + b"]}"),
    "long numbers": ("/v1/agreement", b'{"scores":[' + b"1" * 100_000 + b',2,3],"quality":[1,2,3]}'),
    "numbers out of range": ("/v1/agreement", b'{"scores":[1e999,2,3],"quality":[1,2,3]}'),
    "no numbers": ("/v1/agreement", b'{"scores":[true,2,3],"quality":[1,2,3]}'),
    "no number that JSON has": ("/v1/agreement", b'{"scores":[NaN,2,3],"quality":[1,2,3]}'),
    "no UTF-8": ("/v1/score", b'{"image":{"url":"\xff\xfe"}}'),
    "half a surrogate": ("/v1/score", b'{"image":{"url":"\\ud800"}}'),
    "something behind the end": ("/v1/score", b'{"image":{"url":"http://a.example"}}{}'),
    "a number as base64": ("/v1/score", b'{"image":{"base64":1}}'),
    "nothing as base64": ("/v1/score", b'{"image":{"base64":null}}'),
    "a text that does not end": ("/v1/score", b'{"image":{"url":"http://a.example"}}"'),
    "a long text that does not end": ("/v1/score", b'{"image":{"base64":"' + b"A" * 100_000),
    "a long method": ("/v1/score", b'{"image":{"url":"http://a.example"},"method":"' + b"a" * 100_000 + b'"}'),
    "a long URL": ("/v1/score", b'{"image":{"url":"' + b"a" * 100_000 + b'"}}'),
    "a long key": ("/v1/score", b'{"' + b"a" * 100_000 + b'":1}'),
    "a long text among numbers": ("/v1/agreement", b'{"scores":["' + b"a" * 100_000 + b'"]}'),
    "much white space": ("/v1/score", b" " * 1_000_000 + b'{"image":{"url":"http://a.example"}}'),
    "many texts": ("/v1/score", b'""' * MANY),
    "both": ("/v1/score", b'{"image":{"base64":"AA==","url":"http://a.example"}}'),
    "neither": ("/v1/score", b'{"image":{}}'),
}


@pytest.mark.parametrize("kind", WRONG)
def test_json_that_is_not_as_described_is_refused(client: httpx2.Client, server: Running, kind: str) -> None:
    route, body = WRONG[kind]
    answer = client.post(route, content=body, headers=JSON)
    assert code(answer) in ("400 malformed", "413 too_many_images")
    assert len(answer.content) < 1000
    assert server.service.memory.taken == server.service.places.taken == server.service.background_places.taken == 0


@pytest.mark.parametrize("route", ["/v1/score", "/v1/score/batch", "/v1/explain", "/v1/agreement"])
def test_values_are_counted_while_they_arrive(
    client: httpx2.Client, server: Running, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    kept = []
    take = server.service.memory.take
    monkeypatch.setattr(server.service.memory, "take", lambda amount, until: kept.append(amount) or take(amount, until))
    body = b'{"images":[' + b"{}," * 500_000
    assert code(client.post(route, content=body, headers=JSON)) == "400 malformed"
    assert sum(kept) < len(body) / 2
    assert server.service.memory.taken == 0


BODIES = [
    b'{"image": {"base64": "' + b"A" * 5000 + b'"}, "method": "paper"}',
    b'{"a\\"b\\\\": "' + b'\\\\\\"' * 3000 + b'", "c": ["' + b"/9" * 4000 + b'", "", "\\\\"]}',
    b'["' + b"A" * LONGEST_STRING + b'", "' + b"A" * (LONGEST_STRING - 2) + b'", 1.5, {"x": null}]',
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("seed", range(8))
def test_long_texts_are_put_aside_wherever_the_bytes_are_cut(body: bytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cuts = sorted({0, len(body), *map(int, rng.integers(0, len(body), 300))})
    found = JsonBody(len(body), 100)
    for start, end in itertools.pairwise(cuts):
        found.write(body[start:end])
    found.complete()
    assert len(found.rest) < LONGEST_STRING + 300
    assert found.long
    assert min(map(len, found.long)) > LONGEST_STRING
    around = re.split(rb'"[0-9a-f]{32}\d+"', found.rest)
    told = b"".join(itertools.chain.from_iterable(zip(around, [*(one.view for one in found.long), b""], strict=True)))
    assert told == body


def test_as_many_images_as_allowed_are_read_with_everything_beside_them(client: httpx2.Client) -> None:
    files = [base64.encodebytes(encoded(noise(seed))).decode() for seed in range(16)]
    body = {"images": [{"base64": text} for text in files], "method": "paper", "model": "fake"}
    answer = client.post("/v1/score/batch", content=json.dumps(body, indent=4), headers=JSON)
    scores = [client.post("/v1/score", json={"image": image}).json() for image in body["images"]]
    assert [row["result"] for row in answer.json()["results"]] == scores


PACKED = {
    "many images": b"\x81\xa6images\xdd\x00\x0f\x42\x40" + b"\xc4\x00" * 1_000_000,
    "one key again and again": b"\xdf\x00\x03\x0d\x40" + b"\xa6images\x91\xc4\x00" * 200_000,
    "keys of the pixels": b"\x81\xa6images\x91\xdf\x00\x03\x0d\x40" + b"\xa6height\x01" * 200_000,
    "more images announced than there are": b"\x81\xa6images\xdd\xff\xff\xff\xff\xc4\x00",
    "more bytes announced than there are": b"\x81\xa6images\x91\xc6\xff\xff\xff\xff",
    "a long text": b"\x82\xa6images\x91\xc4\x00\xa6method\xdb\x00\x0f\x42\x40" + b"a" * 1_000_000,
    "lists in lists": b"\x91" * 1_000_000,
    "cut in a head": b"\x81\xa6images\xdd\xff",
}


@pytest.mark.parametrize("kind", PACKED)
def test_msgpack_that_is_not_as_described_costs_next_to_nothing(
    client: httpx2.Client, server: Running, kind: str
) -> None:
    tracemalloc.start()
    try:
        answer = client.post("/v1/reward", content=PACKED[kind], headers={"content-type": "application/msgpack"})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code(answer) == "400 malformed"
    assert most < 6 * len(PACKED[kind]) + 1_000_000
    assert server.service.memory.taken == server.service.places.taken == 0


def part(head: bytes, body: bytes = b"") -> bytes:
    return b"--x\r\ncontent-disposition: form-data; " + head + b"\r\n\r\n" + body + b"\r\n"


IMAGE = part(b'name="image"; filename="a"', encoded(noise(1)))
FORMS = {
    "many parts": part(b'name="method"', b"a") * 1000,
    "many images": IMAGE * 2,
    "many urls": part(b'name="url"', b"http://a.example") * 2,
    "a text twice": IMAGE + part(b'name="method"', b"a") * 2,
    "a long text": IMAGE + part(b'name="method"', b"a" * 5000),
    "a long URL": part(b'name="url"', b"a" * 5000),
    "a long header": part(b'name="image"; filename="' + b"a" * 10_000 + b'"'),
    "many headers": part(b'name="image"; filename="a"\r\n' + b"\r\n".join(b"a%d: b" % n for n in range(100))),
    "a part without a name": part(b'filename="a"'),
    "a name of no use": part(b'name="other"; filename="a"'),
    "no part": b"",
    "bytes before the first part": b"\r\n--" * 1000 + IMAGE,
}


@pytest.mark.parametrize("kind", FORMS)
def test_forms_that_are_not_as_described_are_refused(client: httpx2.Client, server: Running, kind: str) -> None:
    answer = client.post("/v1/score", content=FORMS[kind] + b"--x--\r\n", headers=FORM)
    assert code(answer) in ("400 malformed", "413 too_many_images")
    assert server.service.memory.taken == server.service.places.taken == 0


def test_an_image_may_hold_what_looks_like_the_end_of_a_part(client: httpx2.Client) -> None:
    image = encoded(noise(1)) + b"\r\n--\r\n-\r\r\n--y" * 5000
    answer = client.post("/v1/score", content=part(b'name="image"; filename="a"', image) + b"--x--\r\n", headers=FORM)
    assert answer.json() == client.post("/v1/score", files={"image": encoded(noise(1))}).json()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=", "x"])
def test_a_form_needs_a_boundary_and_json_its_type(client: httpx2.Client, kind: str) -> None:
    assert client.post("/v1/score", content=IMAGE + b"--x--\r\n", headers={"content-type": kind}).status_code in (
        400,
        415,
    )


@pytest.mark.parametrize(
    ("schema", "body", "field"),
    [
        (ScoreRequest, {"image": {"url": 5}}, "image"),
        (ScoreRequest, {"image": {"url": "a"}, "method": 5}, "method"),
        (BatchRequest, {"images": []}, "images"),
        (AgreementRequest, {"scores": [1, 2, 3], "quality": [1, 2]}, "quality"),
        (ScoreRequest, {"image": {"url": "a"}, "evil": 5}, ""),
    ],
)
def test_the_refusal_names_the_field_and_nothing_else_of_the_body(
    schema: type[ScoreRequest | BatchRequest | AgreementRequest], body: object, field: str
) -> None:
    with pytest.raises(Refusal) as caught:
        parse(schema, json.dumps(body).encode())
    assert caught.value.detail == (f"see {field!r}" if field else "")


@pytest.mark.parametrize(
    "path", ["/v1/score?x=1", "/v1/explain?format=png&x", "/v1/agreement?format=png", "/v1/models?a=b"]
)
def test_query_parameters_that_an_address_does_not_take_are_refused(client: httpx2.Client, path: str) -> None:
    method = "GET" if "models" in path else "POST"
    answer = client.request(method, path, files=None if method == "GET" else {"image": encoded(noise(1))})
    assert code(answer) == "400 malformed"
    assert "query parameters" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", "/main.js", "/openapi.json", "/v1/models"])
def test_head_answers_as_get_does_without_a_body(client: httpx2.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
