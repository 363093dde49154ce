"""What people type in a notebook: values that print, sort and draw themselves, and wrong types told in a sentence."""

import math
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

import qdebias
from contract import picture
from qdebias import Scorer
from qdebias.errors import ImageError, SettingError


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(backend="fake")


def test_a_score_prints_itself_in_a_line(scorer: Scorer) -> None:
    score = scorer.score(picture(1, 40, 40))
    assert repr(score).startswith(f"Score({score.value:.4f}, good=[")
    assert repr(score).count("\n") == 0
    assert (f"{score:.2f}", f"{score}") == (f"{score.value:.2f}", repr(score))
    assert repr(score) in repr(scorer.explain(picture(1, 40, 40)))


def test_scores_are_numbers_and_are_sorted(scorer: Scorer) -> None:
    scores = [scorer.score(picture(seed, 40, 40)) for seed in range(5)]
    values = [score.value for score in scores]
    assert [float(score) for score in sorted(scores)] == sorted(values)
    assert round(scores[0], 2) == round(values[0], 2)
    assert float(max(scores)) == max(values)
    assert (scores[0] < 2) is (scores[0] > -1) is True
    assert math.isclose(float(np.mean([float(score) for score in scores])), sum(values) / 5)


def test_a_notebook_gets_bars_and_pictures(scorer: Scorer) -> None:
    explanation = scorer.explain(picture(1, 40, 48))
    assert explanation.score._repr_html_().count("<tr>") == 1 + 3 * 4
    html = explanation._repr_html_()
    assert html.count("data:image/png;base64,") == 5
    assert "Spatter: good" in html
    assert repr(explanation.plan) == "Plan(ZoomBlur, Spatter, Saturate, Fog; 8 questions in 4 requests)"


def test_a_report_prints_itself_in_a_line(tmp_path: Path) -> None:
    for number in range(6):
        Image.fromarray(picture(number, 40, 40)).save(tmp_path / f"{number}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("img_path,gt_score\n" + "".join(f"{number}.png,{number}\n" for number in range(6)))
    report = qdebias.evaluate(labels, model="fake", resamples=20)
    assert repr(report) == repr(qdebias.evaluate(str(labels), model="fake", resamples=20))
    assert repr(report).startswith(f"Report(labels, fake, paper: SRCC {report.srcc:.3f} [")
    assert repr(report).endswith("6 images, 0 failed)")
    assert len(qdebias.score(str(tmp_path), model="fake")) == 6


def test_a_notebook_shows_scores_plans_and_reports(tmp_path: Path) -> None:
    for number in range(6):
        Image.fromarray(picture(number, 40, 48)).save(tmp_path / f"{number}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("img_path,gt_score\n" + "".join(f"{number}.png,{number}\n" for number in range(6)))
    start = f"import qdebias\nexplanation = qdebias.Scorer(backend='fake').explain({str(tmp_path / '1.png')!r})"
    report = f"qdebias.evaluate({str(labels)!r}, model='fake', resamples=20)"
    sources = [start, "explanation", "explanation.score", "explanation.plan", report]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120).execute()
    shown = [cell.outputs[-1].data for cell in notebook.cells[1:]]
    texts, pages = [one["text/plain"] for one in shown], [one["text/html"] for one in shown]
    assert [text.split("(")[0] for text in texts] == ["Explanation", "Score", "Plan", "Report"]
    assert not any("\n" in text for text in texts)
    assert [page.count("data:image/png;base64,") for page in pages] == [5, 0, 4, 0]
    assert "How about the visual quality of the second image?" in pages[2]
    headline = texts[3].partition(": ")[2].removesuffix(")")
    assert f"<b>{headline}</b>" in pages[3]
    assert re.match(r"SRCC -?\d\.\d{3} \[-?\d\.\d{3}, -?\d\.\d{3}\], PLCC -?\d\.\d{3}, 6 images, 0 failed$", headline)
    assert pages[3].count("<circle") == 6
    if folder := os.environ.get("QDEBIAS_SCREENS"):
        Path(folder, "notebook.html").write_text("<hr>".join(pages), encoding="utf-8")


def test_tensors_are_scored_as_the_pixels_that_they_were(scorer: Scorer) -> None:
    images = [picture(seed, 40, 48) for seed in range(3)]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    plain = [score.value for score in qdebias.score(images, model="fake")]
    for tensors in (batch, batch / 255, list(batch)):
        assert [score.value for score in qdebias.score(tensors, model="fake")] == plain
    assert [score.value for score in qdebias.score(batch[0], model="fake")] == plain[:1]
    assert [score.value for score in qdebias.score(np.stack(images), model="fake")] == plain
    assert scorer.score(batch[0]).value == plain[0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Scorer(backend=3), "3 is not a model; give its name, such as 'nano'"),  # type: ignore[arg-type]
        (lambda: Scorer(backend="fake", method=3), "3 is not a method; give its name"),  # type: ignore[arg-type]
        (lambda: Scorer(backend="fake", method=qdebias.QDebias), "is not a method; give its name"),  # type: ignore[arg-type]
        (lambda: Scorer(backend="fake", seed="a"), "seed is an integer, got 'a'"),  # type: ignore[arg-type]
        (lambda: Scorer(backend="fake", threads=None), "threads is an integer, got None"),  # type: ignore[arg-type]
        (lambda: list(Scorer(backend="fake").score_many("photos/")), "several images are a list of them"),
        (lambda: qdebias.load_backend(None), "None is not the name of a model"),  # type: ignore[arg-type]
        (lambda: qdebias.presets.get(3), "3 is not a method; give its name"),  # type: ignore[arg-type]
        (lambda: qdebias.evaluate(3), "3 is not a dataset; give its name"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_type_is_told_in_a_sentence(wrong: object, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        wrong()  # type: ignore[operator]


def test_what_is_no_image_is_told_in_a_sentence() -> None:
    with pytest.raises(ImageError, match="3 is not an image; give a path"):
        qdebias.score(3, model="fake")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="holds no images"):
        qdebias.score(torch.zeros(1, 40, 40), model="fake")  # type: ignore[arg-type]
