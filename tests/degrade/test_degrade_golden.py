import json
from pathlib import Path

import numpy as np
import pytest

from qdebias.degrade import Degradation, Fog, ZoomBlur, imagenet_c

GOLDEN = Path(__file__).parents[1] / "golden" / "degradations"
SEEDS = json.loads((GOLDEN / "public.json").read_text())["seeds"]
ARRAYS = np.load(GOLDEN / "public.npz")
PAPER = {"zoom_blur/paper": ZoomBlur(), "fog/paper_k2.5_decay1.5": Fog(rescale=False)}


def degradation(kind: str, variant: str) -> Degradation:
    return PAPER.get(f"{kind}/{variant}") or imagenet_c(kind, int(variant.removeprefix("severity")))


@pytest.mark.parametrize("key", [key for key in ARRAYS.files if not key.startswith("image/")])
def test_pixels_are_those_of_the_published_code_to_one_grey_level(key: str) -> None:
    name, kind, variant = key.split("/")
    got = degradation(kind, variant)(ARRAYS[f"image/{name}"], np.random.RandomState(SEEDS[name]))
    apart = np.abs(got.astype(int) - ARRAYS[key])
    # an amount of liquid that equals the threshold to the last bit may fall on either side of it
    allowed = 0.001 if kind == "spatter" else 0
    assert (apart > 1).mean() <= allowed
