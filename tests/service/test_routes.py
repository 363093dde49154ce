"""What the service answers, through a real server."""

import base64
import html
import json
import re
import shlex
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.image import digest
from qdebias.metrics.measures import correlate
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from serving import Running, code, encoded, noise, running


def as_json(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


@pytest.mark.parametrize("method", ["paper", "vanilla", "average", "released"])
def test_a_score_is_that_of_the_library(client: httpx2.Client, method: str) -> None:
    direct = Scorer(backend=FakeBackend(), method=method).score(noise(1))
    form = client.post("/v1/score", files={"image": encoded(noise(1))}, data={"method": method})
    sent = client.post("/v1/score", json={"image": as_json(encoded(noise(1))), "method": method, "model": "fake"})
    assert form.status_code == sent.status_code == 200
    assert form.json() == sent.json()
    found = form.json()
    assert (found["score"], found["method"], found["model"], found["seed"]) == (direct.value, method, "fake", 0)
    assert (found["good"], found["same"], found["weight"]) == (
        direct.good.tolist(),
        direct.same.tolist(),
        direct.weight.tolist(),
    )
    assert (found["probabilities"], found["deviation"], found["log_odds"]) == (
        direct.probabilities,
        direct.deviation,
        direct.log_odds,
    )
    assert found["beside"] == (method != "vanilla")
    assert found["conditions"] == (["zoom blur", "spatter", "saturate", "fog"] if method != "vanilla" else [])


def test_one_bad_image_has_its_error_among_the_scores_of_the_others(client: httpx2.Client) -> None:
    files = [encoded(noise(1)), b"nothing", encoded(noise(2, 8, 8)), encoded(noise(3))]
    form = client.post("/v1/score/batch", files=[("images", data) for data in files])
    sent = client.post("/v1/score/batch", json={"images": [as_json(data) for data in files]})
    for answer in (form, sent):
        found = answer.json()
        assert answer.status_code == 200
        assert found["failed"] == 2
        assert [one["index"] for one in found["results"]] == [0, 1, 2, 3]
        assert [one["error"] and one["error"]["code"] for one in found["results"]] == [
            None,
            "no_image",
            "too_small",
            None,
        ]
        for place, seed in ((0, 1), (3, 3)):
            assert found["results"][place]["result"]["score"] == Scorer(backend=FakeBackend()).score(noise(seed)).value


def test_an_explanation_is_a_png_or_its_parts(client: httpx2.Client) -> None:
    png = client.post("/v1/explain", files={"image": encoded(noise(1))})
    assert png.headers["content-type"] == "image/png"
    width, height = Image.open(BytesIO(png.content)).size
    assert width > 4 * height

    found = client.post("/v1/explain?format=json", files={"image": encoded(noise(1, 900, 1200))}).json()
    assert found["vanilla"] == Scorer(backend=FakeBackend(), method="vanilla").score(noise(1, 900, 1200)).value
    assert [one["kind"] for one in found["conditions"]] == ["zoom blur", "spatter", "saturate", "fog"]
    assert [one["weight"] for one in found["conditions"]] == found["answer"]["weight"]
    kind, data = found["conditions"][3]["picture"].split(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(BytesIO(base64.b64decode(data))).size == (640, 480)

    plain = client.post(
        "/v1/explain?format=json", files={"image": encoded(noise(1))}, data={"method": "vanilla"}
    ).json()
    assert plain["conditions"] == []
    assert plain["vanilla"] == plain["answer"]["score"]


def test_methods_and_models_are_those_that_answer(client: httpx2.Client) -> None:
    methods = client.get("/v1/methods").json()["methods"]
    names = [method["name"] for method in methods]
    assert [method["name"] for method in methods if method["default"]] == ["paper"]
    assert set(names) < set(presets.RECIPES)
    assert "mismatched" not in names  # needs other images
    for name in names:
        answer = client.post("/v1/score", files={"image": encoded(noise(1))}, data={"method": name})
        assert answer.status_code == 200, name
    assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["fake"]


def test_several_models_answer_by_name() -> None:
    backends = {"one": FakeBackend(answer=lambda *_: [1.0, 0.0]), "two": FakeBackend(answer=lambda *_: [0.0, 1.0])}
    with running(backends) as server, server.client() as client:
        scores = [
            client.post("/v1/score", files={"image": encoded(noise(1))}, data=data).json()["score"]
            for data in ({}, {"model": "one"}, {"model": "two"})
        ]
    np.testing.assert_allclose(scores, [0.7310586, 0.7310586, 0.2689414], atol=1e-6)


def test_scores_are_compared_with_human_scores(client: httpx2.Client) -> None:
    rng = np.random.default_rng(0)
    quality = rng.normal(size=50)
    scores = quality + rng.normal(size=50)
    scores[7] = scores.max() + 1
    quality[7] = quality.min() - 1
    found = client.post("/v1/agreement", json={"scores": scores.tolist(), "quality": quality.tolist()}).json()
    want = correlate(scores, quality, resamples=0)
    assert (found["count"], found["srcc"], found["plcc"], found["krcc"]) == (50, want.srcc, want.plcc, want.krcc)
    assert int(np.argmax(np.abs(found["gap"]))) == 7
    assert found["gap"][7] == pytest.approx(49 / 50)
    for bad in ({"scores": [1, 1, 1], "quality": [1, 2, 3]}, {"scores": [1, 2, 3], "quality": [1, 2, 3, 4]}):
        assert code(client.post("/v1/agreement", json=bad)) == "422 not_comparable"


def test_requests_that_are_not_as_described_are_refused(client: httpx2.Client) -> None:
    image = encoded(noise(1))
    named = b"--x\r\ncontent-disposition: form-data; name="
    form = named + b'"image"; filename="a"\r\n\r\n' + image + b"\r\n" + named + b'"method"\r\n\r\nvanilla\r\n--x--\r\n'
    cases = {
        "400 malformed": [
            {"content": b"{", "headers": {"content-type": "application/json"}},
            {"json": {}},
            {"json": {"image": as_json(image), "extra": 1}},
            {"json": {"image": {"base64": "***"}}},
            {"json": {"image": {"base64": "AA==", "url": "http://a.example"}}},
            {"json": {"image": as_json(image), "method": 5}},
            {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
            {"data": {"method": "paper"}, "files": {"other": image}},
            {"files": {"image": image}, "data": {"nonsense": "x"}},
            {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            {"content": b"", "headers": {"content-type": "multipart/form-data"}},
            {"content": form[:-10], "headers": {"content-type": "multipart/form-data; boundary=x"}},
            {"content": b"--x\r\nnonsense\r\n\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        ],
        "413 too_many_images": [{"files": [("image", image), ("image", image)]}],
        "415 content_type": [
            {"content": image},
            {"content": image, "headers": {"content-type": "image/png"}},
            {"data": {"image": "x"}},
        ],
        "415 no_image": [{"json": {"image": {"base64": ""}}}, {"files": {"image": b"x"}}],
        "422 no_method": [
            {"files": {"image": image}, "data": {"method": "mismatched"}},
            {"files": {"image": image}, "data": {"method": "../x"}},
        ],
        "422 no_model": [
            {"files": {"image": image}, "data": {"model": "hf:/etc"}},
            {"json": {"image": as_json(image), "model": "pkg:f"}},
        ],
        "422 no_urls": [{"json": {"image": {"url": "http://a.example/x.png"}}}],
    }
    for wanted, requests in cases.items():
        for request in requests:
            assert code(client.post("/v1/score", **request)) == wanted, request  # type: ignore[arg-type]
    assert code(client.post("/v1/explain?format=pdf", files={"image": image})) == "400 malformed"
    assert code(client.get("/v1/score")) == "405 not_allowed"
    assert code(client.post("/v1/nothing")) in ("404 not_found", "405 not_allowed")
    assert code(client.get("/../../etc/passwd")) == "404 not_found"
    assert code(client.get("/%2e%2e/%2e%2e/etc/passwd")) == "404 not_found"


def test_bodies_are_cut_off_while_they_arrive() -> None:
    with running(settings=Settings(image_bytes=10_000, images=2)) as server, server.client() as client:
        arrived = 0

        def endless() -> object:
            nonlocal arrived
            yield b'--x\r\ncontent-disposition: form-data; name="image"; filename="x"\r\n\r\n'
            for _ in range(2000):
                arrived += 1000
                yield bytes(1000)

        form = {"content-type": "multipart/form-data; boundary=x"}
        assert code(client.post("/v1/score", content=endless(), headers=form)) == "413 too_large"  # type: ignore[arg-type]
        assert code(client.post("/v1/score", content=bytes(200_000), headers=form)) == "413 too_large"
        assert code(client.post("/v1/score", files={"image": bytes(10_001)})) == "413 too_large"
        found = client.post("/v1/score/batch", files=[("images", bytes(10_001)), ("images", encoded(noise(1)))]).json()
        assert [one["error"] and one["error"]["code"] for one in found["results"]] == ["too_large", None]
        assert code(client.post("/v1/score/batch", files=[("images", b"x")] * 3)) == "413 too_many_images"
        assert server.service.memory.taken == server.service.places.taken == 0


def test_an_image_that_the_model_refuses_and_one_that_breaks_it() -> None:
    refused, sound = noise(1), noise(2)
    with running({"fake": FakeBackend(failing=[digest(refused)])}) as server, server.client() as client:
        assert code(client.post("/v1/score", files={"image": encoded(refused)})) == "422 not_scored"
        assert client.post("/v1/score", files={"image": encoded(sound)}).status_code == 200

    calls = 0

    def nan_later(*_: object) -> list[float]:
        nonlocal calls
        calls += 1
        return [0.0, 0.0] if calls < 9 else [float("nan"), 0.0]

    with running({"fake": FakeBackend(answer=nan_later)}) as server, server.client() as client:
        answer = client.post("/v1/score", files={"image": encoded(sound)})
        assert code(answer) == "503 model_failed"
        assert "nan" not in answer.text


def test_metrics_count_what_happened() -> None:
    with running() as server, server.client() as client:
        client.post("/v1/score", files={"image": encoded(noise(1))})
        client.post("/v1/score", files={"image": b"x"})
        client.get("/v1/" + "x" * 50)
        answer = client.get("/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["qdebias_images_total", ("outcome", "scored")] == 1
    assert samples["qdebias_images_total", ("outcome", "no_image")] == 1
    post = (("method", "POST"), ("route", "/v1/score"))
    assert samples["qdebias_requests_total", *post, ("status", "200")] == 1
    assert samples["qdebias_requests_total", *post, ("status", "415")] == 1
    assert samples["qdebias_requests_total", ("method", "GET"), ("route", "other"), ("status", "404")] == 1
    assert samples["qdebias_batch_images_count",] == 1
    assert samples["qdebias_queue_images",] == 0


def test_the_description_has_examples_that_work(client: httpx2.Client) -> None:
    described = client.get("/openapi.json").json()
    tried = 0
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                tried += 1
                answer = client.request(method, path, json=content["application/json"]["example"])
                assert answer.status_code == 200, (path, answer.text)
    assert tried == 5
    assert "security" not in described
    assert "/opt" not in json.dumps(described)


def test_the_page_about_the_api_has_every_address_and_examples_that_work(
    client: httpx2.Client, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-security-policy"] == client.get("/").headers["content-security-policy"]
    for word in ("<script", "style=", "http://", "https://"):
        assert word not in answer.text.replace(server.url, "")
    assert 'href="docs"' in client.get("/").text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(encoded(noise(1), "JPEG"))
    examples = re.findall(r"<pre><code>(.*?)</code></pre>", answer.text, re.DOTALL)
    assert len(examples) == 10
    for example in map(html.unescape, examples):
        if example.startswith("curl"):
            words = shlex.split(example)
            if shutil.which("curl"):
                ran = subprocess.run(
                    [words[0], "--fail", "--noproxy", "*", "-s", *words[1:]], check=True, capture_output=True
                )
                assert ran.stdout
        else:
            said: list[str] = []
            with client.__class__(trust_env=False, timeout=60) as http:
                exec(  # noqa: S102
                    example.removeprefix("import requests\n"),
                    {"requests": http, "print": lambda *all, said=said: said.append(all)},
                )
            assert said[0][0] == 200, example
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in answer.text


def test_the_page_comes_from_this_server_alone(client: httpx2.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name, kind in (("main.js", "javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg")):
        answer = client.get(f"/{name}")
        assert kind in answer.headers["content-type"]
        assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
    assert "http" not in page.text


def test_the_server_that_is_shared_holds_nothing_afterwards(server: Running) -> None:
    assert (server.service.places.taken, server.service.memory.taken, server.service.pixels.out) == (0, 0, 0)
