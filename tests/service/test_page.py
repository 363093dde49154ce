"""The page in a real browser, without anything from elsewhere; what it looks like is left in build/screens."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

import qdebias.service
from qdebias.backends.catalogue import CAUTIONS
from qdebias.backends.fake import FakeBackend
from qdebias.image import load_image
from qdebias.metrics.measures import correlate
from qdebias.runs.scorer import Scorer
from serving import PATIENCE, Running, encoded, noise
from test_cli import run

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "examples" / "photos"
SCREENS = ROOT / "build" / "screens"

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => channels(colour).slice(0, 3)
    .map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return channels(colour)[3] === 0 ? ground(node.parentElement) : colour;
  };
  const ratio = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const all = [...document.body.querySelectorAll("*")];
  const shown = all.filter((node) => node.checkVisibility() && !node.closest("svg"));
  const worded = shown.filter((node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()));
  const framed = shown.filter((node) => node.matches("select, button.quiet, .drop, .examples button"));
  const named = (node, value) => [`${node.tagName} ${node.className} ${node.id}`, value];
  return {
    words: worded.map((node) => named(node, ratio(getComputedStyle(node).color, ground(node)))),
    frames: framed.map((node) => named(node, ratio(getComputedStyle(node).borderTopColor, ground(node.parentElement)))),
  };
}"""
"""For each element with words of its own, and for each thing that can be used: contrast as WCAG 2 defines it."""
CUT = """() => [...document.body.querySelectorAll("*")]
  .filter((node) => node.checkVisibility() && !node.closest("svg, .skip, .drop input"))
  .filter((node) => getComputedStyle(node).display !== "inline" && node.scrollWidth > node.clientWidth + 1)
  .map((node) => `${node.tagName} ${node.className} ${node.id}`)"""
"""Elements whose content is wider than they are."""
LAPS = """() => {
  const shown = [...document.querySelectorAll(".brand, .choices, .top .hint, .note, .tabs, main, footer")];
  const boxes = shown.filter((node) => node.checkVisibility()).map((node) => node.getBoundingClientRect());
  const laps = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap((a, place) => boxes.slice(place + 1).filter((b) => laps(a, b))).length;
}"""
"""How many pairs of the parts of the page overlap."""
Opened = Callable[..., AbstractContextManager[Page]]

expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, server: Running) -> Opened:
    """Opens the page; in the end nothing may have come from elsewhere, and no script may have failed."""

    @contextmanager
    def opening(**settings: object) -> Iterator[Page]:
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        context.set_default_timeout(1000 * PATIENCE)
        asked: list[str] = []
        failed: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda said: failed.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(server.url)
        expect(page.locator("#model")).to_be_enabled()
        yield page
        context.close()
        here = urlsplit(server.url).netloc
        assert f"{server.url}/main.js" in asked
        assert [
            url for url in asked if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != here
        ] == []
        assert failed == []

    return opening


