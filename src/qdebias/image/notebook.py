"""Pictures and bars in a notebook, as HTML without other files."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO

from PIL import Image

from qdebias.image import RgbImage


def bar(label: str, value: float) -> str:
    """Return a row of a table: a label, a bar as long as a value in [0, 1], and the value."""
    length = round(160 * value)
    drawn = f'<div style="width:{length}px;height:0.8em;background:#4477aa"></div>'
    return f"<tr><td>{escape(label)}</td><td>{drawn}</td><td>{value:.4f}</td></tr>"


def table(rows: Iterable[str]) -> str:
    """Return rows as a table."""
    return f"<table>{''.join(rows)}</table>"


def strip(pictures: Iterable[tuple[RgbImage, str]]) -> str:
    """Return images beside each other, each with its caption below."""
    cells = []
    for image, caption in pictures:
        shown, data = Image.fromarray(image), BytesIO()
        shown.thumbnail((200, 200))
        shown.save(data, "PNG")
        source = f"data:image/png;base64,{b64encode(data.getvalue()).decode()}"
        cells.append(f'<td style="text-align:center"><img src="{source}"><br>{escape(caption)}</td>')
    return table([f"<tr>{''.join(cells)}</tr>"])
