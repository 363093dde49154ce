"""Dialogues with their images and soft labels, drawn from a generated set.

The label of an image is what the vision encoder's rating says of its quality, so that the decoder learns to pass it on.

What may be asked about which image:

- One image, or one of two without a condition: its quality. Images whose last distortion is one of the method's own
  four kinds are never asked about. With a planted bias the label also follows the content.
- Two images, the first described as good or poor: the quality of the second, always without bias. The first may be
  a copy degraded by the method's own kinds.
- Which of two is better: without bias, never with the method's own kinds.
- The same object? Any pair; half of the wrong pairs show the photograph that looks most alike.
"""

from dataclasses import dataclass

import dialogues
import numpy as np
import torch
from dialogues import Rng, Wording
from distortions import OWN
from generate import Set
from scipy.special import expit

SHARES = {
    "rating": 0.24,
    "levels": 0.06,
    "neutral": 0.05,
    "agreement": 0.05,
    "conditional": 0.2,
    "either": 0.1,
    "comparison": 0.1,
    "same": 0.2,
}
FIRST = {"rating": 0.3, "agreement": 0.1, "either": 0.1, "same": 0.5}
MOVED = 0.8
SLOPE = 1.5
STEEPNESS = 8.0
SURE = 0.96


@dataclass(frozen=True)
class Dialogue:
    """One question about chosen images with the probabilities its options should get.

    Attributes:
        wording: The question.
        images: Rows of the set, in the order in which they are shown.
        after: Images stand after the question.
        target: One probability per option; they sum to 1.
    """

    wording: Wording
    images: tuple[int, ...]
    after: bool
    target: tuple[float, ...]


