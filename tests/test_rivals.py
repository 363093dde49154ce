"""Adapters to packages that are not installed here: their call shape on stand-ins, and what is said without them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from qdebias.backends.fake import FakeBackend
from qdebias.backends.load import load_backend
from qdebias.errors import ImageError, MissingPackageError, SettingError
from qdebias.image import RgbImage
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.metrics import packages as lpips_module
from qdebias.metrics.packages import KNOWN_RIVALS, Lpips, load_rival
from qdebias.runs.scorer import Scorer


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    lpips_module._load.cache_clear()
    yield
    lpips_module._load.cache_clear()


@pytest.fixture
def lpips_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Package lpips 0.1.4 as far as it is called: LPIPS(net=, verbose=)(in0, in1, normalize=) -> (1, 1, 1, 1)."""

    class LPIPS:
        def __init__(self, net: str = "alex", verbose: bool = True) -> None:
            assert (net, verbose) == ("alex", False)

        def __call__(self, in0: torch.Tensor, in1: torch.Tensor, normalize: bool = False) -> torch.Tensor:
            assert normalize, "images are given in [0, 1]"
            assert in0.shape == in1.shape
            assert in0.shape[:2] == (1, 3)
            assert float(in0.min()) >= 0
            assert float(in0.max()) <= 1
            return (in0 - in1).abs().mean().reshape(1, 1, 1, 1)

    package = ModuleType("lpips")
    package.LPIPS = LPIPS  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", package)
    return package


