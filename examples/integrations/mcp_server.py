"""An MCP server through which a language model scores, compares and explains the images of a folder.

    python examples/integrations/mcp_server.py http://127.0.0.1:8765 photos

It asks the `qdebias serve` at that address, and talks to its client over standard input and output. Images are named
by their path in the folder; nothing outside it is opened.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from qdebias.client import Client, ServerError


def quality_server(client: Client, folder: Path) -> MCPServer:
    """Return a server with the tools score, compare and explain."""
    server = MCPServer("image-quality", log_level="WARNING")

    def ask(question: Callable[[Path], Any], image: str) -> Any:  # noqa: ANN401  what the client answers
        path = (folder / image).resolve()
        if not (path.is_relative_to(folder.resolve()) and path.is_file()):
            raise ToolError(f"{image} is no file in the folder {folder.name}")
        try:
            return question(path)
        except ServerError as error:
            raise ToolError(f"{image}: {error}") from error

    @server.tool()
    def score(image: str) -> dict[str, Any]:
        """Tell the quality of an image, from 0 to 1 (higher is better), and what it is computed from."""
        return asdict(ask(client.score, image))

    @server.tool()
    def compare(first: str, second: str) -> dict[str, Any]:
        """Tell which of two images has the higher score: first, second or neither."""
        one, two = (ask(client.score, image).score for image in (first, second))
        return {"first": one, "second": two, "better": "first" if one > two else "second" if two > one else "neither"}

    @server.tool()
    def explain(image: str) -> Image:
        """Draw how the score of an image comes about."""
        return Image(data=ask(client.explain, image), format="png")

    return server


if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        quality_server(client, Path(sys.argv[2])).run()