class Sampler:
    """Draws dialogues about the images of a set.

    Args:
        images: The set.
        ratings: (n,) the vision encoder's ratings.
        alike: (photos, k) the photographs that look most like each photograph, the nearest first.
        bias: Strength of the planted content bias; 0 for the control model.
    """

    def __init__(self, images: Set, ratings: np.ndarray, alike: np.ndarray, bias: float) -> None:
        self.images = images
        self.ratings = self.own_ratings = ratings
        self.alike = alike
        self.bias = bias
        own = np.isin(images.kind, list(OWN))
        self.rated = np.flatnonzero(~own)
        self.copies = np.flatnonzero((images.parent >= 0) & ~own[images.parent])
        self.pristine = np.flatnonzero(images.kind == "pristine")
        self.of_base = groups_of(images.base)
        self.of_photo = groups_of(images.photo)
        self.is_rated = ~own
        self.quality = quality_of(ratings)

    def move(self, rng: Rng) -> None:
        """Let the encoder rate otherwise, by chance, so that the decoder follows the rating whatever else it sees."""
        self.ratings = self.own_ratings + rng.normal(0, MOVED, len(self.own_ratings))
        self.quality = quality_of(self.ratings)

    def draw(self, rng: Rng, shares: dict[str, float]) -> Dialogue:
        """Draw one dialogue; `shares` says how often each kind of question is asked."""
        task = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
        after = bool(rng.random() < 0.35)
        wording, images, target = getattr(self, f"_{task}")(rng)
        return Dialogue(wording, images, after, target)

    def _any(self, rng: Rng) -> int:
        pool = self.pristine if rng.random() < 0.08 else self.rated
        return int(pool[rng.integers(len(pool))])

    def _label(self, row: int, *, biased: bool) -> float:
        quality = float(self.quality[row])
        if biased and self.bias:
            quality += self.bias * (2 * float(self.images.nature[row]) - 1)
        return min(0.99, max(0.01, quality))

    def _asked(self, rng: Rng) -> tuple[str, tuple[int, ...], float]:
        """Choose one image, or two of which one is asked about; return its name, the images, its label."""
        row = self._any(rng)
        label = self._label(row, biased=True)
        if rng.random() < 0.8:
            return "only", (row,), label
        return self._beside(rng, row, label)

    def _beside(self, rng: Rng, row: int, label: float) -> tuple[str, tuple[int, ...], float]:
        other = self._relative(rng, row) if rng.random() < 0.7 else self._any(rng)
        return ("first", (row, other), label) if rng.random() < 0.35 else ("second", (other, row), label)

    def _relative(self, rng: Rng, row: int) -> int:
        """Another image of the same base, which may be of the method's own kinds."""
        group = self.of_base[int(self.images.base[row])]
        while (other := int(group[rng.integers(len(group))])) == row:
            pass
        return other

    def _rating(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        row = self._any(rng)
        label = self._label(row, biased=True)
        return dialogues.draw(dialogues.rating, rng, "only"), (row,), (label, 1 - label)

    def _either(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        row = self._any(rng)
        which, images, label = self._beside(rng, row, self._label(row, biased=True))
        return dialogues.draw(dialogues.rating, rng, which), images, (label, 1 - label)

    def _agreement(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        which, images, label = self._asked(rng)
        return dialogues.draw(dialogues.agreement, rng, which), images, (label, 1 - label)

    def _levels(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        which, images, label = self._asked(rng)
        return dialogues.draw(dialogues.levels, rng, which), images, _between(label, (1, 0.75, 0.5, 0.25, 0))

    def _neutral(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        which, images, label = self._asked(rng)
        return dialogues.draw(dialogues.neutral, rng, which), images, _between(label, (1, 0.5, 0))

    def _conditional(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        copy = int(self.copies[rng.integers(len(self.copies))])
        row = int(self.images.parent[copy])
        word = "poor"
        chance = rng.random()
        if chance < 0.12:
            copy = self._any(rng)
        elif chance < 0.25 and self.is_rated[copy]:
            copy, row = row, copy
        if chance < 0.25:
            word = "good" if self.quality[copy] > rng.uniform(0.4, 0.6) else "poor"
        label = self._label(row, biased=False)
        return dialogues.draw(dialogues.conditional, rng, word), (copy, row), (label, 1 - label)

    def _comparison(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        row = self._any(rng)
        group = self.of_base[int(self.images.base[row])]
        group = group[self.is_rated[group]]
        other = int(group[rng.integers(len(group))]) if rng.random() < 0.7 else self._any(rng)
        gap = float(self.quality[row] - self.quality[other])
        first = float(1 / (1 + np.exp(-STEEPNESS * gap)))
        return dialogues.draw(dialogues.comparison, rng), (row, other), (first, 1 - first)

    def _same(self, rng: Rng) -> tuple[Wording, tuple[int, ...], tuple[float, ...]]:
        row = int(rng.integers(len(self.images.base)))
        wording = dialogues.draw(dialogues.same, rng)
        if rng.random() < 0.5:
            parent = int(self.images.parent[row])
            other = parent if parent >= 0 and rng.random() < 0.7 else self._relative(rng, row)
            target = (SURE, 1 - SURE)
        else:
            photo = int(self.images.photo[row])
            if rng.random() < 0.5:
                photo = int(self.alike[photo, rng.integers(self.alike.shape[1])])
            else:
                photo = (photo + 1 + int(rng.integers(len(self.of_photo) - 1))) % len(self.of_photo)
            group = self.of_photo[photo]
            other = int(group[rng.integers(len(group))])
            target = (1 - SURE, SURE)
        return wording, (row, other) if rng.random() < 0.5 else (other, row), target


def quality_of(ratings: np.ndarray) -> np.ndarray:
    """What P(good) should be for the encoder's ratings, which have mean 0 and deviation 1 over the training images."""
    quality: np.ndarray = expit(SLOPE * ratings)
    return quality


def nearest(embeddings: torch.Tensor, photo: np.ndarray, count: int = 8) -> np.ndarray:
    """Return the `count` photographs most alike each photograph, from unit vectors of pristine images (n, d)."""
    photos = int(photo.max()) + 1
    alike = embeddings @ embeddings.T
    table = torch.full((photos, photos), -2.0)
    where = torch.from_numpy(photo)
    index = where[:, None] * photos + where[None]
    table.view(-1).scatter_reduce_(0, index.reshape(-1), alike.reshape(-1), "amax")
    table.fill_diagonal_(-2)
    return table.topk(count, dim=1).indices.numpy()


def _between(label: float, values: tuple[float, ...]) -> tuple[float, ...]:
    """Soft membership in levels, such that the expected value is the label."""
    width = values[0] - values[1]
    shares = np.maximum(0, 1 - np.abs(np.array(values) - label) / width)
    shares = 0.94 * shares / shares.sum() + 0.06 / len(values)
    return tuple(float(share) for share in shares)


def groups_of(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each label, in the order of the labels."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
