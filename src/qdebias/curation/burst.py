"""Photographs of one moment: found by what they show and when they were taken, of each group the best, and a sheet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from qdebias.curation.filter import Top, choose
from qdebias.equations import FloatArray
from qdebias.errors import ImageError, SettingError
from qdebias.evaluation.method_scores import ModelRun
from qdebias.evaluation.ranking import rank, read_digests
from qdebias.image import load_preview
from qdebias.runs.records import GivenScore, Row
from qdebias.system.output import replacing, written

LEAST = 0.72
"""Correlation from which two photographs are of one scene, see docs/curation.md for what was measured."""

_SIDE, _GRID, _BLOCK = 64, 16, 256
_PLAIN = 0.02
"""Standard deviation of the logarithmic contrast below which a picture shows nothing that tells it from others."""

View: TypeAlias = tuple[int, int, int]


def _views() -> list[tuple[View, View]]:
    """Return which parts are compared: all with all, parts with all (one came closer), opposite parts (one turned)."""
    whole = (0, 0, _SIDE)
    pairs = [(whole, whole)]
    for side in (round(_SIDE * share) for share in (0.95, 0.9)):
        starts = [round((_SIDE - side) * step / 2) for step in range(3)]
        cut = [(left, top, side) for left in starts for top in starts]
        pairs += [(part, whole) for part in cut]
        pairs += list(zip(cut[:4], cut[:4:-1], strict=True))
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot(Row):
    """What became of a photograph: kept, rejected or failed, in which group (from 1; None where it cannot be read).

    `value` is its strength within the group, or its score; None where it failed, or is alone in its group.
    """

    group: int | None
    verdict: str
    path: str
    value: float | None = None
    error: str | None = None


def find_groups(paths: Iterable[Path], *, seconds: float, max_pixels: int) -> tuple[list[list[Path]], dict[Path, str]]:
    """Return the photographs in groups, in the order of their first, and why some cannot be read.

    Files are opened one after another, and 64 x 64 grey pixels of each are kept. Two that say when they were taken,
    more than `seconds` apart, are not alike; images of more than `max_pixels` are refused.
    """
    greys: list[npt.NDArray[np.uint8]] = []
    times, found, errors = [], [], {}
    for path in paths:
        try:
            pixels, time = load_preview(path, 2 * _SIDE, max_pixels=max_pixels)
        except ImageError as error:
            errors[path] = str(error)
            continue
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        greys.append(np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8))
        times.append(np.nan if time is None else (time - time.min).total_seconds())
        found.append(path)
    groups: dict[int, list[Path]] = {}
    for path, label in zip(found, _labels(greys, np.array(times), seconds), strict=True):
        groups.setdefault(label, []).append(path)
    return list(groups.values()), errors


def _labels(greys: Sequence[npt.NDArray[np.uint8]], times: FloatArray, seconds: float) -> list[int]:
    """Return a label of each image: the same where images are alike, or are linked by others that are."""
    labels = np.arange(len(greys))
    for view, other_view in _views():
        patterns, others = _patterns(greys, view), _patterns(greys, other_view)
        for start in range(0, len(greys), _BLOCK):
            part = slice(start, start + _BLOCK)
            apart = np.abs(times[part, None] - times) > seconds  # not where a time is NaN
            alike = (patterns[part] @ others.T >= LEAST) & ~apart
            for row in np.flatnonzero(alike.any(axis=1)).tolist():
                if len(joined := np.unique([labels[start + row], *labels[alike[row]]])) > 1:
                    labels[np.isin(labels, joined)] = joined[0]
    return labels.tolist()


def _patterns(greys: Sequence[npt.NDArray[np.uint8]], view: View) -> npt.NDArray[np.float32]:
    """Return unit vectors (N, 256) of local contrast, which neither exposure (by the logarithm) nor blur changes much.

    Zeros where there is hardly any contrast, which are like nothing.
    """
    left, top, side = view
    patterns = np.zeros((len(greys), _GRID * _GRID), dtype=np.float32)
    for row, grey in zip(patterns, greys, strict=True):
        small = cv2.resize(grey[top : top + side, left : left + side], (_GRID, _GRID), interpolation=cv2.INTER_AREA)
        light = np.log(small.astype(np.float32) + 8)
        local = light - cv2.GaussianBlur(light, (0, 0), _GRID / 8)
        local -= local.mean()
        if local.std() >= _PLAIN:
            row[:] = (local / np.linalg.norm(local)).ravel()
    return patterns


def compare_group(paths: Sequence[Path], model: ModelRun) -> list[GivenScore]:
    """Return the strength of each image of a group, by comparisons in both orders; those of equal pixels are one."""
    digests = read_digests(paths, max_pixels=model.max_pixels, max_side=model.max_side)
    readable = {path: digest for path, digest in digests.items() if isinstance(digest, str)}
    failed = {path: str(digest) for path, digest in digests.items() if isinstance(digest, ImageError)}
    found = [GivenScore(path=str(path), score=None, error=error) for path, error in failed.items()]
    if len(set(readable.values())) < 2:
        return found + [GivenScore(path=str(path), score=0.0, error=None) for path in readable]
    try:
        made = rank(
            list(readable),
            backend=model.backend,
            run=model.run,
            seed=model.seed,
            batch=max(1, model.batch // 2),
            max_pixels=model.max_pixels,
            max_side=model.max_side,
        )
    except SettingError as error:  # the model refuses so many of them that no two can be compared
        return found + [GivenScore(path=str(path), score=None, error=str(error)) for path in readable]
    return found + [GivenScore(path=row.path, score=row.strength, error=row.error) for row in made.rows]


def choose_best(groups: Iterable[Sequence[Path]], scores: Iterable[GivenScore], *, keep: int) -> list[Shot]:
    """Return the photographs group by group, the best `keep` of each kept; one that is alone needs no score."""
    of, shots = {one.path: one for one in scores}, []
    for number, group in enumerate(groups, start=1):
        if len(group) == 1:
            shots.append(Shot(group=number, verdict="kept", path=str(group[0])))
            continue
        found = choose([of[str(path)] for path in group], top=Top(count=keep))
        for verdict, images in (("kept", found.kept), ("rejected", found.rejected), ("failed", found.failed)):
            for one in images:
                shots.append(Shot(group=number, verdict=verdict, path=one.path, value=one.score, error=one.error))
    return shots


MOST_ROWS, MOST_COLUMNS = 100, 8
_TILE, _GAP, _LINE = 160, 6, 14
_FRAMES = {"kept": "#1a9850", "rejected": "#bbbbbb", "failed": "#d73027"}


def draw_sheet(shots: Sequence[Shot], file: Path, *, max_pixels: int) -> int:
    """Draw the groups of two and more, the best on the left, in 100 rows at most; return how many were left out."""
    found = [list(group) for _, group in groupby(shots, lambda shot: shot.group)]
    groups = [group for group in found if len(group) > 1 and group[0].group is not None]
    rows, step = groups[:MOST_ROWS], _TILE + 2 * _GAP
    columns = min(MOST_COLUMNS, max(map(len, rows), default=1))
    sheet = Image.new("RGB", (columns * step, max(1, len(rows)) * (step + _LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, group in enumerate(rows):
        top = row * (step + _LINE)
        more = f", {len(group) - columns} more not drawn" if len(group) > columns else ""
        draw.text((_GAP, top), f"group {group[0].group}: {len(group)} photographs{more}", fill="black")
        for column, shot in enumerate(group[:columns]):
            left, upper = column * step, top + _LINE
            draw.rectangle((left, upper, left + step, upper + step), outline=_FRAMES[shot.verdict], width=_GAP - 2)
            try:
                tile = Image.fromarray(load_preview(Path(shot.path), _TILE, max_pixels=max_pixels)[0])
            except ImageError:
                continue  # its row says why
            tile.thumbnail((_TILE, _TILE))
            sheet.paste(tile, (left + (step - tile.width) // 2, upper + (step - tile.height) // 2))
    with written(file), replacing(file) as out:
        sheet.save(out, "PNG")
    return len(groups) - len(rows)
