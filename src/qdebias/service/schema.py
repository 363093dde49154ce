"""Requests and answers of the service, and the parts of /openapi.json that FastAPI does not generate.

Requests are msgspec's, which parses untrusted bodies quickly and stops at the first error; answers are Pydantic's, from
which FastAPI generates their description.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from pydantic import BaseModel, Field

from qdebias.service.refusal import Reason

Probability = Annotated[float, Field(ge=0, le=1)]
_ABOUT_METHOD = "Name of the method; GET /v1/methods lists them."
_ABOUT_MODEL = "Name of the model; GET /v1/models lists them."
MethodName = Annotated[Annotated[str, Meta(max_length=200)] | None, Meta(description=_ABOUT_METHOD)]
ModelName = Annotated[Annotated[str, Meta(max_length=200)] | None, Meta(description=_ABOUT_MODEL)]
Base64 = Annotated[
    Raw | UnsetType,
    Meta(
        description="The file as it is (JPEG, PNG, WebP, BMP or TIFF), in base64; line ends and a data URL are fine.",
        extra_json_schema={"type": "string", "format": "byte", "contentEncoding": "base64"},
    ),
]
Url = Annotated[
    Annotated[str, Meta(max_length=2048)] | UnsetType,
    Meta(description="http or https, on a public address; only where the server was started with --allow-urls."),
]


class ImageSource(Struct, forbid_unknown_fields=True, frozen=True):
    """An image: either its file or its URL."""

    base64: Base64 = UNSET
    url: Url = UNSET


class _Asked(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    method: MethodName = None
    model: ModelName = None


class ScoreRequest(_Asked, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One image."""

    image: ImageSource


