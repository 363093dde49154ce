"""The thin client against a real server, and the examples that stand on it."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qdebias.backends.fake import FakeBackend
from qdebias.client import AsyncClient, Client, Score, ServerError, png
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from serving import Running, encoded, noise, running

ROOT = Path(__file__).resolve().parents[2]


def direct(*seeds: int, method: str = "paper") -> list[float]:
    scorer = Scorer(backend=FakeBackend(), method=method)
    return [scorer.score(noise(seed)).value for seed in seeds]


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as found:
        yield found


def test_png_holds_the_pixels() -> None:
    image = noise(4, 33, 47)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png(image.tobytes(), 47, 33)))), image)


def test_every_form_of_an_image_has_the_score_of_the_library(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noise(1)))
    (want,) = direct(1)
    for image in (path, str(path), path.read_bytes(), Image.fromarray(noise(1)), noise(1)):
        assert client.score(image).score == want
    found = client.score(path, method="vanilla", model="fake")
    assert (found.method, found.model, found.score) == ("vanilla", "fake", *direct(1, method="vanilla"))


def test_many_scores_keep_their_order_and_errors_their_place(server: Running, client: Client) -> None:
    images: list[Any] = [noise(seed) for seed in range(40)]
    images[7], images[20] = b"nothing", "missing.png"
    want = direct(*range(40))

    async def asynchronous() -> list[Score | Exception]:
        async with AsyncClient(server.url) as found:
            return [one async for one in found.score_many(iter(images))]

    for results in (list(client.score_many(iter(images))), asyncio.run(asynchronous())):
        assert len(results) == 40
        for place, result in enumerate(results):
            if place == 7:
                assert isinstance(result, ServerError)
                assert (result.status, result.code) == (415, "no_image")
            elif place == 20:
                assert isinstance(result, FileNotFoundError)
            else:
                assert isinstance(result, Score)
                assert float(result) == want[place]


def test_images_are_drawn_as_they_are_needed(client: Client) -> None:
    drawn = []

    def images() -> Iterator[Any]:
        for seed in range(1000):
            drawn.append(seed)
            yield noise(seed)

    results = client.score_many(images())
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(drawn) <= 3 * client.settings.concurrency


def test_rewards_and_explanations(client: Client) -> None:
    found = client.reward([noise(1), encoded(noise(2), "JPEG"), noise(3)])
    first, third = direct(1, 3)
    assert found.rewards == [first, None, third]
    assert {place: error.code for place, error in found.errors.items()} == {1: "lossy"}
    assert client.reward([encoded(noise(2), "JPEG")], lossy=True).errors == {}
    assert client.explain(noise(1)).startswith(b"\x89PNG")
    assert b'"vanilla"' in client.explain(noise(1), format="json")


def test_errors_say_what_the_server_said(client: Client) -> None:
    with pytest.raises(ServerError, match="no_method: this server has no such method") as caught:
        client.score(noise(1), method="nonsense")
    assert (caught.value.status, len(caught.value.request_id) > 0) == (422, True)
    other = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  what a worker process raises
    assert (type(other), vars(other), str(other)) == (ServerError, vars(caught.value), str(caught.value))
    with pytest.raises(ValueError, match="not list"):
        client.score([1, 2])


def test_a_full_queue_and_an_absent_server_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with pytest.raises(ServerError, match="no_answer"), Client("http://127.0.0.1:1", retries=3) as absent:
        absent.score(noise(1))
    assert len(slept) == 3
    with running(settings=Settings(queue=1, images=1)) as server, Client(server.url, retries=2) as client:
        held = ExitStack()
        server.service.places.take(1, held)
        del slept[:]
        with pytest.raises(ServerError, match="busy"):
            client.score(noise(1))
        assert len(slept) == 2
        monkeypatch.setattr("time.sleep", lambda _: held.close())
        assert client.score(noise(1)).score == direct(1)[0]


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, qdebias.client; print({'torch', 'numpy', 'httpx2', 'PIL', 'asyncio'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_the_package_of_its_own_imports_in_under_a_tenth_of_a_second(tmp_path: Path) -> None:
    """Of processor time, the least of three; httpx2 is imported when a client is made."""
    (tmp_path / "qdebias_client.py").write_bytes((ROOT / "src" / "qdebias" / "client.py").read_bytes())
    code = "import time; start = time.process_time(); import qdebias_client; print(time.process_time() - start)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.1


def test_rewards_for_flow_grpo(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of its call: a batch (N, 3, H, W) in [0, 1], prompts and metadata; scores and a mapping back."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "rewards")
    from flow_grpo_reward import quality

    reward = quality(client)
    pixels = np.stack([noise(1), noise(2)])
    tensor = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    for images in (tensor, pixels):
        scores, more = reward(images, ["a", "b"], [{}, {}])
        assert scores.tolist() == direct(1, 2)
        assert isinstance(more, dict)
    with pytest.raises(ValueError, match="image 0 of 1 cannot be judged: too_small"):
        reward(pixels[:1, :8, :8], ["a"], [{}])


def test_rewards_for_verl_omni(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of its call: one uint8 tensor (3, H, W) with keyword arguments; a mapping with "score" back."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "rewards")
    import verl_omni_reward

    image = torch.from_numpy(noise(1).transpose(2, 0, 1).copy())

    async def ask() -> None:
        for shown in (image, image[None]):
            found = await verl_omni_reward.compute_score(
                solution_image=shown, ground_truth="a cat", server_url=server.url, extra_info={}
            )
            assert found == {"score": direct(1)[0]}
        with pytest.raises(ServerError, match="too_small"):
            await verl_omni_reward.compute_score(image[:, :8, :8], "a cat", server.url)
        await verl_omni_reward._clients.pop(server.url).close()

    asyncio.run(ask())
