"""Methods beside each other: paired differences, and nothing asked twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from paired import gains
from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.cli.evaluate import models_of, run_folders
from qdebias.errors import SettingError
from qdebias.evaluation.comparison import Comparison, compare_models, compare_stored
from qdebias.evaluation.method_scores import ModelRun
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.prompts import Question, Request
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer

COUNT = 20
METHODS = ("vanilla", "average", "paper", "t1", "t2", "t3", "winner", "only-fog", "qbench-t100")
NEW = {"vanilla": 1, "average": 4, "paper": 4, "t1": 4, "t2": 4, "t3": 4, "winner": 0, "only-fog": 0, "qbench-t100": 1}
"""How many questions an image each of them asks that none before it does."""


DIMMER = "test_compare:dimmer"
LOG = "QDEBIAS_TEST_ASKED"
"""Variable with the file in which `first` and `second` leave a word for each question."""


def brightness(request: Request, question: Question) -> list[float]:
    """Answer by the brightness of the query image, with an error that the question decides."""
    level = float(request.images[-1].mean())
    return [level / 40 + 0.3 * np.sin(level * len(question.text)), 1.5]


class Named(FakeBackend):
    """A fake of its own name, which writes down what it is asked."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        if LOG in os.environ:
            time.sleep(0.005)
            with Path(os.environ[LOG]).open("a") as file:
                file.write(f"{self.name}\n" * sum(len(request.questions) for request in requests))
        return super().option_logits(requests)


def first_model() -> Named:
    return Named(name="first", answer=brightness)


def second_model() -> Named:
    return Named(name="second", answer=brightness)


def dimmer() -> Named:
    return Named(name="dimmer", answer=brightness)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Pictures of noise; the brighter, the better."""
    root, rng = tmp_path_factory.mktemp("mine"), np.random.default_rng(2)
    with (root / "mine.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["img_path", "gt_score"])
        for number in range(COUNT):
            picture = rng.integers(0, 100, (36, 40, 3)) + 7 * number
            Image.fromarray(picture.astype(np.uint8)).save(root / f"{number}.png")
            table.writerow([f"{number}.png", number + rng.normal(0, 4)])
    return load_dataset(root / "mine.csv")


def compared(dataset: Dataset, folder: Path, backend: Backend, methods: Sequence[str], **settings: str) -> Comparison:
    with open_run(folder, backend.fingerprint, model="fake") as run:
        model_run = nullcontext(ModelRun(run=run, backend=backend))
        return compare_models(dataset, {"fake": methods}, lambda _: model_run, resamples=200, **settings)


def asked_of(backend: FakeBackend) -> int:
    return sum(len(request.questions) for call in backend.calls for request in call)


@pytest.fixture(scope="module")
def first(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """Everything compared once, and its run folder."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    backend = FakeBackend(answer=brightness)
    found = compared(dataset, folder, backend, METHODS)
    assert found.asked == asked_of(backend)
    return found, folder


def test_each_question_is_asked_once_and_counted_for_the_first_method_that_needs_it(
    first: tuple[Comparison, Path],
) -> None:
    found, _ = first
    assert {one.name: one.asked for one in found.methods} == {name: new * COUNT for name, new in NEW.items()}
    assert found.asked == sum(NEW.values()) * COUNT
    assert [one.forwards for one in found.methods] == [1, 4, 8, 8, 8, 8, 8, 1, 1]


def test_a_second_comparison_asks_nothing_and_says_the_same(first: tuple[Comparison, Path], dataset: Dataset) -> None:
    found, folder = first
    backend = FakeBackend(answer=brightness)
    again = compared(dataset, folder, backend, METHODS)
    assert (again.asked, backend.calls) == (0, [])
    assert [one.agreement for one in again.methods] == [one.agreement for one in found.methods]
    assert [one.gain for one in again.methods] == [one.gain for one in found.methods]


def test_another_method_asks_only_its_own_questions(dataset: Dataset, tmp_path: Path) -> None:
    backend = FakeBackend(answer=brightness)
    compared(dataset, tmp_path / "run", backend, ["paper", "vanilla"])
    before = asked_of(backend)
    more = compared(dataset, tmp_path / "run", backend, ["paper", "vanilla", "t1", "average"])
    assert asked_of(backend) - before == more.asked == 4 * COUNT
    assert [one.asked for one in more.methods] == [0, 0, 4 * COUNT, 0]


