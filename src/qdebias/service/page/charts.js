// Drawings: the scale with two scores, the histogram, the scatter plot. Each is given the width in pixels that it has, so
// that its words keep their size on every screen.

import { digits, shape } from "./dom.js";

const TICKS = [0, 0.25, 0.5, 0.75, 1];

const observers = new WeakMap();

/** Keep a drawing in a figure, above its caption, drawn anew whenever the width changes. */
export function keepDrawn(figure, draw, ...caption) {
  observers.get(figure)?.disconnect();
  let width = 0;
  const observer = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === width || !contentRect.width) return;
    width = contentRect.width;
    figure.replaceChildren(draw(width), ...caption);
  });
  observers.set(figure, observer);
  observer.observe(figure);
}

/** Vanilla and debiased score on one scale from 0 to 1. */
export function scale(whole, debiased, plain, method) {
  const left = 10, width = whole - 20, rail = 46;
  const at = (value) => left + width * value;
  const free = (tick) => plain === null || Math.abs(at(tick) - at(plain)) > 20; // from the line to the words below
  const ticks = TICKS.filter(free).map((tick) =>
    shape("text", { x: at(tick), y: rail + 27, "text-anchor": "middle" }, String(tick)));
  const label = (value, y, text, kind) => {
    const end = value > 0.75 ? "end" : value < 0.25 ? "start" : "middle";
    return shape("text", { x: at(value), y, "text-anchor": end, class: kind }, text);
  };
  const marks = [shape("circle", { cx: at(debiased), cy: rail, r: 9, class: "debiased" })];
  const labels = [label(debiased, 14, `${method} ${digits(debiased)}`, "strong"),
    shape("line", { x1: at(debiased), x2: at(debiased), y1: 20, y2: rail, class: "stem" })];
  if (plain !== null) {
    marks.push(shape("circle", { cx: at(plain), cy: rail, r: 6, class: "plain" }));
    labels.push(label(plain, rail + 52, `asked plainly ${digits(plain)}`),
      shape("line", { x1: at(plain), x2: at(plain), y1: rail, y2: rail + 40, class: "stem of-plain" }));
  }
  const said = plain === null ? "" : `, asked plainly ${digits(plain)}`;
  return shape("svg", { viewBox: `0 0 ${whole} 104`, role: "img", "aria-label": `Score ${digits(debiased)}${said}, on a scale from 0 to 1` },
    shape("rect", { x: left, y: rail - 4, width, height: 8, rx: 4, class: "rail" }), ...labels, ...ticks, ...marks);
}

/** How many images have which score. */
export function histogram(whole, scores, bins = 20) {
  const counts = new Array(bins).fill(0);
  for (const score of scores) counts[Math.min(bins - 1, Math.floor(score * bins))] += 1;
  const most = Math.max(1, ...counts), width = whole / bins;
  const bars = counts.map((count, place) => {
    const height = (100 * count) / most;
    return shape("rect", { x: place * width + 1, y: 110 - height, width: width - 2, height, rx: 2, class: "debiased" },
      shape("title", {}, `${digits(place / bins, 2)} to ${digits((place + 1) / bins, 2)}: ${count}`));
  });
  const ticks = TICKS.map((tick) =>
    shape("text", { x: whole * tick, y: 130, "text-anchor": tick === 0 ? "start" : tick === 1 ? "end" : "middle" }, String(tick)));
  return shape("svg", { viewBox: `0 0 ${whole} 136`, role: "img", "aria-label": `Histogram of ${scores.length} scores from 0 to 1` },
    shape("line", { x1: 0, x2: whole, y1: 111, y2: 111, class: "axis" }), ...bars, ...ticks);
}

/** Score against human score; points are {x, y, name, worst}. */
export function scatter(whole, points) {
  const box = { left: 56, top: 12, width: whole - 70, height: 320 };
  const horizontal = span(points.map((point) => point.x)), vertical = span(points.map((point) => point.y));
  const x = (value) => box.left + (box.width * (value - horizontal.low)) / horizontal.size;
  const y = (value) => box.top + box.height * (1 - (value - vertical.low) / vertical.size);
  const grid = [
    ...rounded(vertical).flatMap((row) => [
      shape("line", { x1: box.left, x2: box.left + box.width, y1: y(row), y2: y(row), class: "axis" }),
      shape("text", { x: box.left - 8, y: y(row) + 4, "text-anchor": "end" }, short(row)),
    ]),
    ...rounded(horizontal).map((column) =>
      shape("text", { x: x(column), y: box.top + box.height + 20, "text-anchor": "middle" }, short(column))),
  ];
  const ordered = [...points].sort((a, b) => a.worst - b.worst);
  const dots = ordered.map((point) =>
    shape("circle", { cx: x(point.x), cy: y(point.y), r: point.worst ? 6 : 3.5, class: point.worst ? "point worst" : "point" },
      shape("title", {}, `${point.name}: score ${digits(point.y)}, human score ${short(point.x)}`)));
  return shape("svg", { viewBox: `0 0 ${whole} 372`, role: "img", "aria-label": `Scores of ${points.length} images against their human scores` },
    ...grid, ...dots,
    shape("text", { x: box.left + box.width / 2, y: 368, "text-anchor": "middle", class: "strong" }, "human score, higher is better"),
    shape("text", { x: 0, y: 0, transform: `translate(12 ${box.top + box.height / 2}) rotate(-90)`, "text-anchor": "middle", class: "strong" }, "score"));
}

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const margin = (high - low || 1) * 0.04;
  return { low: low - margin, size: high - low + 2 * margin };
}

/** Return about five round numbers within a span. */
function rounded({ low, size }) {
  const power = 10 ** Math.floor(Math.log10(size / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((wide) => size / wide <= 6);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor((low + size) / step) - first + 1 }, (_, place) => (first + place) * step);
}

const short = (value) => String(Number(value.toPrecision(3)));
