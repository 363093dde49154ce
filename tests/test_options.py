"""What messages, help and docstrings call an option is one."""

import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from qdebias.cli.app import app
from test_cli import run

SOURCE = Path(__file__).resolve().parent.parent / "src" / "qdebias"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")


ALL = typer.main.get_command(app)


def options(command: str) -> set[str]:
    params = ALL.commands[command].load().params  # type: ignore[attr-defined]
    return {name for one in params for name in (*one.opts, *one.secondary_opts)} | {"--help"}


def named(path: Path) -> set[str]:
    return set(OPTION.findall(path.read_text(encoding="utf-8")))


OPTIONS = {command: options(command) for command in ALL.commands}  # type: ignore[attr-defined]
OF_ALL = {name for one in ALL.params for name in one.opts}
OF_OTHERS = {
    "backends/load.py": {"--upgrade"},  # pip
    "backends/openai_http/servers.py": {"--logprobs-mode", "--max-logprobs"},  # vLLM
    "integrations/ray/reach.py": {"--address", "--head"},  # Ray
    "metrics/tensors.py": {"--index-url"},  # pip
}
OF_IMAGES = ("score", "check", "explain", "degrade", "rank", "filter", "retry", "serve")
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