@pytest.fixture
def pyiqa_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Package pyiqa 0.1.16 as far as it is called: list_models(metric_mode=), create_metric(name, device=)."""

    class Metric:
        def __init__(self, name: str, device: str | None) -> None:
            self.lower_better, self.device = name in ("niqe", "pi"), device
            self.score_range = {"niqe": "~0, ~100", "pi": "~0, ~"}.get(name, "0, 1")

        def __call__(self, target: torch.Tensor) -> torch.Tensor:
            assert target.ndim == 4
            assert target.dtype == torch.float32
            assert float(target.max()) <= 1
            if target.shape[-1] < 40:
                raise AssertionError("image too small")
            return target.mean().reshape(1, 1)

    package: Any = ModuleType("pyiqa")
    found = [*KNOWN_RIVALS.values(), "topiq_nr", "pi", "fid", "sfid", "fid_dinov2", "inception_score", "clipscore"]
    package.list_models = lambda metric_mode: found if metric_mode == "NR" else []
    package.__version__ = "0.1.16"
    package.create_metric = lambda name, device=None: Metric(name, device)
    monkeypatch.setitem(sys.modules, "pyiqa", package)
    return package


@pytest.mark.usefixtures("lpips_package")
def test_lpips_is_asked_with_images_in_0_to_1(photo: RgbImage) -> None:
    other = 255 - photo
    expected = np.abs(photo.astype(np.float64) - other).mean() / 255
    assert Lpips()(photo, other) == pytest.approx(expected, abs=1e-6)
    assert Lpips()(photo, photo) == 0
    with pytest.raises(ImageError, match="images of one size"):
        Lpips()(photo, photo[1:])


@pytest.mark.usefixtures("lpips_package")
def test_the_method_lpips_takes_its_weights_from_the_pixels(photo: RgbImage) -> None:
    explanation = Scorer(backend=FakeBackend(), method="lpips").explain(photo)
    similarity = np.array(explanation.plan.similarity)
    np.testing.assert_allclose(explanation.score.weight, np.exp(similarity) / np.exp(similarity).sum(), rtol=1e-12)
    assert explanation.score.same.shape == (0,)


def test_without_the_package_lpips_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingPackageError, match=r'pip install "qdebias\[rivals\]"'):
        Lpips().check()


def test_a_torchvision_of_another_torch_is_told_from_an_absent_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("lpips", "pyiqa"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for use in (Lpips().check, lambda: load_rival("NIQE")):
        with pytest.raises(MissingPackageError, match=r"does not fit the installed torch \(operator torchvision::nms"):
            use()


def test_without_its_weights_lpips_says_where_to_put_them(
    lpips_package: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(**_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(lpips_package, "LPIPS", no_network)
    with pytest.raises(MissingPackageError, match=r"weights of LPIPS \(alex\) cannot be loaded \(no route to host\)"):
        Lpips().check()


@pytest.mark.usefixtures("pyiqa_package")
def test_rivals_are_higher_for_better_images(photo: RgbImage) -> None:
    mean = photo.mean() / 255
    assert load_rival("BRISQUE")(photo) == pytest.approx(mean, abs=1e-6)
    assert load_rival("NIQE").lower_better
    assert load_rival("NIQE")(photo) == pytest.approx(-mean, abs=1e-6)
    assert load_rival("topiq_nr")(photo) == pytest.approx(mean, abs=1e-6)


@pytest.mark.usefixtures("pyiqa_package")
def test_an_image_that_a_rival_cannot_take_is_an_error_of_that_image(photo: RgbImage) -> None:
    with pytest.raises(ImageError, match="MUSIQ fails on an image of 39 x 72: image too small"):
        load_rival("MUSIQ")(photo[:, :39])


@pytest.mark.usefixtures("pyiqa_package")
def test_a_rival_that_gives_no_number_is_an_error(photo: RgbImage, pyiqa_package: Any) -> None:
    made = pyiqa_package.create_metric("musiq")
    pyiqa_package.create_metric = lambda *_, **__: type(
        "Broken", (), {"lower_better": made.lower_better, "__call__": lambda *_: torch.tensor([[float("nan")]])}
    )()
    with pytest.raises(ImageError, match="gives no number"):
        load_rival("MUSIQ")(photo)


@pytest.mark.usefixtures("pyiqa_package")
def test_an_unknown_rival_lists_the_known_ones() -> None:
    with pytest.raises(
        SettingError, match=r"no metric 'lpips' that .*; there are BRISQUE, NIQE, .* and in pyiqa brisque"
    ):
        load_rival("lpips")


@pytest.mark.usefixtures("pyiqa_package")
@pytest.mark.parametrize("name", ["fid", "sfid", "fid_dinov2", "inception_score", "clipscore"])
def test_metrics_of_sets_and_captions_are_not_offered(name: str) -> None:
    with pytest.raises(SettingError, match="scores an image alone") as caught:
        load_rival(name)
    assert f", {name}" not in str(caught.value)


@pytest.mark.usefixtures("pyiqa_package")
@pytest.mark.parametrize(
    ("name", "odds"),
    [("topiq_nr", lambda x: 8 * x - 4), ("niqe", lambda x: 4 - 0.08 * x), ("pi", lambda x: 4 - 0.8 * x)],
)
def test_a_metric_of_pyiqa_is_a_model(photo: RgbImage, name: str, odds: Callable[[float], float]) -> None:
    backend = load_backend(f"pyiqa:{name}")
    assert backend.fingerprint.identity == {"backend": "baseline", "model": f"pyiqa:{name}", "pyiqa": "0.1.16"}
    score = Scorer(backend=backend, method="vanilla").score(photo)
    assert score.log_odds == pytest.approx(odds(photo.mean() / 255), abs=1e-5)
    too_small = Scorer(backend=backend, method="vanilla").score_many([photo, photo[:, :39]], on_error="return")
    assert [type(one) for one in too_small] == [Score, Failure]


def test_an_absent_torchvision_is_named_as_what_pyiqa_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyiqa.py").write_text("import torchvision")
    monkeypatch.delitem(sys.modules, "pyiqa", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingPackageError, match=r"pyiqa needs torchvision, which is absent; .*pip install torch torch"
    ):
        load_backend("pyiqa:brisque")


def test_weights_that_cannot_be_downloaded_are_named(pyiqa_package: Any) -> None:
    def no_network(name: str, device: str | None = None) -> None:
        raise OSError(f"{name}: no route to host ({device})")

    pyiqa_package.create_metric = no_network
    with pytest.raises(MissingPackageError, match="TReS: pyiqa cannot make it"):
        load_rival("TReS")


def test_without_pyiqa_its_licence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MissingPackageError, match=r"pip install pyiqa \(its licence, PolyForm Noncommercial"):
        load_rival("BRISQUE")
