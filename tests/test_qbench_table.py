"""Q-Bench's published table of perceptual assessment, recomputed from the logits that its authors stored.

Source of the table: Q-Bench (Wu et al., ICLR 2024), assessment task (A3), the leaderboard of its repository
(Q-Future/Q-Bench, leaderboards/README.md). LIVE-FB is left out: its logits are not stored. The authors' evaluation is
the quotient of exponentials at temperature 100, Spearman and Pearson without a fit, every stored row (so a repeated
first row counts twice), and for CGIQA-6k the mean of its two halves; for InstructBLIP-T5 it reads high and low.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from qdebias.metrics.measures import correlate, literal_probability
from reference_data import skip_absent
from test_readouts import module

DATASETS = ("spaq", "koniq", "livec", "cgi", "agi", "kadid")
ROWS = {"spaq": 11_125, "koniq": 10_073, "livec": 1_169, "cgi": 6_000, "agi": 2_982, "kadid": 10_125}

# model: SRCC/PLCC on SPAQ, KonIQ-10k, LIVE Challenge, CGIQA-6k, AGIQA-3k, KADID-10k
TABLE = {
    "clip_vit_l14": "0.385/0.389 0.468/0.505 0.307/0.308 0.285/0.290 0.436/0.458 0.376/0.388",
    "idefics": "0.474/0.484 0.375/0.400 0.409/0.428 0.199/0.229 0.562/0.622 0.370/0.373",
    "instructblip_t5": "0.582/0.599 0.334/0.362 0.113/0.113 0.167/0.188 0.378/0.400 0.181/0.166",
    "instructblip_vicuna": "0.683/0.689 0.359/0.437 0.253/0.367 0.263/0.304 0.629/0.663 0.337/0.382",
    "internlm_xcomposer_vl": "0.731/0.751 0.568/0.616 0.619/0.678 0.246/0.268 0.734/0.777 0.540/0.563",
    "kosmos_2": "0.644/0.641 0.255/0.281 0.358/0.368 0.210/0.225 0.489/0.491 0.359/0.365",
    "llama_adapter_v2": "0.464/0.506 0.354/0.363 0.298/0.360 0.257/0.271 0.604/0.666 0.412/0.425",
    "llava_v1": "0.442/0.462 0.462/0.457 0.404/0.417 0.208/0.237 0.626/0.684 0.349/0.372",
    "llava_v1.5": "0.563/0.584 0.448/0.460 0.445/0.481 0.285/0.297 0.664/0.754 0.390/0.400",
    "minigpt4_13b": "0.238/0.253 0.239/0.257 0.339/0.340 0.252/0.246 0.572/0.591 0.239/0.233",
    "mplug_owl": "0.634/0.644 0.409/0.427 0.437/0.487 0.148/0.180 0.687/0.711 0.466/0.486",
    "otter_v1": "0.436/0.441 0.406/0.406 -0.008/0.018 0.254/0.264 0.475/0.481 0.557/0.577",
    "qwen-vl": "0.676/0.669 0.470/0.546 0.504/0.532 0.273/0.284 0.617/0.686 0.486/0.486",
    "shikra": "0.327/0.337 0.314/0.307 0.322/0.336 0.198/0.201 0.640/0.661 0.324/0.332",
    "visualglm": "0.498/0.507 0.247/0.234 0.110/0.116 0.209/0.183 0.342/0.349 0.127/0.131",
}
CELLS = [
    (model, dataset, cell)
    for model, cells in TABLE.items()
    for dataset, cell in zip(DATASETS, cells.split(), strict=True)
]


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    path = shared / "lmm_outputs" / "qbench"
    if not path.is_dir():
        skip_absent(f"{path} is not there")
    return path


@cache
def outputs(folder: Path, model: str, dataset: str) -> Any:
    return module().read_outputs(folder / model / f"{dataset}.json.gz", keep_repeated=True)


def options(stored: Any, model: str) -> tuple[np.ndarray, np.ndarray]:
    words = ("high", "low") if model == "instructblip_t5" else ("good", "poor")
    return stored.logits[words[0]], stored.logits[words[1]]


def parts(dataset: str) -> list[slice]:
    """Return the rows that are correlated together: for CGIQA-6k its two halves."""
    return [slice(0, 3000), slice(3000, 6000)] if dataset == "cgi" else [slice(None)]


def measured(predicted: np.ndarray, mos: np.ndarray, dataset: str) -> tuple[float, float]:
    """Return SRCC and PLCC, the means over the parts."""
    results = [correlate(predicted[part], mos[part], resamples=0) for part in parts(dataset)]
    return float(np.mean([got.srcc for got in results])), float(np.mean([got.plcc for got in results]))


def test_the_table_has_ninety_cells() -> None:
    assert len(CELLS) == 90


def test_every_cell_is_reproduced_to_three_decimals(folder: Path, subtests: pytest.Subtests) -> None:
    for model, dataset, published in CELLS:
        with subtests.test(model=model, dataset=dataset):
            stored = outputs(folder, model, dataset)
            srcc, plcc = measured(literal_probability(*options(stored, model), temperature=100), stored.mos, dataset)
            assert f"{srcc:.3f}/{plcc:.3f}" == published


def test_the_margin_moves_srcc_only_as_far_as_broken_ties_do(folder: Path) -> None:
    moved = []
    for model, dataset, published in CELLS:
        stored = outputs(folder, model, dataset)
        margin = np.subtract(*options(stored, model))
        srcc = np.mean([stats.spearmanr(margin[part], stored.mos[part]).statistic for part in parts(dataset)])
        moved.append(abs(srcc - float(published.split("/")[0])))
    assert max(moved) < 0.0035
    assert sum(move >= 0.0005 for move in moved) <= 12


def test_temperature_moves_plcc_and_nothing_else(folder: Path) -> None:
    stored = outputs(folder, "qwen-vl", "spaq")
    margin = np.subtract(*options(stored, "qwen-vl"))
    at = {
        t: correlate(
            literal_probability(*options(stored, "qwen-vl"), temperature=t), stored.mos, ranked_by=margin, resamples=0
        )
        for t in (1, 100)
    }
    assert at[1].srcc == at[100].srcc
    assert (at[1].plcc, at[100].plcc) == (pytest.approx(0.387, abs=5e-4), pytest.approx(0.669, abs=5e-4))


def test_only_one_model_left_a_repeated_row(folder: Path) -> None:
    for model, dataset, _ in CELLS:
        stored = outputs(folder, model, dataset)
        once = (
            module().read_outputs(folder / model / f"{dataset}.json.gz") if model == "instructblip_vicuna" else stored
        )
        assert len(once) == ROWS[dataset]
        assert len(stored) == ROWS[dataset] + (model == "instructblip_vicuna")
