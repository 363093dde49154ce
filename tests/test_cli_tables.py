"""The commands about tables, bias and calibration, from end to end with the fake model."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qdebias.cli.app import app
from qdebias.metrics import packages as lpips_module

COUNT = 12
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    lpips_module._load.cache_clear()


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label file beside twelve pictures of noise in three scenes, whose scores grow with their brightness."""
    root = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(2)
    rows = ["img_path,gt_score,scene"]
    for number in range(COUNT):
        picture = rng.integers(0, 100, (40, 44, 3)) + 12 * number
        Image.fromarray(picture.astype(np.uint8)).save(root / f"{number}.png")
        rows.append(f"{number}.png,{1 + number / 3:.3f},{'abc'[number % 3]}")
    (root / "mine.csv").write_text("\n".join(rows))
    return root / "mine.csv"


@pytest.fixture(scope="module")
def run(mine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with everything that the tables need."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    sys.modules["lpips"] = None  # type: ignore[assignment]
    for table in ("table1", "table2", "table3", "table4", "table5"):
        call("reproduce", table, "--dataset", mine, "--model", "fake", "--run", folder, "--resamples", 0)
    del sys.modules["lpips"]
    return folder


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def script(number: int) -> str:
    """Return a script of docs/reproduce.md."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8"), re.DOTALL)[
        number
    ]


def printed(
    code: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    exec(compile(code, "docs/reproduce.md", "exec"), {})  # noqa: S102 (our own documentation)
    return capsys.readouterr().out


def numbers_of(run: Path, table: str) -> dict[str, tuple[str, str]]:
    """Return SRCC and PLCC of a printed table by the name of the row."""
    text = call("tables", run, "--table", table, "--format", "csv", "--resamples", 0)
    rows = list(csv.reader(text.splitlines()))
    first = rows[0].index("mine, fake SRCC")
    return {row[0]: (row[first], row[first + 1]) for row in rows[1:]}


ROWS = [
    *(("table3", name, recipe) for name, recipe in zip(
        ("1", "2", "3", "4", "5", "6", "7", "8", "Q-Debias"),
        ("qbench", "only-zoom-blur", "only-spatter", "only-fog", "only-saturate", "spatter-saturate",
         "spatter-fog-saturate", "mismatched", "paper"), strict=True)),
    *(("table4", name, name.lower()) for name in ("T1", "T2", "T3")),
    ("table5", "Average", "average"),
    ("table5", "Winner-Takes-All", "winner"),
]  # fmt: skip


def test_every_number_is_computed_again_by_the_ten_lines_of_the_documentation(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = script(0)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (scores,) = (run / "tables").glob("*.json")
    again = dict(line.split(" ", 1) for line in printed(code, [str(scores)], monkeypatch, capsys).splitlines())
    for table in ("table3", "table4", "table5"):
        found = numbers_of(run, table)
        for _, name, recipe in (row for row in ROWS if row[0] == table):
            assert again[recipe].split() == [f"{float(value):.3f}" for value in found[name]], (table, name)


@pytest.mark.parametrize(("table", "name", "recipe"), ROWS, ids=[row[2] for row in ROWS])
def test_every_number_follows_from_the_raw_logits(
    table: str, name: str, recipe: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (scores,) = (run / "tables").glob("*.json")
    again = printed(script(1), [str(scores), recipe], monkeypatch, capsys)
    assert again.split() == [f"{float(value):.3f}" for value in numbers_of(run, table)[name]]


def test_reproduce_prints_markdown_and_says_what_was_not_run(mine: Path, run: Path) -> None:
    result = CliRunner().invoke(
        app, ["reproduce", "table5", "--dataset", str(mine), "--model", "fake", "--run", str(run), "--resamples", "50"]
    )
    assert result.exit_code == 0
    assert "| Winner-Takes-All   | " in result.stdout
    assert "| Quality Similarity | not run (1) " in result.stdout
    assert 'pip install "qdebias[rivals]"' in result.stdout
    assert "lpips was not run" in result.stderr


def test_reproduce_keeps_nothing_without_a_run(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Table 2" in call("reproduce", "table2", "--dataset", mine, "--model", "fake", "--limit", 5)
    assert list(tmp_path.iterdir()) == []


def test_a_limit_is_said_and_kept_apart(mine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for limit in (["--limit", 6], []):
        call("reproduce", "table2", "--dataset", mine, "--model", "fake", "--run", run, "--resamples", 0, *limit)
    text = call("tables", run, "--table", "table2", "--resamples", 0)
    assert "only the first 6 of them, as asked" in text
    assert "fake (run: 6, seed 0)" in text
    assert "fake (run: 12, seed 0)" in text


def test_an_image_that_fails_is_named_and_left_out(mine: Path, tmp_path: Path) -> None:
    rows = [*mine.read_text().splitlines()[:8], "broken.png,3,a"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    for line in rows[1:8]:
        name = line.split(",")[0]
        (tmp_path / name).write_bytes((mine.parent / name).read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    text = call("reproduce", "table2", "--dataset", tmp_path / "labels.csv", "--model", "fake", code=1)
    assert "broken.png: is not an image" in text
    assert "1 of 8 images have no score and are left out" in text


@pytest.mark.parametrize(
    ("suffix", "start"), [("md", "**Table 4"), ("csv", "Prompt,"), ("tex", r"\begin{table}"), ("html", "<table>")]
)
def test_the_suffix_decides_the_form(suffix: str, start: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / f"table.{suffix}"
    assert call("tables", "--run", run, "--table", "table4", "--resamples", 0, "--out", out) == ""
    assert out.read_text(encoding="utf-8").startswith(start)


def test_tables_are_computed_from_the_answers_of_any_run(mine: Path, run: Path, tmp_path: Path) -> None:
    evaluated = tmp_path / "run"
    for method in ("paper", "vanilla"):
        call("evaluate", mine, "--model", "fake", "--run", evaluated, "--method", method, "--resamples", 0)
    left = call("tables", evaluated, "--table", "table1", "--resamples", 0)  # without the dataset: what evaluate left
    assert "not run" in next(line for line in left.splitlines() if line.startswith("| Q-Bench prompt"))
    assert "not run" not in next(line for line in left.splitlines() if line.startswith("| Q-Debias "))
    text = call("tables", evaluated, "--dataset", mine, "--table", "table3", "--table", "table2", "--resamples", 0)
    assert text.count("not run (") >= 2, "the prompt of Q-Bench was not asked"
    whole = call("tables", run, "--table", "table3", "--resamples", 0)
    line = next(line for line in whole.splitlines() if line.startswith("| Q-Debias"))
    assert [cell.strip() for cell in line.split("|")] == [
        cell.strip() for cell in next(one for one in text.splitlines() if one.startswith("| Q-Debias")).split("|")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "table9", "--dataset", "x"], "'table9' is not a table or figure; choose one of table1, table2"),
        (["reproduce", "table3", "--dataset", "nothing"], "no dataset is called 'nothing'"),
        (["tables"], "name a run folder"),
        (["tables", ".", "--table", "tablet"], "'tablet' is not a table; there are table1"),
        (["tables", ".", "--format", "word"], "--format is markdown, csv, latex, html, got 'word'"),
        (["tables", "."], ". is not a run folder; name a folder"),
        (["bias"], "name images, or a dataset"),
        (["bias", "a.png", "--dataset", "spaq"], "name images, or a dataset"),
        (["bias", "a.png", "--limit", "3"], "need a dataset; name it with --dataset"),
        (["calibrate", "labels.csv", "--kind", "cubic"], "--kind is isotonic or logistic"),
        (["calibrate", "labels.csv", "--direction", "up"], "--direction is higher or lower"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], message: str) -> None:
    assert message in call(*arguments, code=2)


def test_a_rival_that_cannot_be_run_says_why(mine: Path, run: Path) -> None:
    text = call(
        "reproduce",
        "table1",
        "--dataset",
        mine,
        "--model",
        "fake",
        "--run",
        run,
        "--resamples",
        0,
        "--rival",
        "BRISQUE",
    )
    assert "| BRISQUE " in text
    assert "pip install pyiqa" in text


def test_the_figures_are_drawn(mine: Path, run: Path, tmp_path: Path) -> None:
    asked = ["--dataset", mine, "--model", "fake", "--run", run, "--resamples", 10]
    assert call("reproduce", "figure1", *asked, "--out", tmp_path / "1.png").strip() == str(tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as picture:
        assert picture.size[0] > 800
    too_few = call("reproduce", "figure4", *asked, "--out", tmp_path / "4.png", code=2)
    assert "too few images of common human scores" in too_few


def test_bias_of_images_is_their_exposure(mine: Path, tmp_path: Path) -> None:
    text = call(
        "bias", mine.parent / "1.png", mine.parent / "2.png", "--model", "fake", "--plot", tmp_path / "strip.png"
    )
    assert "| Image " in text
    assert text.count(".png ") == 2
    assert (tmp_path / "strip.png").stat().st_size > 5000
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    assert "broken.png: is not an image" in call("bias", broken, mine.parent / "1.png", "--model", "fake", code=1)


def test_bias_of_a_dataset_and_from_its_run_alone(mine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    text = call(
        "bias", "--dataset", mine, "--model", "fake", "--run", run, "--plot", tmp_path / "bias.png", "--resamples", 20
    )
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:] in (
        [*order, "spread"] for order in ("abc", "acb", "bac", "bca", "cab", "cba")
    )
    assert "Exposure" in text
    assert (tmp_path / "bias.png").exists()
    alone = call("bias", "--run", run, "--resamples", 20)
    assert alone.splitlines()[-1] == text.splitlines()[-1]
    assert "do not group the images by group" in call("bias", "--run", run, "--by", "group", code=2)


def test_calibrated_scores_stand_beside_the_raw_ones(mine: Path, tmp_path: Path) -> None:
    answers, fitted = tmp_path / "run", tmp_path / "mos.json"
    made = CliRunner().invoke(
        app, ["calibrate", str(mine), "--model", "fake", "--run", str(answers), "--folds", "2", "--out", str(fitted)]
    )
    if made.exit_code == 2:  # the fake scores happen to run against the human ones
        assert "run against the human ones" in made.output
        flipped = tmp_path / "flipped.csv"
        rows = [line.split(",") for line in mine.read_text().splitlines()]
        lines = [[str(mine.parent / path), f"{6 - float(score):.3f}"] for path, score, _ in rows[1:]]
        flipped.write_text("\n".join(",".join(line) for line in [["img_path", "gt_score"], *lines]))
        call("calibrate", flipped, "--model", "fake", "--run", answers, "--folds", 0, "--out", fitted)
    images = [mine.parent / f"{number}.png" for number in range(3)]
    asked = ["--model", "fake", "--run", answers, "--calibration", fitted]
    plain = [json.loads(line) for line in call("score", *images, "--model", "fake", "--json").splitlines()]
    mapped = [json.loads(line) for line in call("score", *images, *asked, "--json").splitlines()]
    assert [row["score"] for row in mapped] == [row["score"] for row in plain]
    assert "mos" not in plain[0]
    assert all(1 <= row["mos"] <= 5 for row in mapped)
    interval = json.loads(fitted.read_text())["interval"]
    for row in mapped:
        if interval is None:
            assert (row["mos_low"], row["mos_high"]) == (None, None)
        else:
            assert row["mos_high"] - row["mos"] == pytest.approx(row["mos"] - row["mos_low"])
    call("score", *images, *asked, "--out", tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [float(row["mos"]) for row in rows] == [row["mos"] for row in mapped]
    assert len(call("score", images[0], *asked).split("\t")) == 3
    assert "of model fake and method paper" in call("score", *images, *asked, "--method", "vanilla", code=2)


@pytest.mark.parametrize("table", ["table3", "table4", "table5"])
def test_tables_of_real_photographs_are_complete(table: str, shared: Path, tmp_path: Path) -> None:
    text = call(
        "reproduce", table, "--dataset", "biq2021", "--root", shared / "biq2021_sample", "--subset", "sample",
        "--model", "fake", "--limit", 5, "--resamples", 20, "--run", tmp_path / "run",
    )  # fmt: skip
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) == {"table3": 9, "table4": 4, "table5": 4}[table]
    assert "subset 'sample': 900 of 12,000 images; only the first 5 of them, as asked" in text
    assert "The paper has no numbers for BIQ2021; only our numbers are shown." in text
