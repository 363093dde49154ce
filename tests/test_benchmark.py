"""The benchmark measures what it says, on architectures shrunk to nothing."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from qdebias.cli import bench, bench_sharing
from qdebias.cli.app import app
from qdebias.cli.bench import measure_scale
from qdebias.cli.bench_shapes import SHAPES, build, shortened
from qdebias.cli.bench_sharing import count, sampled
from qdebias.errors import SettingError

CPU = torch.device("cpu")
TRUE = dict(SHAPES)


def small(ids: Mapping[str, int]) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.SmolVLMConfig(
        vision_config={**sizes, "image_size": 512, "patch_size": 64},
        text_config={**sizes, "model_type": "llama", "num_key_value_heads": 1, "vocab_size": 2000, "pad_token_id": 0},
        scale_factor=1,
        image_token_id=ids["<image>"],
        pad_token_id=0,
    )


@pytest.fixture(scope="module", autouse=True)
def small_shape() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, "smolvlm-256m", replace(TRUE["smolvlm-256m"], config=small))  # type: ignore[arg-type]
        yield


@pytest.fixture(scope="module")
def report(small_shape: None) -> dict[str, Any]:  # noqa: ARG001
    return bench_sharing.measure(device=CPU, dtype=torch.float32, images=2, repeat=1, size=(96, 64))


def test_ours_stands_on_the_floor_and_answers_the_same(report: dict[str, Any]) -> None:
    authors, images, beginnings, ours, plain, query_first, vanilla = report["ways"]
    assert 0.99 < ours["flops"] / report["floor_flops"] < 1.05
    assert authors["flops"] > images["flops"] > beginnings["flops"] >= ours["flops"] > vanilla["flops"]
    assert authors["flops"] / ours["flops"] > 2
    assert 0.99 < query_first["flops_over_floor"] < 1.1  # rows of models this small are left apart
    assert plain["flops"] > ours["flops"] >= query_first["flops"] > vanilla["flops"]
    for way in (images, beginnings, ours, query_first):
        assert way["max_difference"] is not None
        assert way["max_difference"] < 1e-5
    assert vanilla["max_difference"] is None


def test_answers_that_are_compared_differ_from_one_another() -> None:
    model, processor = build("smolvlm-256m", CPU, torch.float32)
    authors = bench_sharing.ways_of(model, processor, 2, (96, 64))[0]
    _, answers = authors.count()
    assert answers.std(axis=0).min() > 1e-3


def test_json_has_the_three_figures_of_our_way(report: dict[str, Any]) -> None:
    content = json.loads(json.dumps(report))
    for name in ("flops_over_floor", "speedup_over_authors", "max_difference"):
        assert content[name] == report["ways"][3][name]


def test_products_are_counted_in_attention_too() -> None:
    tensors = [torch.ones(1, 2, 8, 16) for _ in range(3)]
    assert count(lambda: torch.nn.functional.scaled_dot_product_attention(*tensors)) == 2 * 2 * 8 * 8 * 32
    assert count(lambda: tensors[0] @ tensors[1].mT) == 2 * 2 * 8 * 8 * 16


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shapes_have_the_parameters_of_the_published_models(name: str) -> None:
    published = {"smolvlm-256m": 256.5e6, "qwen2-vl-2b": 2.209e9, "qwen2-vl-7b": 8.291e9}
    ids = {token: number for number, token in enumerate(("<pad>", *TRUE[name].special))}
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(TRUE[name].config(ids))
    counted = sum(parameter.numel() for parameter in model.parameters())
    np.testing.assert_allclose(counted, published[name], rtol=0.01)


def test_unknown_shape() -> None:
    with pytest.raises(SettingError, match="there is no shape 'huge'; choose one of smolvlm-256m"):
        build("huge", CPU, torch.float32)


def test_time_and_memory_do_not_grow_with_the_list() -> None:
    few, many = measure_scale((20, 200))
    assert (few["images"], many["images"]) == (20, 200)
    assert many["milliseconds_per_image"] < 5 * few["milliseconds_per_image"]
    assert many["process_memory_bytes"] < 1.1 * few["process_memory_bytes"]


def test_command_prints_a_table_or_json_and_draws(tmp_path: Path) -> None:
    plot = tmp_path / "speed.png"
    options = ["bench", "--size", "96x64", "--repeat", "1", "--device", "cpu", "--plot", str(plot)]
    table = CliRunner().invoke(app, options)
    assert table.exit_code == 0, table.stderr
    assert "authors" in table.stdout
    assert table.stderr.startswith("timing each way of a model of smolvlm-256m")
    assert plot.stat().st_size > 1000
    content = CliRunner().invoke(app, [*options, "--json"])
    assert json.loads(content.stdout)["max_difference"] < 1e-5


@pytest.mark.parametrize("size", ["512", "512x", "8x8", "x"])
def test_impossible_size_is_the_users_mistake(size: str) -> None:
    outcome = CliRunner().invoke(app, ["bench", "--size", size])
    assert outcome.exit_code == 2
    assert "is not of the form 512x384" in outcome.stderr


def test_degradations_are_timed_beside_their_reference() -> None:
    outcome = CliRunner().invoke(app, ["bench", "degrade", "--size", "96x64", "--repeat", "1", "--json"])
    assert outcome.exit_code == 0, outcome.stderr
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line["name"] for line in lines] == ["zoom blur", "spatter", "saturate", "fog", "all four"]
    for line in lines:
        assert (line["width"], line["height"]) == (96, 64)
        assert min(line["reference_ms"], line["same_draws_ms"], line["own_draws_ms"]) > 0
        assert line["share_apart"] <= 0.001
    assert lines[4]["reference_ms"] == pytest.approx(sum(line["reference_ms"] for line in lines[:4]))
    assert "96x64" in CliRunner().invoke(app, ["bench", "degrade", "--size", "96x64", "--repeat", "1"]).stdout


def test_files_of_mixed_sizes_are_scored_and_a_slow_model_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SIDES", (64, 90))
    outcome = CliRunner().invoke(app, ["bench", "files", "--images", "30", "--json"])
    assert outcome.exit_code == 0, outcome.stderr
    none, slow = (json.loads(line) for line in outcome.stdout.splitlines())
    assert (none["model"], none["images"], slow["model"], slow["images"]) == ("none", 30, "slow", 30)
    for line in (none, slow):
        assert 0 < line["busy"] <= 1
        assert 0 < line["early_memory_bytes"] <= line["most_memory_bytes"]
        assert 0 < line["memory_bytes"] <= line["most_memory_bytes"]


def test_shape_can_be_shortened() -> None:
    model, _ = build("smolvlm-256m", CPU, torch.float32, divide=2)
    assert model.config.text_config.num_hidden_layers == 1
    assert len(model.model.vision_model.encoder.layers) == 1


def test_a_shortened_model_can_be_saved(tmp_path: Path) -> None:
    ids = {token: number for number, token in enumerate(("<pad>", *TRUE["qwen2-vl-2b"].special))}
    config = shortened(TRUE["qwen2-vl-2b"].config(ids), 14)
    assert (config.vision_config.depth, len(config.text_config.layer_types)) == (2, 2)
    config.save_pretrained(tmp_path)
    assert transformers.AutoConfig.from_pretrained(tmp_path).text_config.num_hidden_layers == 2


def test_utilisation_is_sampled_from_the_driver() -> None:
    told = threading.Event()
    values = iter([30, 50])

    def read(_: torch.device) -> int:
        value = next(values, None)
        if value is None:
            told.set()
            raise RuntimeError("no more")
        return value

    with sampled(torch.device("cuda"), read) as samples:
        assert told.wait(60)
    assert samples == [30, 50]
    with sampled(CPU, read) as samples:
        pass
    assert samples == []