def test_differences_are_a_paired_bootstrap_on_the_scores_of_the_scorer(
    first: tuple[Comparison, Path], dataset: Dataset
) -> None:
    backend = FakeBackend(answer=brightness)
    vanilla, average = (
        [score.value for score in Scorer(backend=backend, method=name).score_many(dataset.paths)]
        for name in ("vanilla", "average")
    )
    want = gains(average, vanilla, dataset.mos, resamples=200)
    got = first[0].methods[1].gain
    assert got.srcc
    for measure in ("srcc", "plcc"):
        number = getattr(got, measure)
        assert (number.value, number.low, number.high) == pytest.approx(want[measure])


def test_the_base_is_the_first_the_named_or_the_best(dataset: Dataset, first: tuple[Comparison, Path]) -> None:
    folder, backend = first[1], FakeBackend(answer=brightness)
    assert first[0].against == "vanilla"
    assert compared(dataset, folder, backend, METHODS, against="t2").against == "t2"
    best = compared(dataset, folder, backend, METHODS, against="best")
    srcc = {one.name: one.agreement.srcc.value for one in best.methods if one.agreement.srcc}
    assert srcc[best.against] == max(srcc.values())
    assert [one.name for one in best.methods if one.gain.srcc is None] == [best.against]


@dataclass(frozen=True)
class CuttingBackend:
    """A model that can be told how to cut images."""

    cut: str = "none"

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(identity={"model": "cutting", "cut": self.cut})

    def with_cut(self, cut: str) -> "CuttingBackend":
        return CuttingBackend(cut)

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        assert self.cut == "none", "an answer of another model would land in this run"
        return FakeBackend(answer=brightness).option_logits(requests)


def test_a_method_that_changes_the_model_is_not_run_in_the_same_folder(dataset: Dataset, tmp_path: Path) -> None:
    found = compared(dataset, tmp_path / "run", CuttingBackend(), ["vanilla", "average", "released"])
    refused = found.methods[-1].agreement
    assert refused.srcc is None
    assert "cut: none in the run, official now" in refused.notes[0]
    assert found.asked == 5 * COUNT
    assert [cell.text for cell in found.table().rows[2][:3]] == ["released", "not run", "not run"]
    assert found.table().footnotes == refused.notes


def test_a_run_folder_is_compared_without_a_model(first: tuple[Comparison, Path], dataset: Dataset) -> None:
    found, folder = first
    alone = compare_stored([folder], dataset, resamples=200)
    asked = {one.name: one.agreement for one in found.methods}
    assert {one.name: one.agreement for one in alone.methods} == asked
    assert alone.asked is None
    chosen = compare_stored([folder], dataset, ["only-spatter", "paper"], resamples=200)
    assert chosen.methods[0].agreement.srcc


def test_files_of_scores_and_runs_stand_beside_each_other(
    first: tuple[Comparison, Path], dataset: Dataset, tmp_path: Path
) -> None:
    numbers = list(range(COUNT))
    mine = tmp_path / "mine.csv"
    mine.write_text("image,Predicted\n" + "\n".join(f"{number}.png,{number}" for number in reversed(numbers)))
    other = tmp_path / "other.jsonl"
    rows = [{"path": str(path.absolute()), "score": -float(n)} for n, path in zip(numbers, dataset.paths, strict=True)]
    rows[3] |= {"score": None, "error": "3.png: broken"}
    other.write_text("\n".join(map(json.dumps, [*rows, {"path": "elsewhere.png", "score": 1}])))
    found = compare_stored([mine, other, first[1]], dataset, ["paper"], resamples=0)
    assert [one.name for one in found.methods] == ["mine", "other", "paper (run)"]
    counts = [one.agreement.count for one in found.methods if one.agreement.srcc]
    assert counts == [COUNT, COUNT - 1, COUNT]
    kept = [n for n in numbers if n != 3]
    want = np.corrcoef(np.array(kept), dataset.mos[kept])[0, 1]
    gain = found.methods[1].gain
    assert gain.plcc
    assert gain.plcc.value == pytest.approx(-2 * want)
    assert found.evidence.errors == ("3.png: broken",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,value\n1.png,2", "no column of scores"),
        ("picture,score\n1.png,2", "no column of images"),
        ("path,score\nx.png,2", "names none of the 20 images"),
        ("path,score\n1.png,good", "is not a number"),
        ("path,score\n1.png,1\n1.png,2", "lists '1.png' more than once"),
        ("path,score\n1.png,1\nsome/1.png,2", "are the same image"),
        ("", "is empty; its first line names the columns"),
    ],
)
def test_files_that_cannot_be_compared(text: str, message: str, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SettingError, match=message):
        compare_stored([tmp_path / "bad.csv", tmp_path / "bad.csv"], dataset)


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_the_command_prints_a_table_and_one_object_of_json(dataset: Dataset, tmp_path: Path) -> None:
    labels, folder = dataset.label_files[0], tmp_path / "run"
    asked = ("compare", labels, "--model", "fake", "--run", folder, "-k", "vanilla,average", "-k", "paper")
    text = call(*asked, "--resamples", 50)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    assert rows[0][1:9] == ["Method", "SRCC", "PLCC", "ΔSRCC", "ΔPLCC", "Images", "Forward passes", "Questions asked"]
    assert rows[0][9] == "Images/s"
    assert [row[1] for row in rows[2:]] == ["vanilla", "average", "paper"]
    assert [row[8] for row in rows[2:]] == ["20", "80", "80"]
    found = json.loads(call(*asked, "--json", "--out", tmp_path / "table.csv", "--resamples", 50))
    assert (found["asked"], found["against"], found["model"]) == (0, "vanilla", "fake")
    assert str(tmp_path) not in json.dumps(found)
    table = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    for row, method in zip(table, found["methods"], strict=True):
        assert row["Method"] == method["method"]
        assert float(row["SRCC"]) == method["srcc"]
        assert [float(row["SRCC low"]), float(row["SRCC high"])] == method["srcc_interval"]
    stored = json.loads(call("compare", folder, "--mos", labels, "--json", "--resamples", 50))
    want = {method["method"]: method["srcc"] for method in found["methods"]}
    assert {method["method"]: method["srcc"] for method in stored["methods"]} == want


