"""What prompts have in common."""

from collections.abc import Sequence
from itertools import takewhile


def common_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with; at most one less than the shortest has, so that each has an end.

    Args:
        prompts: The ids of one or more.
    """
    columns = zip(*(ids[:-1] for ids in prompts), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
