"""There is less memory than an image or a model takes. (Where the system kills for it, see SIGKILL.)"""

import json
import shutil
import struct
from functools import partial
from pathlib import Path

from PIL import Image

import qdebias.backends.nano
from command import assert_calm
from faults.batch import COUNT, FAKE, Batch, prepare
from faults.cell import Observed, Try
from faults.processes import run

NANO = Path(qdebias.backends.nano.__file__).parent / "checkpoint"

FOR_AN_IMAGE = 256 << 20
"""Bytes that a command is left in the trials with one image that takes more."""

FOR_A_MODEL = 3 << 30
"""Bytes that a command is left in the trials with a model that takes more: enough for torch."""


def short_of_memory(command: Batch) -> Try:
    """A large image among small ones, and a model that does not fit."""
    return partial(_try, command)


def _try(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    huge_checkpoint(root / "huge")
    for trial in range(times):
        done = command.run(root, "hf:huge", memory=FOR_A_MODEL)
        assert_calm(done, 2)
        assert done.stderr == "error: the model does not fit into the memory of cpu; use a smaller model or images\n"
        large = root / "photos" / f"large{trial}.png"
        Image.new("RGB", (7000, 7000), (trial, 0, 0)).save(large)
        with (root / "labels.csv").open("a") as file:
            file.write(f"photos/{large.name},1\n")
        _fails_alone(command, root, large)
    return Observed(
        trials=2 * times,
        words="the image became a row that says so, and was scored once there was memory; the model a one-line error",
    )


def _fails_alone(command: Batch, root: Path, large: Path) -> None:
    done = command.run(root, memory=FOR_AN_IMAGE)
    assert_calm(done, 1)
    rows = {Path(row["path"]).name: row for row in map(json.loads, (root / "rows.jsonl").read_text().splitlines())}
    failed = {name for name, row in rows.items() if row["error"] is not None}
    assert failed == {large.name}, failed
    assert rows[large.name]["score"] is None
    assert "needs more memory than is available" in rows[large.name]["error"], rows[large.name]
    assert len(rows) >= COUNT + 1
    again = run(["retry", "run"], folder=root)
    assert_calm(again, 0)
    assert "1 images tried again, 0 failed" in again.stderr
    assert_calm(command.run(root, FAKE), 0)


def huge_checkpoint(folder: Path) -> None:
    """Write a checkpoint of the embedded model's kind with 8 GB of weights, nearly all of it a hole in the file."""
    shutil.copytree(NANO, folder)
    config = json.loads((folder / "config.json").read_text())
    old, new = config["text_config"]["intermediate_size"], 4_000_000
    config["text_config"]["intermediate_size"] = new
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if ".language_model." in name and ".mlp." in name:
            entry["shape"] = [new if side == old else side for side in entry["shape"]]
        size = {"F32": 4, "F16": 2, "BF16": 2}[entry["dtype"]]
        for side in entry["shape"]:
            size *= side
        entry["data_offsets"], end = [end, end + size], end + size
    data = json.dumps(header).encode()
    with weights.open("wb") as file:
        file.write(struct.pack("<Q", len(data)) + data)
        file.truncate(8 + len(data) + end)
