"""What /openapi.json says beyond what FastAPI finds out by itself: bodies of two kinds, errors, keys, examples."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec.json import schema_components

from qdebias.service.refusal import Reason
from qdebias.service.schema import (
    AgreementRequest,
    BatchRequest,
    ErrorAnswer,
    ImagesRequest,
    RewardRequest,
    ScoreRequest,
)

PIXELS = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgBAMAAACBVGfHAAAAGFBMVEW81jY12HkcjKvOd0w8PVkgSoejHJY0GL8RSZt5AAAAdUlEQVR42pWRwQ2A"
    "IBAER7ESKqA727IRE0qwA/gbxIfKoRFBfjcZdi/QjQDrBIADegCOOZJAdnLgBZiHsUnEaaiHsWCuCIZzAQ0wX0Ys1ArwVeMTDPcx+htwbRnud23j"
    "Yppgj9dIhq1lBPmLgmFfa5WAkF3ZAdEJGE3C/1veAAAAAElFTkSuQmCC"
)
"""A PNG of 32 x 32 pixels, for the examples."""
_REF = "#/components/schemas/{model}"
_TEXTS = {
    "method": {"type": "string", "description": "How it is asked; GET /v1/methods lists the names."},
    "model": {"type": "string", "description": "Which model is asked; GET /v1/models lists the names."},
}
_USUAL = (
    Reason.MALFORMED,
    Reason.NO_KEY,
    Reason.CROSS_SITE,
    Reason.TOO_SLOW,
    Reason.TOO_LARGE,
    Reason.CONTENT_TYPE,
    Reason.NOT_SCORED,
    Reason.BUSY,
    Reason.MODEL_FAILED,
    Reason.DEADLINE,
)


def failures(*reasons: Reason) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that are no success; without reasons, those of a route that takes images."""
    found: dict[int | str, dict[str, Any]] = {}
    for reason in reasons or _USUAL:
        found[reason.status] = {"model": ErrorAnswer, "description": reason.message}
    if Reason.BUSY.status in found:
        found[Reason.BUSY.status]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return found


def body_of(schema: type[ImagesRequest], field: str, *, most: int) -> dict[str, Any]:
    """Return the description of a body that is a form or JSON.

    Args:
        schema: The JSON.
        field: The part of the form that holds an image.
        most: How many images; above 1 the part may be repeated.
    """
    picture = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": picture, "minItems": 1, "maxItems": most}
    texts = {**_TEXTS, "lossy": {"type": "boolean"}} if schema is RewardRequest else _TEXTS
    form = {
        "type": "object",
        "properties": {field: picture if most == 1 else several, **texts},
        "required": [field],
        "additionalProperties": False,
    }
    one = {"base64": PIXELS}
    example = {"image": one} if most == 1 else {"images": [one, one]}
    reference = {"$ref": _REF.format(model=schema.__name__)}
    limited = {"allOf": [reference, {"properties": {field: {"maxItems": most}}}]}
    json = {"schema": reference if most == 1 else limited, "example": {**example, "method": "paper"}}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": json, "multipart/form-data": {"schema": form}},
        }
    }


def json_body(schema: type[AgreementRequest], example: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a JSON body."""
    json = {"schema": {"$ref": _REF.format(model=schema.__name__)}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": json}}}


def describe(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    """Return the whole description.

    Args:
        app: The application with its routes.
        keys: Whether it asks for a key.
    """
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models = (ScoreRequest, BatchRequest, RewardRequest, AgreementRequest)
    _, extra = schema_components(models, ref_template=_REF.format(model="{name}"))
    image = extra["ImageSource"]
    image["oneOf"] = [{"required": [name]} for name in image["properties"]]
    components = found.setdefault("components", {})
    components.setdefault("schemas", {}).update(extra)
    if keys:
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "password": {"type": "http", "scheme": "basic", "description": "Any user; the key is the password."},
        }
        found["security"] = [{"key": []}, {"password": []}]
        for path in ("/healthz", "/readyz"):
            found["paths"][path]["get"]["security"] = []
    return found
