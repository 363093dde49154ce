"""What /openapi.json says beyond what FastAPI finds out by itself, and a page for people made from it."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from jinja2 import Template
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
    """Return the whole description."""
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


_TEMPLATE = Path(__file__).with_name("api_page.html").read_text(encoding="utf-8")


def api_page(api: dict[str, Any], *, url: str) -> str:
    """Return the page."""
    operations = [
        _operation(api, path, method, operation, url.rstrip("/"))
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    ]
    return str(Template(_TEMPLATE, autoescape=True, trim_blocks=True).render(api=api, operations=operations))


def _operation(api: dict[str, Any], path: str, method: str, said: dict[str, Any], url: str) -> dict[str, Any]:
    content = said.get("requestBody", {}).get("content", {})
    fields = {}
    if content:
        schema = content["application/json"]["schema"]
        name = (schema.get("$ref") or schema["allOf"][0]["$ref"]).rpartition("/")[2]
        fields = api["components"]["schemas"][name]["properties"]
    curl, python = _examples(url + path, content, keyed=bool(api.get("security")))
    return {
        **said,
        "id": f"{method}{path.replace('/', '-')}",
        "method": method.upper(),
        "path": path,
        "fields": fields,
        "example": bool(content),
        "curl": curl,
        "python": python,
    }


def _examples(address: str, content: dict[str, Any], *, keyed: bool) -> tuple[str, str]:
    """Return how to call an address with curl and with Python."""
    form = content.get("multipart/form-data", {}).get("schema")
    curl, python = f"curl {address}", "import requests\n\n"
    headers = ', headers={"Authorization": "Bearer KEY"}' if keyed else ""
    if keyed:
        curl += ' -H "Authorization: Bearer KEY"'
    if form:
        (part,) = form["required"]
        curl += f" -F {part}=@photo.jpg -F method=paper"
        python += (
            f'with open("photo.jpg", "rb") as file:\n    answer = requests.post("{address}", files={{"{part}": file}}'
        )
    elif content:
        body = json.dumps(content["application/json"]["example"])
        curl += f" -H 'Content-Type: application/json' -d '{body}'"
        python += f'answer = requests.post("{address}", json={body}'
    return curl, f"{python}{headers})\nprint(answer.status_code, answer.content[:200])"
