"""Images on their way to a server: PNG, so that what arrives is what was scored."""

import base64
from collections import Counter
from collections.abc import Iterable
from functools import partial
from io import BytesIO

import anyio
from PIL import Image

from qdebias.image import RgbImage
from qdebias.prompts import Request

_FAST = 1  # level of zlib; higher ones take several times as long for a tenth of the size


def png_url(image: RgbImage) -> str:
    """Return the data URL of a PNG file that decodes to exactly these pixels."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=_FAST)
    return f"data:image/png;base64,{base64.b64encode(buffer.getbuffer()).decode('ascii')}"


class Pictures:
    """The data URLs of the images of some requests: each image is encoded once, and dropped after its last request.

    Args:
        requests: Each of them takes its URLs once.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        self._left = Counter(id(image) for request in requests for image in request.images)
        self._urls: dict[int, str] = {}
        self._locks: dict[int, anyio.Lock] = {}

    async def urls(self, request: Request) -> list[str]:
        """Return the URLs of the images of a request, in order."""
        return [await self._url(image) for image in request.images]

    async def _url(self, image: RgbImage) -> str:
        number = id(image)
        async with self._locks.setdefault(number, anyio.Lock()):
            if number not in self._urls:
                self._urls[number] = await anyio.to_thread.run_sync(partial(png_url, image))
        self._left[number] -= 1
        return self._urls[number] if self._left[number] else self._urls.pop(number)
