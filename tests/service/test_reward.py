"""The route for programs that train on scores: a number or null for each image, never one instead of the other."""

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest
from PIL import Image

from qdebias.backends.fake import FakeBackend
from qdebias.backends.load import load_backend
from qdebias.image import RgbImage
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from serving import Gated, code, encoded, noise, running, wait_until

PACKED = {"content-type": "application/msgpack"}


def direct(*seeds: int, method: str = "paper") -> list[float]:
    scorer = Scorer(backend=FakeBackend(), method=method)
    return [scorer.score(noise(seed)).value for seed in seeds]


def pixels(image: RgbImage) -> dict[str, Any]:
    return {"height": image.shape[0], "width": image.shape[1], "pixels": image.tobytes()}


def tiff_with_jpeg(image: RgbImage) -> bytes:
    out = BytesIO()
    Image.fromarray(image).save(out, "TIFF", compression="jpeg")
    return out.getvalue()


def test_rewards_stand_in_the_order_of_the_images_however_they_are_sent(client: httpx2.Client) -> None:
    want = direct(1, 2, 3)
    files = [encoded(noise(1)), encoded(noise(2), "WEBP", lossless=True), encoded(noise(3), "BMP")]
    form = client.post("/v1/reward", files=[("images", data) for data in files])
    texts = [{"base64": base64.b64encode(data).decode()} for data in files]
    sent = client.post("/v1/reward", json={"images": texts, "method": "paper", "model": "fake"})
    body = msgspec.msgpack.encode({"images": [files[0], pixels(noise(2)), files[2]]})
    packed = client.post("/v1/reward", content=body, headers=PACKED)
    assert packed.headers["content-type"] == "application/msgpack"
    fingerprint = client.get("/v1/models").json()["models"][0]["fingerprint"]
    for found in (form.json(), sent.json(), msgspec.msgpack.decode(packed.content)):
        assert found == {"rewards": want, "errors": [], "model": "fake", "method": "paper", "fingerprint": fingerprint}


@pytest.mark.parametrize(
    "lossy",
    [encoded(noise(2), "JPEG"), encoded(noise(2), "WEBP", quality=90), tiff_with_jpeg(noise(2))],
    ids=["JPEG", "WebP", "TIFF"],
)
def test_what_was_compressed_with_loss_is_judged_only_if_that_is_wanted(client: httpx2.Client, lossy: bytes) -> None:
    files = [("images", encoded(noise(1))), ("images", lossy)]
    found = client.post("/v1/reward", files=files).json()
    assert found["rewards"] == [*direct(1), None]
    assert [(error["index"], error["code"]) for error in found["errors"]] == [(1, "lossy")]
    taken = client.post("/v1/reward", files=files, data={"lossy": "true"}).json()
    shown = np.asarray(Image.open(BytesIO(lossy)).convert("RGB"))
    assert taken["rewards"] == [*direct(1), Scorer(backend=FakeBackend(), method="paper").score(shown).value]
    assert taken["errors"] == []


def test_an_extended_webp_is_told_by_its_picture(client: httpx2.Client) -> None:
    profile = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", "icc_profile": None}
    files = [
        ("images", encoded(noise(1), "WEBP", lossless=True, **profile)),
        ("images", encoded(noise(1), "WEBP", **profile)),
    ]
    found = client.post("/v1/reward", files=files).json()
    assert (found["rewards"][0], found["rewards"][1]) == (direct(1)[0], None)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (b"nothing", "no_image"),
        (pixels(noise(1, 8, 8)), "too_small"),
        (encoded(noise(1))[:200], "damaged"),
    ],
)
def test_an_image_that_cannot_be_judged_has_an_error_and_no_number(
    client: httpx2.Client, image: object, error: str
) -> None:
    body = msgspec.msgpack.encode({"images": [encoded(noise(1)), image, encoded(noise(3))], "method": "vanilla"})
    found = msgspec.msgpack.decode(client.post("/v1/reward", content=body, headers=PACKED).content)
    first, third = direct(1, 3, method="vanilla")
    assert found["rewards"] == [first, None, third]
    assert [(one["index"], one["code"]) for one in found["errors"]] == [(1, error)]


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"",
        msgspec.msgpack.encode({"images": []}),
        msgspec.msgpack.encode({"images": [1.5]}),
        msgspec.msgpack.encode({"images": [{"height": 40, "width": 40, "pixels": b"short"}]}),
        msgspec.msgpack.encode({"images": [encoded(noise(1))], "prompts": ["a cat"]}),
    ],
)
def test_other_msgpack_is_malformed(client: httpx2.Client, body: bytes) -> None:
    assert code(client.post("/v1/reward", content=body, headers=PACKED)) == "400 malformed"


def test_only_rewards_are_asked_for_in_msgpack_and_say_what_is_lossy(client: httpx2.Client) -> None:
    body = msgspec.msgpack.encode({"images": [encoded(noise(1))]})
    assert code(client.post("/v1/score/batch", content=body, headers=PACKED)) == "415 content_type"
    sent = client.post("/v1/score", files={"image": encoded(noise(1))}, data={"lossy": "true"})
    assert code(sent) == "400 malformed"


def test_a_full_queue_says_when_to_come_again() -> None:
    backend = Gated()
    backend.gate.release()  # for the question with which a server begins
    with (
        running({"gated": backend}, Settings(queue=3, images=3, batch=1, method="vanilla")) as server,
        server.client() as client,
    ):
        files = [("images", encoded(noise(seed))) for seed in range(3)]
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, "/v1/reward", files=files)
            wait_until(lambda: server.service.places.taken == 3)
            refused = client.post("/v1/reward", files=files)
            assert code(refused) == "429 busy"
            assert int(refused.headers["retry-after"]) >= 1
            for _ in range(3):
                backend.gate.release()
            assert first.result().json()["rewards"] == direct(0, 1, 2, method="vanilla")


@pytest.mark.parametrize("batch", [1, 8])
def test_rewards_of_the_embedded_model_have_the_same_bits_in_any_company(batch: int) -> None:
    nano = load_backend("nano", device="cpu")
    want = [Scorer(backend=nano, method="paper").score(noise(seed)).value for seed in range(4)]
    with running({"nano": nano}, Settings(batch=batch)) as server:

        def ask(seeds: tuple[int, ...]) -> list[float]:
            with server.client() as client:
                answer = client.post("/v1/reward", files=[("images", encoded(noise(seed))) for seed in seeds])
                return list(answer.json()["rewards"])

        companies = [(0, 1, 2, 3), (3, 2), (1,), (2, 0, 1)]
        with ThreadPoolExecutor(len(companies)) as pool:
            for seeds, found in zip(companies, pool.map(ask, companies), strict=True):
                assert found == [want[seed] for seed in seeds]
