"""A page for people about the API, made from its description."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Template

_TEMPLATE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")


def api_page(api: dict[str, Any], *, url: str) -> str:
    """Return the page.

    Args:
        api: The description, as /openapi.json gives it.
        url: Address of the server, for the examples.
    """
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
