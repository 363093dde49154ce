"""The files of the page, each by its name, kept in memory; nothing else on the disk can be asked for."""

from functools import partial
from pathlib import Path

from fastapi import APIRouter, Response

FOLDER = Path(__file__).parent / "page"

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
}
"""By suffix; what the system would guess differs from machine to machine."""


def page_routes() -> APIRouter:
    """Return one route a file, and the page itself at the root."""
    router = APIRouter(include_in_schema=False)
    for path in sorted(FOLDER.iterdir()):
        answer = partial(
            Response, path.read_bytes(), media_type=KINDS[path.suffix], headers={"cache-control": "no-cache"}
        )
        _add(router, "/" if path.name == "index.html" else f"/{path.name}", answer)
    return router


def _add(router: APIRouter, address: str, answer: "partial[Response]") -> None:
    @router.get(address)
    async def file() -> Response:
        return answer()
