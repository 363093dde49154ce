"""What messages, help and docstrings call an option is one."""

import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from qdebias.cli.app import COMMANDS, app, command_of, loaded
from test_cli import run

SOURCE = Path(__file__).resolve().parent.parent / "src" / "qdebias"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")


ALL = typer.main.get_command(app)


def options(command: str) -> set[str]:
    params = command_of(command, *loaded(command)).params
    return {name for one in params for name in (*one.opts, *one.secondary_opts)} | {"--help"}


def named(path: Path) -> set[str]:
    return set(OPTION.findall(path.read_text(encoding="utf-8")))


OPTIONS = {command: options(command) for command in COMMANDS}
OF_ALL = {name for one in ALL.params for name in one.opts}
OF_OTHERS = {
    "backends/load.py": {"--upgrade"},  # pip
    "backends/openai_http/servers.py": {"--logprobs-mode", "--max-logprobs"},  # vLLM
    "integrations/ray/cluster.py": {"--address", "--head"},  # Ray
    "metrics/packages.py": {"--index-url"},  # pip
}
OF_IMAGES = ("score", "check", "explain", "degrade", "rank", "burst", "filter", "retry", "serve")
OF_RUNS = ("score", "check", "filter", "rank", "burst", "evaluate", "compare", "reproduce", "bias", "calibrate", "fit")
OF_DATASETS = ("evaluate", "compare", "reproduce", "bias", "calibrate", "fit")


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SOURCE.rglob("*.py")) if named(path)],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_every_option_that_the_source_names_exists(path: Path) -> None:
    ours = set.union(OF_ALL, *OPTIONS.values())
    assert named(path) - ours == OF_OTHERS.get(path.relative_to(SOURCE).as_posix(), set())


@pytest.mark.parametrize("command", OF_IMAGES + OF_DATASETS)
def test_whatever_decodes_images_has_the_limit_that_its_messages_name(command: str) -> None:
    assert "--max-megapixels" in OPTIONS[command]


def test_evaluate_and_compare_take_the_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for number in range(4):
        size = (200, 100) if number == 3 else (50, 40)
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "l.csv").write_text("image,mos\n" + "".join(f"{number}.png,{number}\n" for number in range(4)))
    for command in (("evaluate",), ("compare",)):
        few = (*command, tmp_path / "l.csv", "--model", "fake", "--resamples", "0", "--max-megapixels")
        refused, taken = run(*few, "0.01"), run(*few, "0.03")
        assert refused.returncode == 1
        assert "3.png: 100 x 200 = 0 megapixels, more than the limit" in refused.stderr
        assert "--max-megapixels" in refused.stderr
        assert (taken.returncode, "megapixels" in taken.stderr) == (0, False)


@pytest.mark.parametrize("command", OF_RUNS)
def test_whatever_writes_a_run_takes_all_that_belongs_to_it(command: str) -> None:
    shared = {"--model", "--run", "--max-side", "--seed", "--batch", "--device", "--dtype", "--model-arg"}
    assert shared <= OPTIONS[command]


def test_commands_of_one_size_share_a_run_folder(tmp_path: Path) -> None:
    noise, lines = np.random.default_rng(0), ["image,mos"]
    for number in range(12):
        picture = noise.integers(0, 100, (90, 120, 3)) + 12 * number
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number}")
    (tmp_path / "l.csv").write_text("\n".join(lines))
    labels, of_run = tmp_path / "l.csv", ("--model", "fake", "--run", tmp_path / "run")
    asked = ("--max-side", 64, "--resamples", 0)
    assert run("evaluate", labels, *of_run, *asked).returncode == 0
    for command in (
        ("compare", labels, *asked),
        ("reproduce", "table3", "--dataset", labels, *asked),
        ("calibrate", labels, "--folds", 0, "--max-side", 64, "--out", tmp_path / "mos.json"),
        ("rank", tmp_path, "--max-side", 64),
        ("filter", tmp_path, "--max-side", 64, "--top", 3),
    ):
        got = run(*command, *of_run)
        assert got.returncode == 0 or "run against the human ones" in got.stderr, got.stderr
        assert "not run" not in got.stdout or "lpips" in got.stdout
    other = run("compare", labels, *of_run, "--resamples", 0)
    assert other.returncode == 2
    assert "max_side" in other.stderr


def test_any_setting_of_a_backend_can_be_given(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    asked = ("score", tmp_path / "a.png", "--method", "vanilla", "--model", "nano", "--model-arg")
    assert run(*asked, "sharing=off", "--model-arg", "tokens_at_once=512").returncode == 0
    for text, message in (
        ("sharing=none", "sharing 'none' is unknown; use one of"),
        ("tokens_at_once=many", "backend 'nano': tokens_at_once is int, got 'many'"),
        ("nonsense=1", "its options are: device, dtype, revision"),
        ("device=cpu", "--model-arg takes no device"),
        ("sharing", "--model-arg is KEY=VALUE, such as quantize=8bit, got 'sharing'"),
    ):
        got = run(*asked, text)
        assert (got.returncode, message in got.stderr) == (2, True), got.stderr
