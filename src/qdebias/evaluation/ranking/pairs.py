"""Which pairs of images are compared: few for each image, and every image connected with every other."""

import hashlib
from collections.abc import Sequence
from itertools import combinations, pairwise

from qdebias.errors import SettingError


def rings(images: Sequence[str], *, opponents: int, seed: int) -> list[tuple[int, int]]:
    """Return pairs of places in a list of images.

    The images stand in a ring, in an order that a hash of seed and image decides, and each is compared with its two
    neighbours; then in another ring, and so on. One ring connects all images, so that strengths of all follow from the
    pairs. As nothing but the hash decides an image's place, an image that is added or taken away changes only the pairs
    beside it: what was answered about the others serves again. Where all pairs are few enough, all of them are taken.

    Args:
        images: What tells them apart, such as their digests; all different.
        opponents: With how many others each is compared at most, rounded up to an even number; a few less where two
            rings agree.
        seed: Of the hash.

    Returns:
        Each pair once, ring by ring in the order of the ring, so that two pairs one after the other share an image.

    Raises:
        SettingError: There are no opponents.
    """
    if opponents < 1:
        raise SettingError(f"each image needs at least one opponent, got {opponents}")
    count = len(images)
    if count - 1 <= 2 * _ring_count(opponents):
        return list(combinations(range(count), 2))
    found: dict[frozenset[int], tuple[int, int]] = {}
    for ring in range(_ring_count(opponents)):
        order = sorted(range(count), key=lambda place: _hash(seed, ring, images[place]))
        for pair in pairwise([*order, order[0]]):
            found.setdefault(frozenset(pair), pair)
    return list(found.values())


def _ring_count(opponents: int) -> int:
    return -(-opponents // 2)


def _hash(seed: int, ring: int, image: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{ring}\0{image}".encode(), digest_size=16).digest()
