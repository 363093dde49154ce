"""Charts as inline SVG: a few shapes, coloured by the page, so that they follow its dark or light mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from qdebias.equations import FloatArray

MOST_POINTS = 2000  # points of a scatter plot that are drawn; of more, an even selection

Span = tuple[float, float]
Measured = tuple[float, float | None, float | None]  # a number and the ends of its interval, None where it has none

STYLE = (
    ".qd svg{max-width:520px}.qd text{font:12px sans-serif;fill:currentColor}.qd .grid{stroke:#8885}"
    ".qd .s0{fill:#4477aa;fill-opacity:.6}.qd .curve{fill:none;stroke:#ee6677;stroke-width:2}"
)
"""Colours of a chart in an element of class `qd`, outside of the page of a report, which has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The area of a chart, in units of the SVG."""

    across: Span  # what its left and right ends stand for
    up: Span  # what its lower and upper ends stand for
    height: int = 330  # of the whole chart
    left: int = 52  # space for the names at the left
    width: int = 560  # of the whole chart
    integers: bool = False  # whether the numbers at the left are integers

    def x(self, value: float) -> float:
        """Return the horizontal position of a value."""
        low, high = self.across
        return round(self.left + (value - low) / (high - low) * (self.width - self.left - 12), 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        low, high = self.up
        return round(self.height - 42 - (value - low) / (high - low) * (self.height - 54), 1)

    def start(self, title: str, x_label: str, y_label: str = "") -> Element:
        """Return an SVG with axes to draw into; screen readers read out `title`."""
        svg = Element("svg", {"viewBox": f"0 0 {self.width} {self.height}", "role": "img", "aria-label": title})
        for tick in _ticks(self.across):
            self.line(svg, (tick, self.up[0]), (tick, self.up[1]), "grid")
            _text(svg, self.x(tick), self.height - 24, f"{tick:g}", "middle")
        for tick in _ticks(self.up, integers=self.integers) if y_label else ():
            self.line(svg, (self.across[0], tick), (self.across[1], tick), "grid")
            _text(svg, self.left - 6, self.y(tick) + 4, f"{tick:,g}", "end")
        _text(svg, self.x(sum(self.across) / 2), self.height - 6, x_label, "middle")
        if y_label:
            middle = self.y(sum(self.up) / 2)
            _text(svg, 14, middle, y_label, "middle").set("transform", f"rotate(-90 14 {middle})")
        return svg

    def line(self, svg: Element, start: Span, end: Span, kind: str, *, lower: float = 0) -> None:
        """Draw a line between two points of the data, moved down by some units of the SVG."""
        (x1, y1), (x2, y2) = ((self.x(across), self.y(up) + lower) for across, up in (start, end))
        _add(svg, "line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def curve(self, svg: Element, x: FloatArray, y: FloatArray) -> None:
        """Draw a line through points, those above or below the chart left out."""
        inside = [f"{self.x(a)},{self.y(b)}" for a, b in zip(x, y, strict=True) if self.up[0] <= b <= self.up[1]]
        _add(svg, "polyline", "curve", points=" ".join(inside))


def histogram(columns: Sequence[FloatArray], x_label: str, bins: int = 25) -> Markup:
    """Return how often scores between 0 and 1 occur, one colour a column."""
    edges = np.linspace(0, 1, bins + 1)
    counts = [np.histogram(column, edges)[0] for column in columns]
    plot = Plot(across=(0, 1), up=(0, 1.05 * float(max(map(np.max, counts)))), integers=True)
    svg = plot.start("histogram of scores", x_label, "images")
    width = (plot.x(edges[1]) - plot.x(0)) / len(columns)
    for number, column in enumerate(counts):
        for edge, count in zip(edges, column, strict=False):
            y = plot.y(float(count))
            _bar(svg, plot.x(edge) + number * width + 0.5, y, width - 1, plot.y(0) - y, f"s{number}")
    return _finished(svg)


def scatter(
    x: FloatArray,
    y: FloatArray,
    x_label: str,
    y_label: str,
    *,
    curve: tuple[FloatArray, FloatArray] | None = None,
    same_scale: bool = False,
) -> Markup:
    """Return points, with a curve through them or with both axes on one scale and a line where they are equal."""
    both = _span(np.concatenate([x, y]))
    plot = Plot(across=both, up=both) if same_scale else Plot(across=_span(x), up=_span(y))
    svg = plot.start(f"{y_label} against {x_label}", x_label, y_label)
    if same_scale:
        plot.line(svg, (both[0], both[0]), (both[1], both[1]), "equal")
    for index in np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int)):
        _add(svg, "circle", "s0", cx=plot.x(x[index]), cy=plot.y(y[index]), r=3)
    if curve is not None:
        plot.curve(svg, *curve)
    return _finished(svg)


def calibration(bins: Sequence[tuple[float, float, float]], x_label: str, y_label: str) -> Markup:
    """Return the mean human score, with two standard errors, of bins of images: mean score, mean human score, error."""
    x, y, error = np.array(bins).T
    plot = Plot(across=_span(x), up=_span(np.concatenate([y - 2 * error, y + 2 * error])))
    svg = plot.start(f"{y_label} against {x_label}", x_label, y_label)
    plot.curve(svg, x, y)
    for a, b, half in zip(x, y, 2 * error, strict=True):
        plot.line(svg, (a, b - half), (a, b + half), "whisker")
        _add(svg, "circle", "s0", cx=plot.x(a), cy=plot.y(b), r=4.5)
    return _finished(svg)


def offset_bars(offsets: Sequence[tuple[str, int, Measured, Measured]], x_label: str) -> Markup:
    """Return two bars with intervals for each content: its name, its images, its offset before and after debiasing."""
    ends = [end for one in offsets for number in one[2:] for end in number if end is not None]
    reach = 1.05 * max(map(abs, ends), default=1.0) or 1.0
    plot = Plot(across=(-reach, reach), up=(0, len(offsets)), height=64 + 30 * len(offsets), left=190)
    svg = plot.start("offset of each content", x_label)
    for row, (content, count, before, after) in enumerate(offsets):
        up = len(offsets) - row
        name = content if len(content) <= 18 else content[:17] + "…"
        _text(svg, plot.left - 8, plot.y(up) + 18, f"{name} ({count})", "end")
        for (value, low, high), lower, colour in ((before, 4, "s1"), (after, 15, "s0")):
            x, zero = plot.x(value), plot.x(0)
            _bar(svg, min(x, zero), plot.y(up) + lower, abs(x - zero), 10, colour)
            if low is not None and high is not None:
                plot.line(svg, (low, up), (high, up), "whisker", lower=lower + 5)
    plot.line(svg, (0, 0), (0, len(offsets)), "axis")
    return _finished(svg)


def _span(values: FloatArray) -> Span:
    low, high = float(np.min(values)), float(np.max(values))
    space = 0.04 * (high - low) or 0.5
    return low - space, high + space


def _ticks(span: Span, *, integers: bool = False) -> list[float]:
    ticks = MaxNLocator(6, integer=integers).tick_values(*span)
    return [float(tick) for tick in ticks if span[0] <= tick <= span[1]]


def _add(svg: Element, tag: str, kind: str, **attributes: object) -> None:
    SubElement(svg, tag, {**{name: str(value) for name, value in attributes.items()}, "class": kind})


def _bar(svg: Element, x: float, y: float, width: float, height: float, kind: str) -> None:
    _add(svg, "rect", kind, x=f"{x:.1f}", y=f"{y:.1f}", width=f"{width:.1f}", height=f"{height:.1f}")


def _text(svg: Element, x: float, y: float, text: str, anchor: str) -> Element:
    made = SubElement(svg, "text", {"x": str(x), "y": str(y), "text-anchor": anchor})
    made.text = text
    return made


def _finished(svg: Element) -> Markup:
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704 (ElementTree has escaped what was put in)
