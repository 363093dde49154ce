"""The examples that bring scores into other tools, against a real server."""

import asyncio
import base64
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters
from PIL import Image

from qdebias.backends.fake import FakeBackend
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