class BatchRequest(_Asked, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Several images."""

    images: Annotated[list[ImageSource], Meta(min_length=1)]


class RewardRequest(BatchRequest, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Generated images to be judged; those compressed with loss (JPEG) are refused unless `lossy` is true."""

    lossy: bool = False


ImagesRequest = ScoreRequest | BatchRequest


class RawPixels(Struct, forbid_unknown_fields=True, frozen=True):
    """An image as pixels: (height, width, 3) bytes of RGB, row by row."""

    height: Annotated[int, Meta(ge=1, le=1 << 20)]
    width: Annotated[int, Meta(ge=1, le=1 << 20)]
    pixels: memoryview


class PackedRewardRequest(_Asked, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A RewardRequest as msgpack, whose images are files as they are, or pixels."""

    images: Annotated[list[memoryview | RawPixels], Meta(min_length=1)]
    lossy: bool = False


MOST_NUMBERS = 20_000
Numbers = Annotated[list[Annotated[float, Meta(ge=-1e6, le=1e6)]], Meta(min_length=3, max_length=MOST_NUMBERS)]


class AgreementRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Scores and human scores of the same images, in the same order; higher is better in both."""

    scores: Numbers
    quality: Numbers


class ScoreAnswer(BaseModel):
    """The score of one image, with its parts."""

    score: Probability = Field(description="Quality in [0, 1]; higher is better.")
    model: str
    method: str
    seed: int
    conditions: list[str] = Field(description="The degraded copies that the image was shown beside, in order.")
    beside: bool = Field(
        description="Whether each copy was shown beside the image; false without copies, and where each is alone."
    )
    good: list[Probability] = Field(
        description="P(good) under each condition, or of each copy that was shown alone; one number without conditions."
    )
    same: list[Probability] = Field(description="P(same object) of each condition; empty if it was not asked.")
    weight: list[Probability] = Field(description="Weight of each condition; they sum to 1.")
    probabilities: dict[str, Probability] = Field(
        description="Probability of each option, such as good and poor; empty where the answers are no fixed options."
    )
    deviation: float | None = Field(description="Standard deviation of the options' values, in [0, 0.5].")
    log_odds: float | None = Field(description="log(score / (1 - score)), which separates scores near 0 or 1.")


class Problem(BaseModel):
    """Why there is no answer."""

    code: str = Field(description="One of a fixed list of words; docs/service.md explains each.")
    message: str
    request_id: str = Field(description="Stands in the log of the server too.")


class ErrorAnswer(BaseModel):
    """An answer without a score."""

    error: Problem


class BatchResult(BaseModel):
    """One image of a batch: its score, or its error."""

    index: int = Field(description="Place in the request, from 0.")
    result: ScoreAnswer | None
    error: Problem | None


class BatchAnswer(BaseModel):
    """The results in the order of the images."""

    results: list[BatchResult]
    failed: int


class RewardError(Problem):
    """Why one image of a batch has no reward."""

    index: int = Field(description="Place in the request, from 0.")


class RewardAnswer(BaseModel):
    """One reward an image, in the order of the images."""

    rewards: list[Probability | None] = Field(description="Quality in [0, 1]; null for an image that has an error.")
    errors: list[RewardError]
    model: str
    method: str
    fingerprint: str = Field(
        description="As in GET /v1/models; rewards under different fingerprints are not comparable."
    )


class ConditionPicture(BaseModel):
    """One degraded copy and what the model made of the image beside it."""

    kind: str
    picture: str = Field(description="Data URL of a reduced picture, for looking at.")
    good: Probability
    same: Probability | None
    weight: Probability


class ExplanationAnswer(BaseModel):
    """A score with the pictures that it came from."""

    answer: ScoreAnswer
    vanilla: Probability = Field(description="Score of the same image by the plain question, eq. (1).")
    picture: str = Field(description="Data URL of the image, reduced.")
    conditions: list[ConditionPicture]


class AgreementAnswer(BaseModel):
    """How well scores follow human scores."""

    count: int
    srcc: float
    plcc: float
    krcc: float
    gap: list[float] = Field(
        description="For each image the rank of its score minus the rank of its human score, in [-1, 1]: "
        "above 0 the model likes it better than people do."
    )


class MethodInfo(BaseModel):
    """A method that this server offers."""

    name: str
    summary: str
    default: bool


class ModelInfo(BaseModel):
    """A model that this server has loaded."""

    name: str
    fingerprint: str = Field(description="Changes with what decides its answers: weights, numeric type, template.")
    default: bool
    note: str = Field(description="What to know before its scores are relied on; empty of most models.")


class Methods(BaseModel):
    """The methods."""

    methods: list[MethodInfo]


class Models(BaseModel):
    """The models."""

    models: list[ModelInfo]


class Health(BaseModel):
    """Whether the server lives, or takes requests."""

    status: Literal["ok", "loading", "no_decoder", "stopping", "stuck"]


PIXELS = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgBAMAAACBVGfHAAAAGFBMVEW81jY12HkcjKvOd0w8PVkgSoejHJY0GL8RSZt5AAAAdUlEQVR42pWRwQ2A"
    "IBAER7ESKqA727IRE0qwA/gbxIfKoRFBfjcZdi/QjQDrBIADegCOOZJAdnLgBZiHsUnEaaiHsWCuCIZzAQ0wX0Ys1ArwVeMTDPcx+htwbRnud23j"
    "Yppgj9dIhq1lBPmLgmFfa5WAkF3ZAdEJGE3C/1veAAAAAElFTkSuQmCC"
)
"""A PNG of 32 x 32 pixels, for the examples."""
REFERENCE = "#/components/schemas/{name}"
_TEXTS = {
    "method": {"type": "string", "description": _ABOUT_METHOD},
    "model": {"type": "string", "description": _ABOUT_MODEL},
}
_USUAL = (
    *(Reason.MALFORMED, Reason.NO_KEY, Reason.CROSS_SITE, Reason.TOO_SLOW, Reason.TOO_LARGE, Reason.CONTENT_TYPE),
    *(Reason.NOT_SCORED, Reason.BUSY, Reason.MODEL_FAILED, Reason.DEADLINE),
)


def failures(*reasons: Reason) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route; without reasons, those of a route for images."""
    answers: dict[int | str, dict[str, Any]] = {}
    for reason in reasons or _USUAL:
        answers[reason.status] = {"model": ErrorAnswer, "description": reason.message}
    if Reason.BUSY.status in answers:
        answers[Reason.BUSY.status]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return answers


def body_of(schema: type[ImagesRequest | AgreementRequest], *, most: int = 1) -> dict[str, Any]:
    """Return the description of a JSON body, and of a form if it holds images, at most `most`."""
    json: dict[str, Any] = {"$ref": REFERENCE.format(name=schema.__name__)}
    if schema is AgreementRequest:
        numbers = {"scores": [0.2, 0.5, 0.4], "quality": [1.5, 3.0, 4.5]}
        content = {"application/json": {"schema": json, "example": numbers}}
        return {"requestBody": {"required": True, "content": content}}
    field = "image" if schema is ScoreRequest else "images"
    picture: dict[str, Any] = {"type": "string", "format": "binary"}
    example: Any = {"base64": PIXELS}
    if schema is not ScoreRequest:
        picture = {"type": "array", "items": picture, "minItems": 1, "maxItems": most}
        json = {"allOf": [json, {"properties": {field: {"maxItems": most}}}]}
        example = [example, example]
    texts = {**_TEXTS, "lossy": {"type": "boolean"}} if schema is RewardRequest else _TEXTS
    form = {
        "type": "object",
        "properties": {field: picture, **texts},
        "required": [field],
        "additionalProperties": False,
    }
    content = {
        "application/json": {"schema": json, "example": {field: example, "method": "paper"}},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}
