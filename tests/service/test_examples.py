"""The examples that bring scores into other tools, against a real server.

`mcp` is the package itself. NeMo Curator and Data-Juicer bring much that does not belong into this environment: where
they are not installed, classes with the methods that the examples use stand in for theirs.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
import torch
from mcp import Client as McpClient
from mcp import StdioServerParameters
from PIL import Image

from qdebias.backends.fake import FakeBackend
from qdebias.client import ServerError
from qdebias.runs.scorer import Scorer
from serving import Running, encoded, noise

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "integrations"


def direct(*seeds: int) -> list[float]:
    scorer = Scorer(backend=FakeBackend())
    return [scorer.score(noise(seed)).value for seed in seeds]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two images and a text, beside an image that is not in it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path, seed in ((folder / "a.png", 1), (folder / "b.png", 2), (tmp_path / "secret.png", 3)):
        path.write_bytes(encoded(noise(seed)))
    (folder / "notes.txt").write_text("no image")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    return folder


def call_mcp(server: Running, folder: Path, *calls: tuple[str, dict[str, str]]) -> list[Any]:
    """Start the MCP server as its users do, and call its tools through the client of the package."""
    command = StdioServerParameters(
        command=sys.executable, args=[str(EXAMPLES / "mcp_server.py"), server.url, str(folder)]
    )

    async def session() -> list[Any]:
        async with McpClient(command) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"score", "compare", "explain"}
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(session())


def test_mcp_tools_answer_with_the_scores_of_the_library(server: Running, photos: Path) -> None:
    one, two = direct(1, 2)
    score, compared, swapped, same, drawn = call_mcp(
        server,
        photos,
        ("score", {"image": "a.png"}),
        ("compare", {"first": "a.png", "second": "b.png"}),
        ("compare", {"first": "b.png", "second": "a.png"}),
        ("compare", {"first": "a.png", "second": "a.png"}),
        ("explain", {"image": "a.png"}),
    )
    assert not any(result.is_error for result in (score, compared, swapped, same, drawn))
    assert (score.structured_content["score"], score.structured_content["model"]) == (one, "fake")
    assert json.loads(score.content[0].text)["score"] == one
    assert one != two
    names = ("first", "second") if one > two else ("second", "first")
    assert compared.structured_content == {"first": one, "second": two, "better": names[0]}
    assert swapped.structured_content == {"first": two, "second": one, "better": names[1]}
    assert same.structured_content["better"] == "neither"
    with Image.open(BytesIO(base64.b64decode(drawn.content[0].data))) as picture:
        assert (picture.format, drawn.content[0].mime_type) == ("PNG", "image/png")


def test_mcp_tools_open_no_file_outside_their_folder_and_say_what_is_wrong(server: Running, photos: Path) -> None:
    outside = ("../secret.png", str(photos.parent / "secret.png"), "link.png", "missing.png", ".")
    *refused, text, compared = call_mcp(
        server,
        photos,
        *(("explain", {"image": image}) for image in outside),
        ("score", {"image": "notes.txt"}),
        ("compare", {"first": "a.png", "second": "../secret.png"}),
    )
    for image, result in zip(outside, refused, strict=True):
        assert result.is_error
        assert result.content[0].text.endswith(f": {image} is no file in the folder photos")
    assert text.is_error
    assert "notes.txt: no_image: " in text.content[0].text
    assert compared.is_error
    assert compared.content[0].text.endswith(": ../secret.png is no file in the folder photos")


def example(monkeypatch: pytest.MonkeyPatch, name: str, package: str, **stand_ins: dict[str, Any]) -> ModuleType:
    """Import an example, with these modules in place of those of a package that is not installed."""
    if find_spec(package) is None:
        for module, names in stand_ins.items():
            stand_in = ModuleType(module.replace("__", "."))
            vars(stand_in).update(names)
            monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module(name)


Read, Made = TypeVar("Read"), TypeVar("Made")


class StandInStage(Generic[Read, Made]):
    """What the stage of the example uses of NeMo Curator's `ProcessingStage`."""

    name, batch_size = "ProcessingStage", 1


