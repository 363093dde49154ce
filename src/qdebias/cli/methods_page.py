"""Every method and part as a page of Markdown: the catalogue of docs/methods.md."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from qdebias.degrade import DEGRADATIONS
from qdebias.methods import presets
from qdebias.methods.cost import cost_of
from qdebias.methods.method import Method
from qdebias.methods.outline import outline
from qdebias.methods.parts import CONDITIONS, NUMBERED, PARTS, Part
from qdebias.prompts import Question, TopQuestion

STARTS = ("vanilla", "paper", "query-first", "pristine")
"""The methods whose questions are printed under every readout; those about aspects need the first two."""

LIKELIEST = "topk100"


def every_part() -> Iterator[tuple[str, Part]]:
    """Yield every part with how it is written."""
    yield from PARTS.items()
    yield from ((f"{prefix}CONDITION", part) for prefix, part in CONDITIONS.items())
    yield from ((f"{prefix}NUMBER", part) for prefix, part in NUMBERED.items())


def counted(method: Method) -> tuple[str, str]:
    """Return the forwards and encodings that one image costs, in print."""
    cost = cost_of(method)
    return ("?", "?") if cost is None else (str(cost.forwards), str(cost.encodings))


def methods_page() -> str:
    """Return the page, without a heading of its own."""
    sections = (
        ("Presets", _table(("method", "forwards", "encodings", "what it is", "source"), _presets())),
        ("Parts", _table(("part", "decides", "what it does", "source"), _parts())),
        ("Conditions", _table(("condition", "settings"), ((f"`{n}`", f"`{one}`") for n, one in DEGRADATIONS.items()))),
        ("Questions of the presets", _questions(presets.RECIPES, _all_asked_by)),
        ("Questions under each readout", _questions(_combined(STARTS, "readout"), _asked_by)),
        ("Questions about each aspect", _questions(_combined(STARTS[:2], "aspect"), _asked_by)),
    )
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections)


def _presets() -> Iterator[Sequence[str]]:
    for recipe in presets.RECIPES.values():
        yield (f"`{recipe.name}`", *counted(recipe.method), recipe.summary, recipe.source)


def _parts() -> Iterator[Sequence[str]]:
    for word, part in every_part():
        yield (f"`{word}`", part.kind, part.summary, part.source)


def _combined(starts: Iterable[str], kind: str) -> Iterator[str]:
    """Yield each start with each part of a kind that changes the question."""
    parts = [word for word, part in PARTS.items() if part.kind == kind and word != "goodpoor"]
    if kind == NUMBERED["topk"].kind:
        parts.append(LIKELIEST)
    yield from (f"{start}+{part}" for start in starts for part in parts)


def _questions(methods: Iterable[str], asked_by: Callable[[Method], tuple[Question, ...]]) -> str:
    """Return each set of questions once, under all methods that ask it."""
    asked: dict[tuple[Question, ...], list[str]] = {}
    for text in methods:
        asked.setdefault(asked_by(presets.get(text).method), []).append(text)
    return "\n".join(line for questions, names in asked.items() for line in _listed(names, questions))


def _listed(names: Sequence[str], questions: Sequence[Question]) -> Iterator[str]:
    yield f"- {', '.join(f'`{name}`' for name in names)}"
    yield from (f"  - {_in_full(question)}" for question in questions)


def _in_full(question: Question) -> str:
    said = f"“{question.text}” “{question.answer_prefix}[…]”"
    words = [f"“{word}” {value:g}" for word, value in zip(question.options, question.values, strict=True)]
    if isinstance(question, TopQuestion):
        return f"{said}, the {question.top} likeliest words; poles {', '.join(words)}"
    return f"{said} {', '.join(words)}"


def _all_asked_by(method: Method) -> tuple[Question, ...]:
    """Return every question of a method: about quality, then about the same object where it asks that."""
    outlined = outline(method)
    return () if outlined is None else tuple(dict.fromkeys(one for row in outlined.questions for one in row))


def _asked_by(method: Method) -> tuple[Question, ...]:
    """Return the questions of a method about quality."""
    return tuple(question for question in _all_asked_by(method) if question != presets.SAME_OBJECT)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
