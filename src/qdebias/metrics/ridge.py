"""Ridge regression for many more features than images, its strength chosen by cross-validation.

One eigendecomposition of the smaller Gram matrix serves every strength, where a search with scikit-learn's `Ridge`,
whose predictions are the same, solves the system again for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray

STRENGTHS: FloatArray = np.logspace(-3, 4, 22)
"""Penalties of the squared length of the weights that are tried, for features of unit length in each block."""

CLIP = 4.0  # how many standard deviations a feature may lie from its mean; beyond, it counts as there

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """A number that is linear in standardised features; a feature that never varies has the weight 0."""

    mean: FloatArray  # (d,) means of the features
    scale: FloatArray  # (d,) their standard deviations
    weight: FloatArray  # (d,)
    offset: float

    def __str__(self) -> str:
        return f"linear in {len(self.weight):,} standardised features"

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return the number for features (..., d)."""
        standard = np.clip((features - self.mean) / self.scale, -CLIP, CLIP)
        return np.asarray(standard @ self.weight + self.offset, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """How a `Linear` is learned.

    Blocks of features are penalised so that each counts the same, however many features it has. The first `free`
    features are not penalised: however strong the ridge, what is learned is at least the best line through these.
    """

    blocks: tuple[int, ...]  # how many features each has
    free: int = 0
    folds: int = 5  # in how many parts the images are left out, one after the other, to choose the strength
    seed: int = 0  # of the division into parts

    def learn(self, features: FloatArray, target: FloatArray, groups: npt.NDArray[np.str_]) -> Linear:
        """Return what predicts a target on images that were left out about as well as can be, by the square error.

        The strongest ridge is taken whose mean square error exceeds the least by no more than one standard error of
        the difference, image by image (the rule of one standard error; Breiman et al., 1984): with few labels the
        least error is largely chance. `features` are (N, d); images of one of the (N,) groups are left out together.
        """
        error = np.empty((len(STRENGTHS), len(target)))
        for kept, out in folds_of(groups, self.folds, self.seed):
            paths = self._every_strength(features[kept], target[kept])
            error[:, out] = [(one(features[out]) - target[out]) ** 2 for one in paths]
        excess = error - error[error.mean(axis=1).argmin()]
        close = excess.mean(axis=1) <= excess.std(axis=1) / np.sqrt(len(target))
        return self._every_strength(features, target)[int(np.flatnonzero(close)[-1])]

    def left_out(self, features: FloatArray, target: FloatArray, groups: npt.NDArray[np.str_]) -> FloatArray:
        """Return (N,) predictions, each learned, strength included, without the image and its group."""
        predicted = np.empty(len(target))
        for kept, out in folds_of(groups, self.folds, self.seed):
            predicted[out] = self.learn(features[kept], target[kept], groups[kept])(features[out])
        return predicted

    def _every_strength(self, features: FloatArray, target: FloatArray) -> list[Linear]:
        mean, scale = features.mean(axis=0), features.std(axis=0)
        varies = scale > 1e-9 * (1 + np.abs(mean))
        scale = np.where(varies, scale, 1.0)
        block = np.sqrt(np.repeat(self.blocks, self.blocks).astype(np.float64))
        standard = np.clip((features - mean) / scale, -CLIP, CLIP) * varies / block
        centre, level = standard.mean(axis=0), float(target.mean())
        weights = self._weights(standard - centre, target - level)
        return [
            Linear(mean=mean, scale=scale, weight=weight * varies / block, offset=level - float(centre @ weight))
            for weight in weights
        ]

    def _weights(self, features: FloatArray, target: FloatArray) -> FloatArray:
        """Return (strengths, d) weights for (N, d) features and an (N,) target of mean 0.

        What the free features explain is taken out of the others and of the target; the penalised weights follow from
        what is left, and the free ones from what these leave (Frisch, Waugh and Lovell).
        """
        first, rest = features[:, : self.free], features[:, self.free :]
        onto = np.linalg.pinv(first)
        left, wanted = rest - first @ (onto @ rest), target - first @ (onto @ target)
        few = len(left) <= left.shape[1]
        values, vectors = np.linalg.eigh(left @ left.T if few else left.T @ left)
        seen = vectors.T @ (wanted if few else left.T @ wanted)
        solved = vectors @ (seen[:, None] / (np.maximum(values, 0)[:, None] + STRENGTHS))
        penalised = left.T @ solved if few else solved
        return np.asarray(np.vstack([onto @ (target[:, None] - rest @ penalised), penalised]).T)


def folds_of(groups: npt.NDArray[np.str_], count: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield which of (N,) images are kept and which left out, `count` times, one group of images never divided."""
    names, members = np.unique(groups, return_inverse=True)
    for part in np.array_split(np.random.default_rng(seed).permutation(len(names)), count):
        out = np.isin(members, part)
        yield np.flatnonzero(~out), np.flatnonzero(out)
