"""The report of a run: one page that needs nothing else."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

import qdebias
from qdebias.report.page import galleries_of, read_facts, short_names
from qdebias.runs.run import open_snapshot
from test_cli import Outcome, run

HOSTILE = "a<script>alert(1)<script>&\"'{{ 7 * 7 }}\n.png"
COUNT = 21


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photographs of which the last has a hostile name, and one file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(5)
    for number in range(COUNT):
        name = HOSTILE if number == COUNT - 1 else f"{number:02}.png"
        Image.fromarray(noise.integers(0, 256, (48, 200, 3), dtype=np.uint8)).save(folder / name)
    (folder / "letter.png").write_text("Dear reader,")
    return folder


@pytest.fixture
def scored(photos: Path, tmp_path: Path) -> Path:
    """A run of both methods."""
    for method in ("paper", "vanilla"):
        run("score", photos, "--model", "fake", "--run", tmp_path / "run", "--method", method)
    return tmp_path / "run"


@pytest.fixture
def labels(photos: Path, tmp_path: Path) -> Path:
    """Human scores of all images but one, and what they show; one scene has a hostile name."""
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["img_path", "gt_score", "scene"])
        for number, path in enumerate(sorted(photos.glob("[0-9]*.png"))):
            table.writerow([path.relative_to(tmp_path), number % 7, "night" if number % 2 else "<b onload=x>street"])
    return tmp_path / "labels.csv"


def evaluate(labels: Path, folder: Path, method: str = "paper") -> Outcome:
    return run("evaluate", labels, "--model", "fake", "--run", folder, "--method", method, "--resamples", "25")


def report(folder: Path, *arguments: object) -> tuple[Outcome, Page]:
    out = folder.parent / "report.html"
    got = run("report", folder, "--out", out, "--resamples", "25", *arguments)
    return got, Page(out.read_text(encoding="utf-8") if out.exists() else "")


def assert_stands_alone(page: Page) -> None:
    """Nothing is loaded from anywhere, and nothing is run."""
    outward = ("src", "srcset", "href", "xlink:href", "data", "poster", "action", "style", "background")
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form", "image", "use"), tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in outward:
            value = attributes.get(name) or ""
            assert re.match(r"(#[\w-]+|data:image/jpeg;base64,[\w+/=]+)?$", value), (tag, name, value[:80])
    policy = next(one["content"] for _, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_page_stands_alone_and_shows_what_was_scored(scored: Path) -> None:
    got, page = report(scored)
    assert got.returncode == 0
    assert got.stderr.startswith("21 images, 1 without a score, ")
    assert_stands_alone(page)
    assert "letter.png: is not an image" in page.text
    for words in ("Best", "Worst", "Raised most by debiasing", "Lowered most by debiasing", "P(same object)"):
        assert words in page.text
    for words in ("Rate the quality of the image. Good or poor?", "arXiv 2411.12791", "Agreement with human scores"):
        assert (words in page.text) == (words != "Agreement with human scores")


def test_settings_say_everything_once(scored: Path) -> None:
    _, page = report(scored)
    assert "ZoomBlur(largest=1.1, step=0.01" in page.text
    assert "“ good” | “ poor”" in page.text  # with the space that belongs to them
    assert "{'" not in page.text  # a dictionary as Python prints it
    assert page.text.count("opencv-python-headless") == 1


def test_change_is_drawn_on_one_scale(scored: Path) -> None:
    _, page = report(scored)
    (line,) = [one for tag, one in page.tags if tag == "line" and one.get("class") == "equal"]
    plot = next(one for tag, one in page.tags if tag == "svg" and "against" in (one.get("aria-label") or ""))
    assert "score of paper against score of vanilla" in (plot["aria-label"] or "")
    assert float(line["x1"] or 0) < float(line["x2"] or 0)
    assert float(line["y1"] or 0) > float(line["y2"] or 0)


def test_page_says_first_how_well_scores_agree_with_people(scored: Path, labels: Path) -> None:
    evaluate(labels, scored)
    _, page = report(scored, "--dataset", labels)
    first = page.text[: page.text.index("Scores\n")]
    found = re.search(
        r"(-?\d\.\d{3}) SRCC with the human scores of labels\s*95 % interval \[.+\], n = 20 images", first
    )
    assert found is not None, first
    assert re.search(r"-?\d\.\d{3} vanilla", first)


def test_page_is_short_and_nothing_sticks_out_on_a_phone(scored: Path, labels: Path, chromium: str) -> None:
    names = {path.name: f"{'w' * 60}{path.name}" for path in labels.parent.glob("photos/*.png")}
    report(scored, "--dataset", labels)
    page = labels.parent / "report.html"
    text = page.read_text(encoding="utf-8")
    for short, long in names.items():
        text = text.replace(f">{short}<", f">{long}<")
    page.write_text(text, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 390, "height": 844})
        view.goto(page.as_uri())
        assert view.evaluate("document.documentElement.scrollHeight") < 4000
        assert not view.locator("article").first.is_visible()
        view.locator(".tile").first.click()  # opens the details of this image
        article = view.locator(f"article{view.evaluate('location.hash')}")
        expect(article).to_be_in_viewport()
        view.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        wide = "[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll') && {}).length"
        assert view.evaluate(wide.format("one.getBoundingClientRect().right > innerWidth + 1")) == 0
        assert view.evaluate("document.documentElement.scrollWidth") == 390
        browser.close()


def test_style_sheet_refers_to_nothing_outside() -> None:
    style = (Path(qdebias.__file__).parent / "report/templates/report.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|@font-face|//[a-z]", style)


def test_hostile_names_are_text(scored: Path, labels: Path) -> None:
    evaluate(labels, scored)
    for arguments in ((), ("--dataset", labels)):
        _, page = report(scored, "--title", "<img src=x onerror=alert(1)>", "--gallery", "24", *arguments)
        assert_stands_alone(page)
        assert page.text.count("<img src=x onerror=alert(1)>") == 2  # of the window and of the page
    _, page = report(scored.rename(scored.parent / "moved"), "--gallery", "24", "--dataset", labels)
    assert "<b onload=x>street" in page.text


def test_hostile_file_name_is_text(scored: Path) -> None:
    _, page = report(scored, "--gallery", "24")
    assert HOSTILE in page.text
    assert_stands_alone(page)


def test_evaluated_run_is_compared_with_people(scored: Path, labels: Path) -> None:
    evaluated = [evaluate(labels, scored, method) for method in ("paper", "vanilla")]
    got, page = report(scored)
    assert got.returncode == 0, got.stderr
    assert got.stderr.startswith("20 images, 0 without a score")
    assert "Bias by scene" in page.text
    assert "Calibration" in page.text
    for outcome in evaluated:
        value, interval = re.search(
            r"SRCC\s*┃?\s*│?\s*(-?\d\.\d+)[\s│]*(-?\d\.\d+\.\.-?\d\.\d+)", outcome.stdout
        ).groups()
        assert f"{value} [{interval.replace('..', ', ')}]" in page.text
    assert page.count("svg") == 5
    assert_stands_alone(page)


def test_labels_can_be_given_afterwards(scored: Path, labels: Path) -> None:
    got, page = report(scored, "--dataset", labels, "--before", "vanilla")
    assert got.returncode == 0, got.stderr
    assert "Too high" in page.text
    assert "Too low" in page.text


def test_galleries_show_the_extremes(scored: Path) -> None:
    with open_snapshot(scored) as snapshot:
        facts = read_facts(snapshot, method="paper")
    found = {gallery.title: gallery.indices for gallery in galleries_of(facts, 3)}
    order = np.argsort(facts.value)
    assert found["Worst"] == tuple(order[:3])
    assert found["Best"] == tuple(order[::-1][:3])
    change = facts.value.argsort().argsort() - facts.value_before.argsort().argsort()
    assert change[found["Raised most by debiasing"][0]] == max(change)
    assert change[found["Lowered most by debiasing"][0]] == min(change)


def test_details_show_the_conditions_with_their_numbers(scored: Path, photos: Path) -> None:
    _, page = report(scored, "--gallery", "1")
    with open_snapshot(scored) as snapshot:
        facts = read_facts(snapshot, method="paper")
    best = int(np.argmax(facts.value))
    (score,) = qdebias.score(Path(facts.paths[best]), model="fake")
    for good, weight in zip(score.good, score.weight, strict=True):
        assert f"P(good) {good:.3f}weight {weight:.3f}" in page.text
    assert Path(facts.paths[best]).parent == photos


def test_images_that_are_gone_or_changed_are_said_to_be(scored: Path, photos: Path) -> None:
    for path in sorted(photos.iterdir())[:10]:
        path.unlink()
    for path in sorted(photos.iterdir()):
        Image.new("RGB", (64, 64), "red").save(path, "PNG")
    got, page = report(scored)
    assert got.returncode == 0
    assert "The image cannot be read any more." in page.text
    assert "The file has changed since it was scored" in page.text
    assert_stands_alone(page)


def test_size_is_bounded_by_the_galleries(scored: Path) -> None:
    sizes = []
    for count in (1, 24):
        report(scored, "--gallery", count)
        sizes.append((scored.parent / "report.html").stat().st_size)
    assert sizes[0] < sizes[1] < COUNT * 6 * 50_000


def test_run_without_the_plain_question_has_no_comparison(photos: Path, tmp_path: Path) -> None:
    run("score", photos, "--model", "fake", "--run", tmp_path / "run", "--method", "released")
    got, page = report(tmp_path / "run")
    assert got.returncode == 0
    assert "debiasing" not in page.text
    assert "released" in page.text


def test_one_image_is_enough(photos: Path, tmp_path: Path) -> None:
    run("score", photos / "00.png", "--model", "fake", "--run", tmp_path / "run", "--method", "vanilla")
    got, page = report(tmp_path / "run")
    assert (got.returncode, page.count("article")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "t1"), "no answers to the questions of t1"),
        (("--seed", "3"), "not used with seed 3"),
        (("--root", "x"), "name it with --dataset"),
        (("--out", "/proc/nowhere/report.html"), "cannot be written"),
    ],
)
def test_what_cannot_be_reported_is_the_users_mistake(arguments: tuple[str, ...], message: str, scored: Path) -> None:
    got = run("report", scored, *arguments)
    assert (got.returncode, got.stdout) == (2, "")
    assert message in got.stderr


def test_several_evaluations_in_a_run_have_to_be_told_apart(scored: Path, labels: Path) -> None:
    other = labels.with_name("other.csv")
    other.write_bytes(labels.read_bytes())
    for one in (labels, other):
        evaluate(one, scored)
    got = run("report", scored)
    assert got.returncode == 2
    assert "labels (20 images), other (20 images); choose with --dataset" in got.stderr


def test_names_are_shortened_by_what_they_share() -> None:
    assert short_names(["/a/b/c.png", "/a/d/e.png"]) == ("b/c.png", "d/e.png")
    assert short_names(["/a/b/c.png"]) == ("c.png",)


def test_five_levels_are_shown_with_their_probabilities(photos: Path, tmp_path: Path) -> None:
    run("score", photos, "--model", "fake", "--run", tmp_path / "run", "--method", "sep-levels5")
    got, page = report(tmp_path / "run", "--method", "sep-levels5")
    assert got.returncode == 0
    images = [photos / f"{number:02}.png" for number in range(COUNT - 1)]
    want = max(qdebias.score(images, model="fake", method="sep-levels5"), key=lambda score: score.value)
    for option, share in want.probabilities.items():
        assert f"{option} {share:.3f}" in page.text
    assert f"deviation{want.deviation:.3f}" in page.text
    assert page.count("meter") % 5 == 0


def test_two_options_are_no_distribution(scored: Path) -> None:
    _, page = report(scored, "--method", "paper")
    assert page.count("meter") == 0
