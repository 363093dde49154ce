"""All cases."""

from collections.abc import Iterator
from itertools import chain

from corpus.case import Case
from corpus.films import cut_film_cases, film_cases
from corpus.formats import format_cases, misnamed_cases
from corpus.headers import foreign_cases, glued_cases, inflating_cases, size_cases
from corpus.metadata import chunk_cases, exif_cases, profile_cases
from corpus.names import name_cases, path_cases
from corpus.rare import rare_cases
from corpus.truncated import truncated_cases


def all_cases() -> Iterator[Case]:
    """Yield every case, always the same in the same order."""
    return chain(
        format_cases(),
        rare_cases(),
        film_cases(),
        misnamed_cases(),
        truncated_cases(),
        cut_film_cases(),
        size_cases(),
        inflating_cases(),
        foreign_cases(),
        glued_cases(),
        exif_cases(),
        profile_cases(),
        chunk_cases(),
        name_cases(),
        path_cases(),
    )
