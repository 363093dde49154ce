"""Charts as inline SVG: a few shapes, coloured by the page, so that they follow its dark or light mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from qdebias.equations import FloatArray
from qdebias.evaluation.bias import Offset

MOST_POINTS = 2000
"""Points of a scatter plot that are drawn; of more, an even selection."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The area of a chart, in units of the SVG.

    Attributes:
        across: What its left and right ends stand for.
        up: What its lower and upper ends stand for.
        height: Of the whole chart.
        left: Space for the names at the left.
        width: Of the whole chart.
        whole: Whether only whole numbers are written at the left.
    """

    across: Span
    up: Span
    height: int = 330
    left: int = 52
    width: int = 560
    whole: bool = False

    def x(self, value: float) -> float:
        """Return the horizontal place of a value."""
        low, high = self.across
        return round(self.left + (value - low) / (high - low) * (self.width - self.left - 12), 1)

    def y(self, value: float) -> float:
        """Return the vertical place of a value."""
        low, high = self.up
        return round(self.height - 42 - (value - low) / (high - low) * (self.height - 54), 1)

    def start(self, title: str, x_label: str, y_label: str = "") -> Element:
        """Return an SVG with axes, to be drawn into; `title` is read to whoever cannot see it."""
        svg = Element("svg", {"viewBox": f"0 0 {self.width} {self.height}", "role": "img", "aria-label": title})
        for tick in _ticks(self.across):
            x = self.x(tick)
            _line(svg, (x, self.y(self.up[0])), (x, self.y(self.up[1])), "grid")
            _text(svg, (x, self.height - 24), f"{tick:g}", "middle")
        for tick in _ticks(self.up, whole=self.whole) if y_label else ():
            y = self.y(tick)
            _line(svg, (self.x(self.across[0]), y), (self.x(self.across[1]), y), "grid")
            _text(svg, (self.left - 6, y + 4), f"{tick:,g}", "end")
        _text(svg, (self.x(sum(self.across) / 2), self.height - 6), x_label, "middle")
        if y_label:
            middle = self.y(sum(self.up) / 2)
            label = _text(svg, (14, middle), y_label, "middle")
            label.set("transform", f"rotate(-90 14 {middle})")
        return svg


def histogram(columns: Sequence[FloatArray], x_label: str, bins: int = 25) -> Markup:
    """Return how often scores between 0 and 1 occur, one colour a column."""
    edges = np.linspace(0, 1, bins + 1)
    counts = [np.histogram(column, edges)[0] for column in columns]
    plot = Plot(across=(0, 1), up=(0, 1.05 * float(max(map(np.max, counts)))), whole=True)
    svg = plot.start("histogram of scores", x_label, "images")
    width = (plot.x(edges[1]) - plot.x(0)) / len(columns)
    for number, column in enumerate(counts):
        for edge, count in zip(edges, column, strict=False):
            x, y = plot.x(edge) + number * width, plot.y(float(count))
            _rect(svg, (x + 0.5, y), (width - 1, plot.y(0) - y), f"s{number}")
    return _done(svg)


def scatter(
    x: FloatArray,
    y: FloatArray,
    x_label: str,
    y_label: str,
    *,
    curve: tuple[FloatArray, FloatArray] | None = None,
    same_scale: bool = False,
) -> Markup:
    """Return points, and a curve through them; both axes with one scale, and a line where they are equal, if wanted."""
    both = _span(np.concatenate([x, y]))
    plot = Plot(across=both, up=both) if same_scale else Plot(across=_span(x), up=_span(y))
    svg = plot.start(f"{y_label} against {x_label}", x_label, y_label)
    if same_scale:
        _line(svg, (plot.x(both[0]), plot.y(both[0])), (plot.x(both[1]), plot.y(both[1])), "equal")
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    for place in shown:
        SubElement(svg, "circle", {"cx": str(plot.x(x[place])), "cy": str(plot.y(y[place])), "r": "3", "class": "s0"})
    if curve is not None:
        inside = [f"{plot.x(a)},{plot.y(b)}" for a, b in zip(*curve, strict=True) if plot.up[0] <= b <= plot.up[1]]
        SubElement(svg, "polyline", {"points": " ".join(inside), "class": "curve"})
    return _done(svg)


def calibration(bins: Sequence[tuple[float, float, float]], x_label: str, y_label: str) -> Markup:
    """Return the mean human score, with its standard error, of images of about equal score.

    Args:
        bins: Mean score, mean human score and its standard error.
        x_label: What the scores are.
        y_label: What the human scores are.
    """
    x, y, error = np.array(bins).T
    plot = Plot(across=_span(x), up=_span(np.concatenate([y - 2 * error, y + 2 * error])))
    svg = plot.start(f"{y_label} against {x_label}", x_label, y_label)
    points = " ".join(f"{plot.x(a)},{plot.y(b)}" for a, b in zip(x, y, strict=True))
    SubElement(svg, "polyline", {"points": points, "class": "curve"})
    for a, b, half in zip(x, y, 2 * error, strict=True):
        _line(svg, (plot.x(a), plot.y(b - half)), (plot.x(a), plot.y(b + half)), "whisker")
        SubElement(svg, "circle", {"cx": str(plot.x(a)), "cy": str(plot.y(b)), "r": "4.5", "class": "s0"})
    return _done(svg)


def offset_bars(offsets: Sequence[Offset], x_label: str) -> Markup:
    """Return two bars for each content: its offset before and after debiasing, with intervals."""
    numbers = [number for one in offsets for number in (one.before, one.after)]
    ends = [end for one in numbers for end in (one.value, one.low, one.high) if end is not None]
    reach = 1.05 * max(map(abs, ends), default=1.0) or 1.0
    plot = Plot(across=(-reach, reach), up=(0, len(offsets)), height=64 + 30 * len(offsets), left=190)
    svg = plot.start("offset of each content", x_label)
    for row, one in enumerate(offsets):
        top = plot.y(len(offsets) - row)
        _text(svg, (plot.left - 8, top + 18), f"{_short(one.content)} ({one.count})", "end")
        for number, (offset, down) in enumerate(((one.before, 4), (one.after, 15))):
            x, zero, y = plot.x(offset.value), plot.x(0), top + down
            _rect(svg, (min(x, zero), y), (abs(x - zero), 10), f"s{1 - number}")
            if offset.low is not None and offset.high is not None:
                _line(svg, (plot.x(offset.low), y + 5), (plot.x(offset.high), y + 5), "whisker")
    _line(svg, (plot.x(0), plot.y(0)), (plot.x(0), plot.y(len(offsets))), "axis")
    return _done(svg)


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _span(values: FloatArray) -> Span:
    low, high = float(np.min(values)), float(np.max(values))
    space = 0.04 * (high - low) or 0.5
    return low - space, high + space


def _ticks(span: Span, *, whole: bool = False) -> list[float]:
    ticks = MaxNLocator(6, integer=whole).tick_values(*span)
    return [float(tick) for tick in ticks if span[0] <= tick <= span[1]]


def _line(svg: Element, start: Span, end: Span, kind: str) -> None:
    places = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
    SubElement(svg, "line", {**{name: str(place) for name, place in places}, "class": kind})


def _rect(svg: Element, corner: Span, size: Span, kind: str) -> None:
    sides = zip(("x", "y", "width", "height"), (*corner, *size), strict=True)
    SubElement(svg, "rect", {**{name: f"{side:.1f}" for name, side in sides}, "class": kind})


def _text(svg: Element, place: Span, text: str, anchor: str) -> Element:
    made = SubElement(svg, "text", {"x": str(place[0]), "y": str(place[1]), "text-anchor": anchor})
    made.text = text
    return made


def _done(svg: Element) -> Markup:
    """Return the chart as text; what was put in is escaped by ElementTree."""
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704