def test_the_rate_is_of_all_questions_of_a_method(dataset: Dataset, tmp_path: Path) -> None:
    """Each question takes 10 ms here, whoever it is requested."""

    class Slow(FakeBackend):
        def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
            time.sleep(0.01 * sum(len(request.questions) for request in requests))
            return super().option_logits(requests)

    found = compared(dataset, tmp_path / "run", Slow(answer=brightness), ("paper", "average", "vanilla"))
    rates = {one.name: one.rate for one in found.methods}
    assert rates["paper"] == pytest.approx(100 / 8, rel=0.2)
    assert rates["average"] == pytest.approx(100 / 4, rel=0.2), "although paper had asked all of it"
    assert rates["vanilla"] == pytest.approx(100, rel=0.2)
    again = compared(dataset, tmp_path / "run", Slow(answer=brightness), ("paper", "vanilla"))
    assert [one.rate for one in again.methods] == [None, None]


def test_models_stand_beside_each_other_in_run_folders_of_their_own(dataset: Dataset, tmp_path: Path) -> None:
    labels, runs = dataset.label_files[0], tmp_path / "runs"
    asked = ("compare", labels, "--model", "fake=vanilla,average", "--model", DIMMER, "-k", "paper", "--run", runs)
    found = json.loads(call(*asked, "--json", "--resamples", 50))
    names = ["vanilla (fake)", "average (fake)", f"paper ({DIMMER})"]
    assert [row["method"] for row in found["methods"]] == names
    assert (found["against"], found["model"], found["asked"]) == (names[0], f"fake, {DIMMER}", COUNT * (1 + 4 + 8))
    assert [row["asked"] for row in found["methods"]] == [COUNT, 4 * COUNT, 8 * COUNT]
    assert all(row["images_per_second"] > 0 for row in found["methods"])
    assert sorted(folder.name.split("-")[0] for folder in runs.iterdir()) == ["fake", "test_compare"]
    again = json.loads(call(*asked, "--json", "--resamples", 50))
    assert again["asked"] == 0
    own = json.loads(call("compare", labels, "--model", "fake", "-k", "vanilla,average", "--json", "--resamples", 50))
    for row, alone in zip(again["methods"][:2], own["methods"], strict=True):
        assert (row["srcc"], row["srcc_interval"]) == (alone["srcc"], alone["srcc_interval"])
    difference = again["methods"][2]
    assert difference["srcc_difference"] == pytest.approx(difference["srcc"] - again["methods"][0]["srcc"])
    table = call(*asked, "--against", f"paper ({DIMMER})", "--resamples", 50)
    assert f"| paper ({DIMMER}) " in table
    assert f"minus paper ({DIMMER}) on the same images" in table


