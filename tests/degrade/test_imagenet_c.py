import numpy as np
import pytest

from qdebias.degrade import DEGRADATIONS, Fog, Mud, Spatter, Water, ZoomBlur, degradation_named, imagenet_c
from qdebias.degrade.imagenet_c import SEVERITIES
from qdebias.errors import SettingError
from qdebias.methods.describe import describe


def test_the_released_code_is_severity_3_and_fog_4() -> None:
    assert imagenet_c("zoom_blur", 3) == ZoomBlur(largest=1.20, step=0.02, original_again=True, black_edges=True)
    assert imagenet_c("spatter", severity=3) == Spatter()
    assert imagenet_c("fog", severity=4) == Fog(density=2.5, decay=1.5, rescale=True)


def test_zoom_factors_are_those_of_numpy_arange_to_the_last_bit() -> None:
    ends = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]
    for severity, (stop, step) in enumerate(ends, start=1):
        assert list(imagenet_c("zoom_blur", severity).factors) == np.arange(1, stop, step).tolist()


def test_water_gives_way_to_mud_at_severity_4() -> None:
    liquids = [type(imagenet_c("spatter", severity).liquid) for severity in range(1, 6)]
    assert liquids == [Water, Water, Water, Mud, Mud]


def test_every_kind_has_five_severities() -> None:
    assert {kind: len(row) for kind, row in SEVERITIES.items()} == dict.fromkeys(SEVERITIES, 5)


@pytest.mark.parametrize(("kind", "severity"), [("snow", 3), ("fog", 0), ("fog", 6)])
def test_an_unknown_kind_or_severity_is_refused(kind: str, severity: int) -> None:
    with pytest.raises(SettingError, match="choose one of these"):
        imagenet_c(kind, severity)


def test_both_spellings_name_one_kind() -> None:
    assert imagenet_c("gaussian_blur", 2) == imagenet_c("gaussian-blur", 2) == degradation_named("gaussian-blur2")
    assert list(SEVERITIES) == list(DEGRADATIONS)


@pytest.mark.parametrize("kind", sorted(DEGRADATIONS))
def test_run_folders_name_each_kind_as_they_always_did(kind: str) -> None:
    name = type(DEGRADATIONS[kind]).__name__
    assert describe(DEGRADATIONS[kind])["is"] == f"qdebias.degrade.{kind.replace('-', '_')}.{name}"
