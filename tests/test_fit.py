"""A fit: labels of one's own, what a model knows of the images, and a method that other commands take."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import qdebias
from qdebias import presets
from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.fake import FakeBackend, digest_logits
from qdebias.cli.app import app
from qdebias.errors import SettingError
from qdebias.evaluation.fitting import Fit, fit
from qdebias.image import RgbImage
from qdebias.inputs.datasets import Dataset
from qdebias.methods.fitted import load_fit
from qdebias.prompts import Question, Request, StateQuestion
from qdebias.runs.scorer import Scorer

COUNT = 60


class Knowing:
    """A model whose state tells the blur of an image among much noise, and whose answers tell nothing."""

    state_size = 16

    def __init__(self, name: str = "knowing") -> None:
        self.name, self.asked = name, 0

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(identity={"backend": "test", "model": self.name, "weights": "1"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        return [[self._answer(request, question) for question in request.questions] for request in requests]

    def _answer(self, request: Request, question: Question) -> np.ndarray:
        self.asked += 1
        if not isinstance(question, StateQuestion):
            return np.array(digest_logits(request, question))
        image = request.images[-1]
        noise = np.random.default_rng(int(image.astype(np.int64).sum())).normal(size=self.state_size - 1)
        return np.append(noise, np.log(cv2.Laplacian(image, cv2.CV_64F).var() + 1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of four sizes of noise, blurred more and more; labels.csv on a scale of 1 to 5."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    lines = ["img_path,gt_score"]
    for number in range(COUNT):
        sigma = 0.4 + 3 * number / COUNT
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (48, 56, 3), dtype=np.uint8), (0, 0), sigma)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
        lines.append(f"{number:03}.png,{5 - 4 * number / COUNT + rng.normal(0, 0.2):.3f}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Dataset:
    return qdebias.load_dataset(str(photos / "labels.csv"))


@pytest.fixture(scope="module")
def made(dataset: Dataset) -> Fit:
    return fit(dataset, model=Knowing(), model_name="knowing", methods=["vanilla"], resamples=100)


@pytest.fixture
def saved(made: Fit, tmp_path: Path) -> Path:
    made.save(tmp_path / "mine.fit")
    return tmp_path / "mine.fit"


def test_a_fit_finds_what_the_model_knows_and_does_not_say(made: Fit) -> None:
    fitted, zero_shot, sharpness = made.comparison.methods
    assert (fitted.name, zero_shot.name, sharpness.name) == ("fit, cross-validated", "vanilla", "sharpness")
    assert fitted.agreement.srcc.value > 0.8 > abs(zero_shot.agreement.srcc.value) + 0.3
    assert fitted.gain.srcc.low > 0
    assert made.failures == ()


def test_scores_are_predicted_labels_with_an_interval_that_holds(made: Fit, dataset: Dataset) -> None:
    scores = list(Scorer(backend=Knowing(), method=made.method).score_many(dataset.paths))
    told = [made.method.mos(score.value) for score in scores]
    assert np.corrcoef([one.value for one in told], dataset.mos)[0, 1] > 0.9
    assert np.mean([one.low <= mos <= one.high for one, mos in zip(told, dataset.mos, strict=True)]) >= 0.9
    for score, one in zip(scores, told, strict=True):
        want = dataset.mos.mean() + score.log_odds * dataset.mos.std()
        assert one.value == pytest.approx(np.clip(want, dataset.mos.min(), dataset.mos.max()))
    assert made.method.interval.coverage > 0.8
    assert made.method.interval.half_width < dataset.mos.std()


def test_a_saved_fit_is_the_same_method_by_name(made: Fit, saved: Path, dataset: Dataset) -> None:
    scorer = Scorer(backend=Knowing(), method=str(saved))
    assert (
        scorer.score(dataset.paths[3]).value
        == Scorer(backend=Knowing(), method=made.method).score(dataset.paths[3]).value
    )
    assert presets.get(str(saved)).method.labels == made.method.labels
    assert json.loads(saved.read_text())["report"]["methods"][0]["srcc"] > 0.8


@pytest.mark.parametrize("change", [{"weights": "2"}, {"model": "another"}])
def test_another_model_or_another_checkpoint_is_refused(saved: Path, change: dict[str, str]) -> None:
    class Other(Knowing):
        @property
        def fingerprint(self) -> Fingerprint:
            return Fingerprint(identity={**super().fingerprint.identity, **change})

    (name,) = change
    with pytest.raises(SettingError, match=rf"fit is of the model knowing as it was then \({name}: .* in the fit"):
        Scorer(backend=Other(), method=str(saved))
    with pytest.raises(SettingError, match="max_side: absent in the fit, 100 now"):
        Scorer(backend=Knowing(), method=str(saved), max_side=100)


def test_methods_that_ask_something_else_by_now_are_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vanilla = presets.RECIPES["vanilla"]
    other = replace(vanilla.method, quality=replace(vanilla.method.quality, text="Is it good or poor?"))
    monkeypatch.setitem(presets.RECIPES, "vanilla", replace(vanilla, method=other))
    with pytest.raises(SettingError, match=r"mine\.fit: was fitted when vanilla asked something else"):
        presets.get(str(saved))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda said: said | {"format": "qdebias fit 0"}, "is of another version"),
        (lambda _: {}, "is no fit"),
        (lambda said: said | {"predict": said["predict"] | {"weight": [1.0]}}, "is no fit"),
        (lambda said: said | {"predict": said["predict"] | {"scale": [0.0] * 17}}, "its features have no scale"),
        (lambda said: said | {"predict": said["predict"] | {"offset": float("nan")}}, "is no fit"),
        (lambda said: said | {"labels": said["labels"] | {"deviation": 0}}, "its labels have no scale"),
        (lambda said: said | {"labels": said["labels"] | {"direction": "up"}}, "have no direction"),
        (lambda said: said | {"names": ["sep-iqa"]}, "reads whichever words are likeliest"),
        (lambda _: [], "is no fit"),
    ],
)
def test_a_file_that_is_no_fit_is_refused_in_words(saved: Path, edit, message: str) -> None:  # noqa: ANN001
    saved.write_text(json.dumps(edit(json.loads(saved.read_text()))))
    with pytest.raises(SettingError, match=f"mine.fit: .*{message}"):
        load_fit(saved, presets.get)


def test_a_fit_that_is_no_better_than_no_fit_is_refused(dataset: Dataset) -> None:
    def knows(request: Request, question: Question) -> list[float]:
        return [
            np.log(cv2.Laplacian(request.images[-1], cv2.CV_64F).var() + 1) if len(question.options) == 2 else 0.0
        ] + [0.0] * (len(question.options) - 1)

    shuffled = np.random.default_rng(3).permutation(dataset.mos)
    items = [replace(item, mos=float(mos)) for item, mos in zip(dataset.items, shuffled, strict=True)]
    with pytest.raises(
        SettingError, match=r"a fit is no better than the zero-shot score here: SRCC -?0\.\d+ \[.*label more"
    ):
        fit(replace(dataset, items=tuple(items)), model=FakeBackend(answer=knows), methods=["vanilla"], resamples=50)


def test_a_model_without_states_is_fitted_to_the_logits_of_its_options(dataset: Dataset) -> None:
    """Five levels tell what two words do not: here the middle one alone follows the quality."""

    def level(request: Request, question: Question) -> list[float]:
        noise = digest_logits(request, question)
        if len(question.options) == 5:
            noise[2] = 4 * np.log(cv2.Laplacian(request.images[-1], cv2.CV_64F).var() + 1)
        return noise

    made = fit(dataset, model=FakeBackend(answer=level), methods=["vanilla", "vanilla+levels5"], resamples=50)
    assert made.method.features.state is None
    assert made.method.predict.weight.shape == (2 + 2 + 5,)
    assert made.comparison.methods[0].agreement.srcc.value > 0.8


def test_where_lower_labels_are_better_predictions_follow(dataset: Dataset, made: Fit) -> None:
    turned = tuple(replace(item, mos=6 - item.mos) for item in dataset.items)
    lower = fit(
        replace(dataset, items=turned, direction="lower"), model=Knowing(), methods=["vanilla"], resamples=50
    ).method
    one, other = (Scorer(backend=Knowing(), method=each).score(dataset.paths[5]) for each in (made.method, lower))
    assert one.value == pytest.approx(other.value)
    assert lower.mos(other.value).value == pytest.approx(6 - made.method.mos(one.value).value)


def test_few_labels_are_refused_with_their_number(dataset: Dataset) -> None:
    with pytest.raises(SettingError, match="needs 40 labelled images or more, got 39"):
        fit(replace(dataset, items=dataset.items[:39]), model=Knowing(), methods=["vanilla"])


def test_images_of_one_reference_are_never_divided(dataset: Dataset) -> None:
    """Labels that are a matter of the photograph alone cannot be predicted of other photographs."""
    rng = np.random.default_rng(0)
    liked = rng.normal(size=12)
    items = tuple(
        replace(item, group=f"photo {number % 12}", mos=float(liked[number % 12]))
        for number, item in enumerate(dataset.items)
    )

    class Recognising(Knowing):
        def _answer(self, request: Request, question: Question) -> np.ndarray:
            known = super()._answer(request, question)
            if isinstance(question, StateQuestion):
                known[:12] = (
                    3
                    * np.eye(12)[
                        int(np.flatnonzero([np.array_equal(request.images[-1], one) for one in shown])[0] % 12)
                    ]
                )
            return known

    shown = [qdebias.load_image(path) for path in dataset.paths]
    together = replace(dataset, items=items)
    apart = replace(dataset, items=tuple(replace(item, group="") for item in items))
    assert (
        fit(apart, model=Recognising(), methods=["vanilla"], resamples=20).comparison.methods[0].agreement.srcc.value
        > 0.9
    )
    with pytest.raises(SettingError, match="no better than the zero-shot score"):
        fit(together, model=Recognising(), methods=["vanilla"], resamples=20)
    with pytest.raises(SettingError, match="7 need 14 groups of images, got 12"):
        fit(together, model=Recognising(), methods=["vanilla"], folds=7)


def test_a_run_folder_keeps_the_answers(dataset: Dataset, tmp_path: Path, made: Fit) -> None:
    model = Knowing()
    first = fit(dataset, model=model, methods=["vanilla"], run=tmp_path / "run", resamples=20)
    assert model.asked == 2 * COUNT
    again = fit(dataset, model=model, methods=["vanilla"], run=tmp_path / "run", resamples=20)
    assert model.asked == 2 * COUNT
    np.testing.assert_array_equal(first.method.predict.weight, again.method.predict.weight)
    np.testing.assert_allclose(first.method.predict.weight, made.method.predict.weight)


def test_the_commands(photos: Path, tmp_path: Path) -> None:
    """fit, score, evaluate and check with the embedded model."""
    labels, out, run = str(photos / "labels.csv"), str(tmp_path / "mine.fit"), str(tmp_path / "run")
    runner = CliRunner()
    fitted = runner.invoke(
        app, ["fit", labels, "--methods", "vanilla", "--run", run, "--out", out, "--resamples", "50"]
    )
    assert fitted.exit_code == 0, fitted.output
    assert all(f"| {name}" in fitted.stdout for name in ("fit, cross-validated", "vanilla", "sharpness"))
    assert "90% of labels lie within" in fitted.stderr
    image = str(photos / "000.png")
    scored = runner.invoke(app, ["score", image, "--fit", out, "--json"])
    row = json.loads(scored.stdout)
    assert row["mos_low"] < row["mos"] < row["mos_high"]
    assert row["method"] == out
    evaluated = runner.invoke(app, ["evaluate", labels, "--fit", out, "--run", run, "--json", "--resamples", "0"])
    assert json.loads(evaluated.stdout)["srcc"] > 0.8
    assert "was fitted to these same labels" in evaluated.stderr
    checked = runner.invoke(app, ["check", image, "--method", out, "--by", "mos_low", "--min", "4.9"])
    assert checked.exit_code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["fit", "LABELS", "--out", "mine.json"], "the name of a fit ends in .fit"),
        (["score", "IMAGE", "--fit", "mine.json"], "is not the name of a fit"),
        (["score", "IMAGE", "--fit", "absent.fit"], "absent.fit: cannot be read"),
        (["score", "IMAGE", "--fit", "FIT"], "this fit is of the model knowing"),
        (["score", "IMAGE", "--fit", "FIT", "--method", "vanilla"], "leave out --method"),
        (["fit", "LABELS", "--methods", "sep-iqa"], "reads whichever words are likeliest"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(photos: Path, saved: Path, options: list[str], message: str) -> None:
    names = {"LABELS": str(photos / "labels.csv"), "IMAGE": str(photos / "000.png"), "FIT": str(saved)}
    found = CliRunner().invoke(app, [names.get(one, one) for one in options])
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_states_of_the_embedded_model_do_not_depend_on_what_else_is_asked(photo: RgbImage) -> None:
    backend = qdebias.load_backend("nano")
    vanilla = presets.VANILLA
    state = StateQuestion(text=vanilla.text, options=vanilla.options, values=vanilla.values)
    alone = backend.option_logits([Request(images=(photo,), questions=(state,))])[0][0]
    other = photo[::-1].copy()
    asked = [Request(images=(other,), questions=(vanilla, state)), Request(images=(photo,), questions=(state, vanilla))]
    together = backend.option_logits(asked)
    assert alone.shape == (backend.state_size,)
    np.testing.assert_allclose(together[1][0], alone, rtol=1e-5, atol=1e-5)
    plain = backend.option_logits([Request(images=(photo,), questions=(vanilla,))])[0][0]
    np.testing.assert_allclose(together[1][1], plain, rtol=1e-5, atol=1e-5)
    assert not np.allclose(together[0][1], alone)