def test_a_comparison_of_models_that_was_killed_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    """The first model is done, the second is killed at work; asked again, all of both is asked once."""
    labels, runs, log = dataset.label_files[0], tmp_path / "runs", tmp_path / "asked"
    asked = [
        "compare",
        labels,
        "--model",
        "test_compare:first_model",
        "--model",
        "test_compare:second_model",
        "-k",
        "vanilla,paper",
    ]
    command = [*map(str, asked), "--run", str(runs), "--batch", "1", "--resamples", "20", "--json"]
    environment = {**os.environ, LOG: str(log), "PYTHONPATH": str(Path(__file__).parent)}
    program = [sys.executable, "-c", "from qdebias.cli import main; main()", *command]
    process = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (log.read_text() if log.exists() else "").count("second") < 30:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = log.read_text().split()
    assert (before.count("first"), 30 <= before.count("second") < 9 * COUNT) == (9 * COUNT, True)
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    after = log.read_text().split()
    assert after.count("first") == 9 * COUNT, "nothing of the finished model is asked again"
    assert 9 * COUNT <= after.count("second") <= 9 * COUNT + 9, "no more than the image under way is asked again"
    assert found["asked"] == len(after) - len(before)
    assert {row["count"] for row in found["methods"]} == {COUNT}
    whole = json.loads(call(*command[:-5], "--json", "--resamples", 20))
    for row, alone in zip(found["methods"], whole["methods"], strict=True):
        assert row["srcc"] == alone["srcc"]


def test_a_folder_of_one_model_is_not_filled_with_others(dataset: Dataset, tmp_path: Path) -> None:
    labels = dataset.label_files[0]
    call("compare", labels, "--model", "fake", "--run", tmp_path / "run", "--resamples", 0)
    text = call("compare", labels, "--model", "fake", "--model", DIMMER, "--run", tmp_path / "run", code=2)
    assert "is the run of one model; name another folder" in text
    text = call("compare", labels, "--model", "fake=paper", "--model", "fake=vanilla", code=2)
    assert "--model fake is named twice" in text


@pytest.mark.parametrize(
    ("text", "model", "methods"),
    [
        ("nano", "nano", ["paper"]),
        ("nano=paper@fog,spatter+levels5", "nano", ["paper@fog,spatter+levels5"]),
        ("nano=vanilla+levels5", "nano", ["vanilla+levels5"]),
        ("hf:x?enable_thinking=true", "hf:x?enable_thinking=true", ["paper"]),
        ("hf:x?enable_thinking=true=qrealign", "hf:x?enable_thinking=true", ["qrealign"]),
        ("hf:x=qrealign?enable_thinking=true", "hf:x?enable_thinking=true", ["qrealign"]),
        ("openai:http://host/v1?key=1#m", "openai:http://host/v1?key=1#m", ["paper"]),
    ],
)
def test_methods_stand_behind_the_name_of_a_model(text: str, model: str, methods: list[str]) -> None:
    assert models_of([text], ["paper"]) == {model: methods}


def test_names_of_models_become_names_of_folders() -> None:
    names = ["nano", "hf:a/b", "hf:a-b", "openai:http://h:1/v1#m", "hf:/" + "x" * 300]
    folders = run_folders(Path("runs"), names)
    assert len({str(folder).casefold() for folder in folders.values()}) == len(names)
    assert folders["nano"] == Path("runs/nano")
    for folder in folders.values():
        assert folder is not None
        assert folder.parent == Path("runs")
        assert len(folder.name) < 100
    assert run_folders(Path("runs"), ["hf:a/b"]) == {"hf:a/b": Path("runs")}


def test_nothing_is_asked_for_a_comparison_that_cannot_be(dataset: Dataset, tmp_path: Path) -> None:
    backend = FakeBackend(answer=brightness)
    with pytest.raises(SettingError, match="two or more different methods"):
        compared(dataset, tmp_path / "run", backend, ["vanilla"])
    with pytest.raises(SettingError, match="which is not compared"):
        compared(dataset, tmp_path / "run", backend, ["vanilla", "paper"], against="t1")
    assert not backend.calls


def test_mistakes_are_told_in_one_line(dataset: Dataset, tmp_path: Path) -> None:
    labels = dataset.label_files[0]
    for arguments, why in (
        ((labels, "-k", "vanilla"), "needs two or more different methods, got vanilla"),
        ((labels, "-k", "vanilla,vanilla"), "two or more different"),
        ((labels, "-k", "vanilla,nonsense"), "nonsense"),
        ((labels, "-k", "vanilla,paper", "--against", "t1"), "to 't1', which is not compared"),
        ((labels, labels), "give --mos"),
        ((tmp_path / "none.csv", "--mos", labels), "cannot be read"),
    ):
        text = call("compare", *arguments, "--model", "fake", code=2)
        assert why in text
        assert len(text.strip().splitlines()) == 1