def nemo_curator_stage(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Return the stage, and a function that makes a batch of images."""
    tasks = {"ImageBatch": SimpleNamespace, "ImageObject": SimpleNamespace}
    loaded = example(
        monkeypatch,
        "nemo_curator_stage",
        "nemo_curator",
        nemo_curator={},
        nemo_curator__stages={},
        nemo_curator__stages__base={"ProcessingStage": StandInStage},
        nemo_curator__tasks=tasks,
    )
    module = sys.modules["nemo_curator.tasks"]

    def batch(*pixels: Any) -> Any:
        images = [
            module.ImageObject(image_path="", image_id=str(place), metadata={}, image_data=one)
            for place, one in enumerate(pixels)
        ]
        return module.ImageBatch(dataset_name="photos", data=images)

    return loaded.QualityFilterStage, batch


def test_nemo_curator_keeps_the_images_of_sufficient_quality(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage_of, batch = nemo_curator_stage(monkeypatch)
    want = direct(1, 2, 3, 4)
    threshold = sorted(want)[2]
    stage = stage_of(url=server.url, threshold=threshold)
    assert stage.inputs() == stage.outputs() == (["data"], [])
    stage.setup()
    task = batch(*map(noise, (1, 2, 3, 4)), noise(5)[:8, :8])
    found = stage.process(task)
    assert [(int(image.image_id), image.metadata["quality"]) for image in found.data] == [
        (place, score) for place, score in enumerate(want) if score >= threshold
    ]
    assert "4 is dropped: too_small" in caplog.text
    assert stage.process(batch()).data == []
    with pytest.raises(ValueError, match="not NoneType"):
        stage.process(batch(None))
    stage.teardown()


def test_nemo_curator_stops_where_the_server_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    stage_of, batch = nemo_curator_stage(monkeypatch)
    stage = stage_of(url="http://127.0.0.1:1", threshold=0.0)
    stage.setup()
    with pytest.raises(ServerError, match="no_answer"):
        stage.process(batch(noise(1)))
    stage.teardown()


class StandInFilter:
    """What the filter of the example uses of Data-Juicer's `Filter`."""

    def __init__(self, **settings: Any) -> None:
        self.image_key, self.image_bytes_key = "images", "image_bytes"
        self.reversed_range = settings.get("reversed_range", False)

    def get_keep_boolean(self, value: float, least: float, most: float) -> bool:
        return (least <= value <= most) is not self.reversed_range

    def compute_stats(self, sample: Any) -> Any:
        return self.compute_stats_single(sample)  # type: ignore[attr-defined]

    def process(self, sample: Any) -> Any:
        return self.process_single(sample)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def data_juicer(server: Running) -> Iterator[Any]:
    """The filter, which Data-Juicer lets be registered once."""
    operators = SimpleNamespace(register_module=lambda _: lambda operator: operator)
    with pytest.MonkeyPatch.context() as patch:
        found = example(
            patch,
            "data_juicer_filter",
            "data_juicer",
            data_juicer={},
            data_juicer__ops={},
            data_juicer__ops__base_op={"OPERATORS": operators, "Filter": StandInFilter},
            data_juicer__utils={},
            data_juicer__utils__constant={"Fields": SimpleNamespace(stats="__dj__stats__")},
        )
    yield found
    found._client(server.url, os.getpid()).close()


def test_data_juicer_keeps_samples_by_their_images(server: Running, photos: Path, data_juicer: Any) -> None:
    one, two = direct(1, 2)
    low, high = sorted((one, two))
    paths = [str(photos / "a.png"), str(photos / "b.png")]
    for images in ({"images": paths}, {"images": paths, "image_bytes": [Path(path).read_bytes() for path in paths]}):
        for settings, keeps in (
            ({}, True),
            ({"min_score": low}, True),
            ({"min_score": high}, False),
            ({"min_score": high, "any_or_all": "any"}, True),
            ({"min_score": low, "reversed_range": True}, False),
            ({"max_score": low, "any_or_all": "any"}, True),
            ({"max_score": low}, False),
        ):
            operator = data_juicer.QdebiasQualityFilter(url=server.url, **settings)
            sample = operator.compute_stats({"text": "", **images, "__dj__stats__": {}})
            assert sample["__dj__stats__"] == {"qdebias_scores": [one, two]}
            assert operator.process(sample) is keeps
    kept = {"text": "", "images": [], "__dj__stats__": {}}
    assert operator.process(operator.compute_stats(kept)) is True
    known = {"text": "", "images": ["missing.png"], "__dj__stats__": {"qdebias_scores": [low]}}
    assert operator.compute_stats(known) == known


def test_data_juicer_takes_no_image_without_a_score(server: Running, photos: Path, data_juicer: Any) -> None:
    operator = data_juicer.QdebiasQualityFilter(url=server.url)
    with pytest.raises(ServerError, match="no_image"):
        operator.compute_stats({"text": "", "images": [str(photos / "notes.txt")], "__dj__stats__": {}})
    with pytest.raises(ValueError, match="any or all, not 'some'"):
        data_juicer.QdebiasQualityFilter(url=server.url, any_or_all="some")


def test_comfyui_gets_the_scores_and_the_best_image(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of its call: a batch (N, H, W, 3) in [0, 1] by keyword, a tuple with an entry an output back."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("QDEBIAS_URL", server.url)
    module = import_module("comfyui_node")
    (node,) = module.NODE_CLASS_MAPPINGS.values()
    assert module.NODE_DISPLAY_NAME_MAPPINGS.keys() == module.NODE_CLASS_MAPPINGS.keys()
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_IS_LIST)
    (name,) = node.INPUT_TYPES()["required"]
    batch = torch.from_numpy(np.stack([noise(1), noise(2), noise(3)]).astype(np.float32) / 255.0)
    scores, best = getattr(node(), node.FUNCTION)(**{name: batch})
    assert scores == direct(1, 2, 3)
    assert torch.equal(best, batch[np.argmax(scores)][None])
    with pytest.raises(ServerError, match="too_small"):
        getattr(node(), node.FUNCTION)(**{name: batch[:, :8, :8]})
