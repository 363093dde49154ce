"""What goes in and out of the service, as /openapi.json describes it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(max_length=200)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EncodedImage(_Strict):
    """An image in the request."""

    base64: str = Field(
        description="The file as it is (JPEG, PNG, WebP, BMP or TIFF), in base64.",
        json_schema_extra={"format": "byte", "contentEncoding": "base64"},
    )


class LinkedImage(_Strict):
    """An image elsewhere; only where the server was started with --allow-urls."""

    url: Annotated[str, Field(max_length=2048, description="http or https, on a public address.")]


AnyImage = EncodedImage | LinkedImage


class ScoreRequest(_Strict):
    """One image."""

    image: AnyImage
    method: Name | None = Field(default=None, description="How it is asked; GET /v1/methods lists the names.")
    model: Name | None = Field(default=None, description="Which model is asked; GET /v1/models lists the names.")


class BatchRequest(_Strict):
    """Several images."""

    images: list[AnyImage] = Field(min_length=1)
    method: Name | None = None
    model: Name | None = None


Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Numbers = Annotated[list[Number], Field(min_length=3, max_length=20_000)]


class AgreementRequest(_Strict):
    """Scores and human scores of the same images, in the same order; higher is better in both."""

    scores: Numbers
    quality: Numbers


class ScoreAnswer(BaseModel):
    """The score of one image and how it came about."""

    score: Probability = Field(description="Quality in [0, 1]; higher is better.")
    model: str
    method: str
    seed: int
    conditions: list[str] = Field(description="The degraded copies that the image was shown beside, in order.")
    good: list[Probability] = Field(description="P(good) under each condition; one number without conditions.")
    same: list[Probability] = Field(description="P(same object) of each condition; empty where it was not asked.")
    weight: list[Probability] = Field(description="Weight of each condition; they sum to 1.")


class Problem(BaseModel):
    """Why there is no answer."""

    code: str = Field(description="One of a fixed list of words; docs/service.md explains each.")
    message: str
    request_id: str = Field(description="Stands in the log of the server too.")


class ErrorAnswer(BaseModel):
    """An answer without a score."""

    error: Problem


class BatchResult(BaseModel):
    """One image of several: a score, or why it has none."""

    index: int = Field(description="Place in the request, from 0.")
    result: ScoreAnswer | None
    error: Problem | None


class BatchAnswer(BaseModel):
    """The results in the order of the images."""

    results: list[BatchResult]
    failed: int


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


class Methods(BaseModel):
    """The methods."""

    methods: list[MethodInfo]


class Models(BaseModel):
    """The models."""

    models: list[ModelInfo]


class Health(BaseModel):
    """Whether the server lives, or takes requests."""

    status: Literal["ok", "loading", "stopping"]
