"""The files of the page, each by its name; nothing else on the disk can be asked for."""

from functools import partial
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent / "page"

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By suffix; what the system would guess differs from machine to machine."""


def page_routes() -> APIRouter:
    """Return one route a file, and the page itself at the root."""
    router = APIRouter(include_in_schema=False)
    for path in sorted(FOLDER.iterdir()):
        answer = partial(FileResponse, path, media_type=KINDS[path.suffix], headers={"cache-control": "no-cache"})
        _add(router, "/" if path.name == "index.html" else f"/{path.name}", answer)
    return router


def _add(router: APIRouter, address: str, answer: "partial[FileResponse]") -> None:
    @router.api_route(address, methods=["GET", "HEAD"])
    def file() -> FileResponse:
        return answer()
