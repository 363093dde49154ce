"""A folder with everything that the commands of the documentation name: few and small photographs, tables, shards."""

import csv
import re
import tarfile
from pathlib import Path

import av
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

from blocks import ROOT

EXAMPLES = ROOT / "examples" / "photos"
SIZE = (96, 72)


def make_world(folder: Path) -> None:
    """Fill a folder."""
    small = {path.name: _shrunk(path) for path in sorted(EXAMPLES.glob("*.jpg"))}
    for name, image in small.items():
        _save(image, folder / "examples" / "photos" / name)
    for name in list(small)[:2]:
        _save(small[name], folder / "photos" / name)
    _save(small["fig.jpg"], folder / "photos" / "more" / "fig.png")
    for name, image in zip(("photo.jpg", "a.jpg", "b.jpg", "b.png"), small.values(), strict=False):
        _save(image, folder / name)
    for name in ("clip.mp4", "clips/a.mp4"):
        _film(list(small.values()), folder / name)
    _tables(folder)
    _labels(folder, list(small.values()))
    methods = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    (folder / "mine.toml").write_text(re.findall(r"```toml\n(.*?)```", methods, re.DOTALL)[0])


def _shrunk(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB").resize(SIZE)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _film(images: list[Image.Image], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = SIZE
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def _tables(folder: Path) -> None:
    names = sorted(str(path.relative_to(folder)) for path in (folder / "photos").rglob("*.*"))
    (folder / "list.txt").write_text("\n".join(names[:2]))
    pq.write_table(pa.table({"path": names[2:]}), folder / "data.parquet")
    pq.write_table(pa.table({"file": names[:1]}), folder / "images.parquet")
    (folder / "meta.csv").write_text(f"file\n{names[1]}\n")
    pq.write_table(pa.table({"path": names, "score": [0.1, 0.2, 0.3]}), folder / "scores.parquet")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "0.tar", "w") as shard:
        shard.add(folder / "a.jpg", "a.jpg")
    datasets.Dataset.from_dict({"image": [(folder / "a.jpg").read_bytes()]}).save_to_disk(folder / "saved_dataset")


def _labels(folder: Path, images: list[Image.Image]) -> None:
    """Write images that are more and more blurred, labels that say so, and what two other programs made of them."""
    rows = []
    for number in range(12):
        name, level = f"mine/{number:02}.png", number % 4
        _save(images[number // 4].filter(ImageFilter.GaussianBlur(3 - level)), folder / name)
        rows.append((name, level + number / 100))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("img_path", "gt_score"), *rows])
    scores = {"path": [name for name, _ in rows], "score": [(number * 7 % 12) / 12 for number in range(12)]}
    for name in ("mine.csv", "theirs.csv"):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("path", "score"), *zip(*scores.values(), strict=True)])
    pq.write_table(pa.table(scores), folder / "theirs.parquet")
