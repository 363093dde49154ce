"""Why a request or one of its images is refused, in fixed words.

No text of a library, the operating system or the client is repeated: such texts have leaked addresses and paths
elsewhere (CVE-2026-22778).
"""

from collections.abc import Mapping
from enum import Enum


class Reason(Enum):
    """HTTP status and message of each reason; its name in lower case is the `code` in the answer."""

    MALFORMED = (400, "the request is not as /openapi.json describes it")
    NO_KEY = (401, "a key is needed: Authorization: Bearer <key>")
    CROSS_SITE = (403, "pages of other sites may not use this server")
    UNKNOWN_HOST = (
        403,
        "this server is not known by the name in the Host header; start it with --name NAME to allow it",
    )
    NOT_FOUND = (404, "there is nothing at this address")
    NOT_ALLOWED = (405, "this address does not take this method")
    TOO_SLOW = (408, "the request did not arrive in time")
    TOO_LARGE = (413, "the body is larger than this server takes")
    TOO_MANY_IMAGES = (413, "the request holds more images than this server takes at once")
    TOO_MANY_PIXELS = (413, "the image has more pixels than this server takes")
    CONTENT_TYPE = (415, "send multipart/form-data or application/json, or to /v1/reward application/msgpack")
    NO_IMAGE = (415, "this is not an image in one of the formats JPEG, PNG, WebP, BMP and TIFF")
    LOSSY = (
        415,
        "the image was compressed with loss, which costs it quality that it had; send PNG, lossless WebP or pixels, or "
        "set lossy to true",
    )
    DAMAGED = (422, "the image is damaged or truncated")
    TOO_SMALL = (422, "the image is too small to score; 32 pixels a side is the minimum")
    SEVERAL_FRAMES = (422, "the image holds several frames; send the one to be scored")
    PIXEL_TYPE = (422, "the image has a pixel type that is not supported; save it with 8 or 16 bits per channel")
    DECODING_TOOK_TOO_LONG = (422, "the image could not be decoded within the limits of time and memory")
    NO_METHOD = (422, "this server has no such method; GET /v1/methods lists them")
    NO_MODEL = (422, "this server has no such model; GET /v1/models lists them")
    NO_URLS = (422, "this server takes no URLs; send the image itself")
    URL_REFUSED = (422, "the URL is not one that this server fetches: public addresses, http or https, usual ports")
    URL_FAILED = (422, "the URL gave no image within the limits of time and size")
    NOT_SCORED = (422, "the model cannot be shown this image")
    NOT_COMPARABLE = (422, "give as many scores as human scores, and neither all the same")
    BUSY = (429, "the queue is full; try again later")
    CLIENT_LEFT = (499, "the client left")
    FAULT = (500, "something went wrong in the server; its log has the request id")
    MODEL_FAILED = (503, "the model could not answer; the log has the request id")
    NOT_READY = (503, "the model is still loading, or the server is stopping; GET /readyz says when it is ready")
    DEADLINE = (504, "no answer within the deadline")

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message

    @property
    def code(self) -> str:
        """The name in an answer, such as "too_small"."""
        return self.name.lower()


class Refusal(Exception):  # noqa: N818
    """Ends the handling of a request, or of one image in it; `detail` names the wrong part, in our own words."""

    def __init__(self, reason: Reason, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
        self.headers = dict(headers or {})
        self.message = f"{reason.message} ({detail})" if detail else reason.message


def busy(seconds: float) -> Refusal:
    """Return the refusal of a full queue that will have room in about `seconds`."""
    return Refusal(Reason.BUSY, headers={"retry-after": str(max(1, round(seconds)))})
