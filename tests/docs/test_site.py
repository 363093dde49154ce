"""The documentation as a site: it builds, every link leads somewhere, and nothing comes from elsewhere."""

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import qdebias
from qdebias.cli.lookup import datasets_page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "examples/plugin/README.md", "examples/photos/ATTRIBUTION.md")
"""Pages that are not part of the site, so that its build does not check their links."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return folder


def test_make_docs_heeds_warnings() -> None:
    """With --quiet, --strict fails on nothing."""
    (command,) = re.findall(
        r"mkdocs build (.*?)(?: #|$)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert command == "--strict"


class Fetched(HTMLParser):
    """Addresses that a browser fetches when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "srcset", "poster") or (name == "href" and tag == "link"):
                self.addresses.append(value or "")


def test_a_browser_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        assert fetched.addresses
        assert [one for one in fetched.addresses if re.match(r"(\w+:)?//", one)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    modules = {"degrade", "errors", "presets"}
    for name in sorted({*qdebias.__all__} - modules):
        assert f'id="qdebias.{name}"' in text, f"{name} is not in docs/api.md"
    for name in modules:
        home = getattr(qdebias, name).__name__
        assert f'id="{home}.' in text or f'id="{home}"' in text


def test_every_equation_leads_to_its_code(site: Path) -> None:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    table = text[text.index("| equation |") : text.index("## Where paper")]
    numbers = re.findall(r"^\|((?: \(\d+\),?)+) \|", table, re.MULTILINE)
    assert [int(one) for one in re.findall(r"\d+", " ".join(numbers))] == [*range(1, 12)]
    reference = (site / "api.html").read_text(encoding="utf-8")
    for anchor in re.findall(r"api\.md#([\w.]+)", table):
        assert f'id="{anchor}"' in reference, anchor


def test_the_picture_of_the_conditions_is_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    picture = importlib.import_module("conditions_picture")
    picture.draw().savefig(tmp_path / "drawn.png")
    drawn, kept = (
        np.asarray(Image.open(path).convert("RGB"), float) for path in (tmp_path / "drawn.png", picture.PICTURE)
    )
    assert np.abs(drawn - kept).mean() < 3, "run python tools/conditions_picture.py"


def test_included_files_are_on_the_page(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "extending.html").read_text(encoding="utf-8"))
    for path in (ROOT / "examples" / "plugin" / "qdebias_example").glob("[a-z]*.py"):
        (first,) = re.findall(r'^"""(.+?)"""', path.read_text(encoding="utf-8"))
        assert first.replace("'", "&#39;") in text or first in text, path


def test_the_module_map_has_every_module(site: Path) -> None:
    text = (site / "modules.html").read_text(encoding="utf-8")
    source = ROOT / "src" / "qdebias"
    for path in source.rglob("*.py"):
        assert f"<code>{path.relative_to(source).as_posix().removesuffix('/__init__.py')}</code>" in text
    assert re.search(r"<code>degrade/fog.py</code></td>\s*<td>.*</td>\s*<td>errors, image</td>", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made of them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_of_other_pages_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name} links to {link}"


def test_the_table_of_datasets_is_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- begin: qdebias datasets --markdown -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert table == datasets_page()
