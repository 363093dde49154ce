"""Where packages of the field do what one would not expect on valid input, ours does what one would."""

import io
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import qdebias
from contract import encode, pair
from qdebias.backends.hf.loading import prompt_lengths
from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.strengths import bradley_terry
from qdebias.image import RgbImage, load_image
from qdebias.metrics.measures import Columns, correlate_within
from qdebias.prompts import Request
from test_inputs_containers import png, score_of, scores, write_shard
from tiny_models import checkpoint, load

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def test_members_of_a_shard_with_dots_in_their_names_stay_apart(tmp_path: Path) -> None:
    """The package webdataset takes what is before the first dot as the sample, and makes one of all of these."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "AVIF")
    members = {"sd1.5_cat.png": png(1), "sd1.5_dog.png": png(2), "sd2.1.final.png": png(3), "a.avif": file.getvalue()}
    write_shard(tmp_path / "x.tar", list(members.items()))
    want = {f"x.tar!{name}": score_of(data) for name, data in members.items()}
    assert scores("x.tar", cwd=tmp_path) == want


def test_table_of_datasets_that_holds_paths_alone_is_read_beside_it_or_says_what_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Dataset.to_parquet` writes the paths of pictures, and not the pictures."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        Path(f"{number}.png").write_bytes(png(number))
    held = datasets.Dataset.from_dict({"image": ["1.png", "2.png"]}).cast_column("image", datasets.Image(decode=False))
    held.to_parquet("rows.parquet")
    Path("2.png").unlink()
    first, second = scores("rows.parquet", cwd=tmp_path).values()
    assert first == score_of(png(1))
    assert "no such file" in str(second)


def test_picture_that_its_camera_laid_on_its_side_is_shown_upright_once_in_every_format(tmp_path: Path) -> None:
    """OpenCV does not read the TIFF; Pillow turns the TIFF by itself, and other formats only when asked."""
    exif = Image.Exif()
    exif[274] = 6
    for end in ("jpg", "png", "webp", "avif", "tif"):
        Image.fromarray(PIXELS).save(tmp_path / f"photo.{end}", exif=exif.tobytes(), quality=100)
        upright = load_image(tmp_path / f"photo.{end}")
        assert upright.shape == (64, 32, 3)
        same = np.abs(upright.astype(int) - np.rot90(PIXELS, -1)).mean()
        turned_twice = np.abs(upright.astype(int) - np.rot90(PIXELS, 1)).mean()
        assert same < turned_twice / 2


def columns(predicted: FloatArray, mos: FloatArray) -> Columns:
    return Columns(predicted=predicted, mos=mos, ranked_by=predicted)


def test_flat_picture_and_constant_scores_give_no_number_that_means_nothing() -> None:
    """Of a constant 0.1 others make 0, 3e-17, -inf or 1, depending on the package and on how often it is repeated."""
    mos = np.arange(20.0)
    for count in (5, 7, 20):
        constant = columns(np.full(count, 0.1), mos[:count])
        with pytest.raises(SettingError, match=f"all {count} values of predicted are 0.1"):
            correlate_within([constant])
    with pytest.raises(SettingError, match="not finite"):
        correlate_within([columns(np.array([1.0, np.nan, 3.0]), mos[:3])])
    assert 0 <= qdebias.score([np.full((40, 40, 3), 128, np.uint8)], model="nano")[0].value <= 1


def test_order_of_a_ranking_is_that_of_the_wins() -> None:
    """evalica's `eigen` puts the loser first, and its Bradley-Terry ties all where one item never loses."""
    pairs = np.array(list(combinations(range(5), 2)))
    assert np.argsort(-bradley_terry(5, pairs, np.full(len(pairs), np.inf))[0]).tolist() == [0, 1, 2, 3, 4]


def alone(image: RgbImage) -> Request:
    return replace(pair(1, 2), images=(image,))


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
@pytest.mark.parametrize(("height", "width"), [(40, 57), (97, 31), (33, 90), (64, 65)])
def test_model_and_processor_cut_off_the_same_columns_of_odd_gaps(family: str, height: int, width: int) -> None:
    """Of an odd number of padded columns both keep one more than half; a count by the formula would be another."""
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    backend = load(family)
    (encodings,) = encode(backend, [alone(image)])
    (lengths,) = prompt_lengths(f"hf:{checkpoint(family)}", [alone(image)])
    assert [length.tokens for length in lengths] == [len(encoding.ids) for encoding in encodings]
    (answers,) = backend.option_logits([alone(image)])  # the model refuses features that do not fit the tokens
    assert all(np.isfinite(answer).all() for answer in answers)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_answers_do_not_depend_on_the_conversation_before(family: str) -> None:
    """These models keep where the text of the last conversation stood, which another picture moves."""
    small, large = (np.random.default_rng(side).integers(0, 256, (side, 2 * side, 3), np.uint8) for side in (56, 112))
    backend = load(family)
    before = backend.option_logits([alone(small)])
    backend.option_logits([alone(large)])
    for first, again in zip(before[0], backend.option_logits([alone(small)])[0], strict=True):
        np.testing.assert_array_equal(first, again)