def look(page: Page, name: str) -> None:
    """Leave a screenshot, and hold that nothing stands out at the side."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(CUT) == []
    tabs = page.get_by_role("tab")
    assert all(tab.evaluate("(tab) => tab.getBoundingClientRect().right <= innerWidth") for tab in tabs.all())


def drop(page: Page, panel: str, *files: Path) -> None:
    page.locator(f"#{panel} input[type=file]").first.set_input_files(files)


def direct(path: Path, method: str = "paper") -> float:
    return Scorer(backend=FakeBackend(), method=method).score(load_image(path)).value


def test_one_image_its_four_copies_and_the_score(opened: Opened) -> None:
    path = PHOTOS / "meadow-compressed.jpg"
    with opened() as page:
        look(page, "empty")
        drop(page, "one", path)
        expect(page.locator("#one .status")).to_have_text(f"Done: {path.name}")
        expect(page.locator("#score")).to_have_text(f"{direct(path):.3f}")
        pictures = page.locator("#pictures figure")
        expect(pictures).to_have_count(5)
        expect(pictures.get_by_role("heading")).to_have_text(["The image", "zoom blur", "spatter", "saturate", "fog"])
        page.wait_for_function("[...document.querySelectorAll('#pictures img')].every((one) => one.naturalWidth > 0)")
        bars = page.locator("#pictures .track").evaluate_all("(all) => all.map((one) => one.clientWidth)")
        assert len(bars) == 13
        assert min(bars) > 100
        expect(page.get_by_role("img", name=re.compile("on a scale from 0 to 1"))).to_be_visible()
        expect(page.locator("#words")).to_contain_text(f"The score is {direct(path):.3f}")
        look(page, "one")

        page.get_by_label("Method").select_option("vanilla")
        expect(page.locator("#score")).to_have_text(f"{direct(path, 'vanilla'):.3f}")
        expect(pictures).to_have_count(1)
        expect(page.locator("#words")).to_contain_text("one question about this image alone")


def test_what_is_no_image_is_told_kindly_and_the_next_one_is_scored(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("dear reader")
    with opened() as page:
        drop(page, "one", tmp_path / "letter.png")
        alert = page.locator("#one").get_by_role("alert")
        expect(alert).to_have_text(re.compile("^letter.png: This is not an image in one of the formats .*\\.$"))
        expect(page.locator("#one .result")).to_be_hidden()
        look(page, "error")
        drop(page, "one", PHOTOS / "dogs.jpg")
        expect(page.locator("#score")).to_have_text(f"{direct(PHOTOS / 'dogs.jpg'):.3f}")
        expect(alert).to_be_hidden()


def test_many_images_with_a_bad_one_are_sorted_and_taken_away(opened: Opened, tmp_path: Path) -> None:
    sound = sorted(PHOTOS.glob("*.jpg"))[:4]
    bad = tmp_path / "=broken.jpg"
    bad.write_bytes(sound[0].read_bytes()[:3000])
    scores = {path.name: direct(path) for path in sound}
    with opened() as page:
        page.get_by_role("tab", name="Many images").click()
        drop(page, "many", *sound, bad)
        expect(page.locator("#many .status")).to_have_text(f"{len(sound)} scored, 1 failed")
        names = page.locator("#gallery h3")
        expect(names).to_have_text([*sorted(scores, key=scores.__getitem__), bad.name])
        page.get_by_label("Sort by").select_option("best")
        expect(names).to_have_text([*sorted(scores, key=scores.__getitem__, reverse=True), bad.name])
        expect(page.locator("#gallery .bad")).to_have_text(["The image is damaged or truncated."])
        expect(page.get_by_role("img", name=f"Histogram of {len(sound)} scores from 0 to 1")).to_be_visible()
        look(page, "many")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert download.value.suggested_filename == "scores.csv"
    assert {row["name"]: float(row["score"]) for row in rows if row["score"]} == scores
    (failed,) = (row for row in rows if row["error"])
    assert failed["name"] == f"'{bad.name}"  # no formula for a spreadsheet
    assert sum(json.loads(rows[0]["weight"])) == pytest.approx(1)


def test_an_evaluation_run_shows_where_model_and_people_disagree(opened: Opened, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    quality = rng.uniform(1, 5, 60)
    scores = (quality - 1) / 4 * 0.6 + rng.uniform(0, 0.3, 60)
    scores[17], quality[17] = 0.95, 1.1
    lines = [
        f"photos/{place:02}.png,{score},{mos}" for place, (score, mos) in enumerate(zip(scores, quality, strict=True))
    ]
    (tmp_path / "run.csv").write_text("\n".join(["path,score,quality", *lines, "photos/60.png,,3.0"]))
    Image.fromarray(noise(17)).save(tmp_path / "17.png")
    with opened() as page:
        page.get_by_role("tab", name="Evaluation run").click()
        drop(page, "run", tmp_path / "run.csv")
        expect(page.locator("#run .status")).to_have_text("60 images in run.csv; 1 without a score omitted")
        page.locator("#photos").set_input_files(tmp_path / "17.png")
        expect(page.locator("#scatter circle")).to_have_count(60)
        expect(page.locator("#scatter .worst")).to_have_count(12)
        expect(page.locator("#worst h3").first).to_have_text("photos/17.png")
        expect(page.locator("#worst img")).to_have_count(1)
        expect(page.locator("#measures dt")).to_have_text(["images", "SRCC", "PLCC", "KRCC"])
        look(page, "run")
        expect(page.locator("#measures dd").nth(1)).to_have_text(f"{correlate(scores, quality, resamples=0).srcc:.3f}")


def test_what_evaluate_wrote_is_ranked_as_evaluate_ranks_it(opened: Opened, tmp_path: Path) -> None:
    labels, rng = ["path,mos"], np.random.default_rng(1)
    for place, mos in enumerate(rng.permutation(12)):
        Image.fromarray(noise(place)).save(tmp_path / f"{place}.png")
        labels.append(f"{place}.png,{mos}")
    (tmp_path / "labels.csv").write_text("\n".join(labels))
    command = ("evaluate", tmp_path / "labels.csv", "--model", "fake", "--json", "--out")
    found = json.loads(run(*command, tmp_path / "run.csv").stdout)
    run(*command, tmp_path / "run.jsonl")
    rounded = [json.loads(line) | {"score": 1.0} for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    rounded[0]["score"] = 0.9
    (tmp_path / "rounded.jsonl").write_text("\n".join(map(json.dumps, rounded)))
    with opened() as page:
        page.get_by_role("tab", name="Evaluation run").click()
        for name in ("run.csv", "run.jsonl", "rounded.jsonl"):
            drop(page, "run", tmp_path / name)
            expect(page.locator("#run .status")).to_have_text(f"12 images in {name}")
            measures = [f"{found[name]:.3f}" for name in ("srcc", "krcc")]
            expect(page.locator("#measures dd")).to_have_text(["12", measures[0], re.compile("."), measures[1]])


def test_what_is_no_table_is_told_kindly(opened: Opened, tmp_path: Path) -> None:
    texts = {
        "empty.csv": b"",
        "other.csv": b"path,mos\na.png,3\n",
        "binary.csv": bytes(range(256)),
        "report.json": b'{"srcc": 0.5}',
        "numbers.jsonl": b"5\n6\n7\n",
        "nothing.jsonl": b"null\n",
    }
    with opened() as page:
        page.get_by_role("tab", name="Evaluation run").click()
        for name, text in texts.items():
            (tmp_path / name).write_bytes(text)
            drop(page, "run", tmp_path / name)
            alert = page.locator("#run").get_by_role("alert")
            expect(alert).to_contain_text(f"{name}: This is not a table of qdebias evaluate: it needs the columns")


def test_forty_files_at_once_and_every_one_that_cannot_be_scored_says_why(opened: Opened, tmp_path: Path) -> None:
    whys = {
        "empty.png": (b"", "This is not an image"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(5000), "This is not an image"),
        "wide.png": (encoded(np.zeros((6000, 9000, 3), np.uint8)), "The image has more pixels than this server takes"),
        "long.png": (encoded(noise(1)) + bytes(22 << 20), "The body is larger than this server takes"),
        "longer.png": (encoded(noise(1)) + bytes(40 << 20), "The body is larger than this server takes"),
    }
    for name, (data, _) in whys.items():
        (tmp_path / name).write_bytes(data)
    sound = [tmp_path / f"{place}.png" for place in range(35)]
    for place, path in enumerate(sound):
        Image.fromarray(noise(place)).save(path)
    with opened() as page:
        page.get_by_role("tab", name="Many images").click()
        drop(page, "many", *(tmp_path / name for name in whys), *sound)
        expect(page.locator("#many .status")).to_have_text("35 scored, 5 failed")
        page.get_by_label("Sort by").select_option("given")
        expect(page.locator("#gallery h3")).to_have_text([*whys, *(path.name for path in sound)])
        expect(page.locator("#gallery .bad")).to_contain_text([why for _, why in whys.values()])
        page.get_by_role("tab", name="One image").click()
        for name, (_, why) in whys.items():
            drop(page, "one", tmp_path / name)
            expect(page.locator("#one").get_by_role("alert")).to_contain_text(f"{name}: {why}")


def test_everything_can_be_reached_by_keyboard(opened: Opened) -> None:
    with opened() as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        for name in ("method", "theme", "tab-one"):
            page.keyboard.press("Tab")
            expect(page.locator(f"#{name}")).to_be_focused()
        for key, name, panel in (
            ("ArrowRight", "tab-many", "many"),
            ("ArrowRight", "tab-run", "run"),
            ("ArrowRight", "tab-one", "one"),
            ("ArrowLeft", "tab-run", "run"),
            ("ArrowLeft", "tab-many", "many"),
            ("End", "tab-run", "run"),
            ("Home", "tab-one", "one"),
        ):
            page.keyboard.press(key)
            expect(page.locator(f"#{name}")).to_be_focused()
            expect(page.locator(f"#{panel}")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator("#one input")).to_be_focused()
        page.locator("#one input").set_input_files(PHOTOS / "dogs.jpg")  # a native input: its chooser is the browser's
        expect(page.locator("#score")).to_have_text(f"{direct(PHOTOS / 'dogs.jpg'):.3f}")
        look(page, "keyboard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_what_can_be_used_stand_out_from_their_ground(opened: Opened, scheme: str, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("dear reader")
    with opened(color_scheme=scheme) as page:
        empty = page.evaluate(CONTRASTS)
        page.get_by_role("tab", name="Many images").click()
        drop(page, "many", PHOTOS / "dogs.jpg", tmp_path / "letter.png")
        expect(page.locator("#many .status")).to_have_text("1 scored, 1 failed")
        many = page.evaluate(CONTRASTS)
        page.get_by_role("tab", name="One image").click()
        drop(page, "one", tmp_path / "letter.png")
        expect(page.locator("#one").get_by_role("alert")).to_be_visible()
        one = page.evaluate(CONTRASTS)
    for kind, least in (("words", 4.5), ("frames", 3)):
        found = [*empty[kind], *many[kind], *one[kind]]
        assert {name: value for name, value in found if value < least} == {}
    assert len(many["words"]) > 20
    assert len(empty["frames"]) == 7
    assert len(many["frames"]) == 4


def test_a_file_that_misses_its_panel_does_not_take_the_place_of_the_page(opened: Opened) -> None:
    with opened() as page:
        for kind in ("dragover", "drop"):
            event = f"new DragEvent('{kind}', {{ bubbles: true, cancelable: true }})"
            assert page.evaluate(f"document.querySelector('footer').dispatchEvent({event})") is False


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(opened: Opened, scheme: str) -> None:
    photos = sorted(PHOTOS.glob("*.jpg"))[:2]
    with opened(**PHONE, color_scheme=scheme) as page:
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
        drop(page, "one", photos[0])
        expect(page.locator("#pictures figure")).to_have_count(5)
        look(page, f"phone-one-{scheme}")
        page.get_by_role("tab", name="Many images").tap()
        drop(page, "many", *photos)
        expect(page.locator("#many .status")).to_have_text("2 scored")
        letters = page.locator("#histogram text").first.evaluate("(one) => one.getBoundingClientRect().height")
        assert letters > 11
        look(page, f"phone-many-{scheme}")
        page.get_by_role("button", name="Light" if scheme == "dark" else "Dark").tap()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


def test_an_empty_page_shows_the_idea_and_offers_photographs(opened: Opened) -> None:
    with opened() as page:
        expect(page.locator(".idea li")).to_have_count(3)
        examples = page.locator(".examples button")
        expect(examples).to_have_count(4)
        page.wait_for_function("() => [...document.querySelectorAll('.examples img')].every((one) => one.naturalWidth)")
        high = "(drop) => drop.getBoundingClientRect().height"
        before = page.locator("#one .drop").evaluate(high)
        example = Path(qdebias.service.__file__).parent / "page" / "example-meadow-compressed.jpg"
        examples.last.click()
        expect(page.locator("#one .status")).to_have_text("Done: meadow-compressed.jpg")
        expect(page.locator("#score")).to_have_text(f"{direct(example):.3f}")
        expect(page.locator(".start")).to_be_hidden()
        assert page.locator("#one .drop").evaluate(high) < before / 2


def test_the_picture_and_a_bar_stand_there_while_the_model_works(opened: Opened) -> None:
    with opened() as page:
        held: list[Route] = []
        page.route("**/v1/explain*", lambda route: held.append(route))
        drop(page, "one", PHOTOS / "dogs.jpg")
        expect(page.locator("#one .status")).to_have_text(re.compile("^Scoring the image"))
        expect(page.locator("#one .preview img")).to_be_visible()
        expect(page.locator("#one .waiting")).to_be_visible()
        expect(page.locator("#one .result")).to_be_hidden()
        look(page, "working")
        held[0].continue_()
        expect(page.locator("#score")).to_have_text(f"{direct(PHOTOS / 'dogs.jpg'):.3f}")
        expect(page.locator("#one .preview")).to_be_hidden()
        expect(page.locator("#one .waiting")).to_be_hidden()


def test_while_the_model_loads_calm_words_stand_there_and_what_is_chosen_comes_next(
    browser: Browser, server: Running
) -> None:
    context = browser.new_context()
    context.set_default_timeout(1000 * PATIENCE)
    error = {"error": {"code": "not_ready", "message": "the model is not loaded", "request_id": "a"}}
    for name in ("models", "methods"):
        context.route(
            f"**/v1/{name}", lambda route: route.fulfill(status=503, headers={"retry-after": "5"}, json=error)
        )
    page = context.new_page()
    page.goto(server.url)
    expect(page.locator("#one .status")).to_have_text(re.compile("^The model is loading, .* now\\.$"))
    expect(page.locator("#one").get_by_role("alert")).to_be_hidden()
    expect(page.locator("#one .waiting")).to_be_visible()
    look(page, "loading")
    drop(page, "one", PHOTOS / "dogs.jpg")
    expect(page.locator("#one .status")).to_have_text(re.compile("is next\\.$"))
    expect(page.locator("#one .preview img")).to_be_visible()
    context.unroute_all()
    expect(page.locator("#score")).to_have_text(f"{direct(PHOTOS / 'dogs.jpg'):.3f}")
    context.close()


def test_a_tile_opens_its_explanation(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("path,score,quality\ndogs.jpg,0.9,1\nb.jpg,0.4,2\nc.jpg,0.5,3\n")
    with opened() as page:
        page.get_by_role("tab", name="Many images").click()
        drop(page, "many", PHOTOS / "fig.jpg", PHOTOS / "dogs.jpg")
        expect(page.locator("#many .status")).to_have_text("2 scored")
        page.get_by_role("button", name="Explain fig.jpg").click()
        expect(page.get_by_role("tab", name="One image")).to_be_focused()
        expect(page.locator("#score")).to_have_text(f"{direct(PHOTOS / 'fig.jpg'):.3f}")
        page.get_by_role("tab", name="Evaluation run").click()
        drop(page, "run", tmp_path / "run.csv")
        page.locator("#photos").set_input_files(PHOTOS / "dogs.jpg")
        page.locator("#worst li", has_text="dogs.jpg").get_by_role("button").click()
        expect(page.locator("#score")).to_have_text(f"{direct(PHOTOS / 'dogs.jpg'):.3f}")


def test_methods_are_grouped_with_plain_names_and_choosers_without_use_are_hidden(opened: Opened) -> None:
    with opened() as page:
        groups = page.locator("#method optgroup").evaluate_all("(all) => all.map((one) => one.label)")
        assert groups[:2] == ["Next to degraded copies", "The image alone"]
        names = page.locator("#method option").evaluate_all("(all) => all.map((one) => one.value)")
        listed = page.evaluate("async () => (await (await fetch('v1/methods')).json()).methods.map((one) => one.name)")
        assert sorted(names) == sorted(listed)
        expect(page.locator("#method")).to_have_value("paper")
        expect(page.locator("#method option:checked")).to_have_text("Q-Debias (paper)")
        expect(page.locator("#model")).to_be_hidden()
        page.get_by_role("tab", name="Evaluation run").click()
        expect(page.locator("#method")).to_be_hidden()
        page.get_by_role("tab", name="One image").click()
        expect(page.locator("#method")).to_be_visible()


def test_the_note_of_a_model_and_a_second_model_are_shown(opened: Opened) -> None:
    models = [
        {"name": "nano", "fingerprint": "0" * 16, "default": True, "note": CAUTIONS["nano"]},
        {"name": "other", "fingerprint": "1" * 16, "default": False, "note": ""},
    ]
    with opened() as page:
        page.route("**/v1/models", lambda route: route.fulfill(json={"models": models}))
        page.reload()
        expect(page.locator("#model-note")).to_have_text(CAUTIONS["nano"])
        expect(page.locator("#model")).to_be_visible()
        page.locator("#model").select_option("other")
        expect(page.locator("#model-note")).to_be_hidden()


@pytest.mark.parametrize("width", [1440, 900, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps_at_any_width(opened: Opened, width: int, scheme: str) -> None:
    with opened(viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        look(page, f"empty-{width}-{scheme}")
        assert page.evaluate(LAPS) == 0
        drop(page, "one", PHOTOS / "dogs.jpg")
        expect(page.locator("#pictures figure")).to_have_count(5)
        look(page, f"one-{width}-{scheme}")
        assert page.evaluate(LAPS) == 0
        grounds = page.locator("#pictures img").evaluate_all(
            "(all) => all.map((one) => getComputedStyle(one).backgroundImage)"
        )
        assert set(grounds) == {"none"}  # no chequers around a picture
