// An evaluation run: score against human score, and the images on which they disagree most.

import { agreement } from "./api.js";
import { keepDrawn, scatter } from "./charts.js";
import { readCsv } from "./csv.js";
import { clear, digits, element, onFiles, photo, voice } from "./dom.js";

const SHOWN = 12;
const MOST = 20_000;

/** Set up the panel, whose tiles call `open` with their picture where it is at hand. */
export function setUpRun(panel, open) {
  const { say, complain } = voice(panel);
  const [scores, pictures] = panel.querySelectorAll(".drop");
  let found = null;
  let photos = new Map();

  const draw = () => found && show(panel, found, photos, open);

  onFiles(scores, async ([file]) => {
    say("Reading …");
    try {
      const { rows, left } = parse(file.name, await file.text());
      const answer = await compared(rows);
      found = { answer, rows: rows.map((row, place) => ({ ...row, gap: answer.gap[place] })) };
      panel.querySelector(".result").hidden = false;
      draw();
      say(`${rows.length} images in ${file.name}${left ? `; ${left} without a score omitted` : ""}`);
    } catch (error) {
      panel.querySelector(".result").hidden = true;
      complain(`${file.name}: ${error.message}`);
    }
  });
  onFiles(pictures, (files) => {
    photos = byName(files);
    say(`${files.length} ${files.length === 1 ? "image" : "images"} loaded`);
    draw();
  });
}

/** Return how scores and human scores agree; ranked by the log-odds, where they are given, as evaluate ranks them. */
async function compared(rows) {
  const quality = rows.map((row) => row.quality);
  const found = await agreement(rows.map((row) => row.score), quality);
  if (!rows.every((row) => Number.isFinite(row.rank))) return found;
  return { ...(await agreement(rows.map((row) => row.rank), quality)), plcc: found.plcc };
}

/** Return the rows that have both scores, and how many have none. */
function parse(name, text) {
  const lines = name.toLowerCase().endsWith(".jsonl")
    ? text.split("\n").filter((line) => line.trim()).map(fromJson)
    : readCsv(text);
  if (!lines.length || !lines.every((line) => line?.score !== undefined && line.quality !== undefined)) {
    throw new Error("This is not a table of qdebias evaluate: it needs the columns path, score and quality.");
  }
  const number = (value) => (value === "" || value === null || value === undefined ? NaN : Number(value));
  const all = lines.map(({ path, score, quality, rank }) =>
    ({ path: String(path), score: number(score), quality: number(quality), rank: number(rank) }));
  const rows = all.filter((row) => Number.isFinite(row.score) && Number.isFinite(row.quality));
  if (rows.length < 3) throw new Error("At least three images with a score are needed.");
  if (rows.length > MOST) throw new Error(`This page shows at most ${MOST.toLocaleString("en")} images; select a part of them.`);
  return { rows, left: all.length - rows.length };
}

function fromJson(line) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error("A line of the file is not JSON; use the file as qdebias evaluate wrote it.");
  }
}

function byName(files) {
  const found = new Map();
  for (const file of files) {
    found.set(file.name, file);
    if (file.webkitRelativePath) found.set(file.webkitRelativePath, file);
  }
  return found;
}

function show(panel, { answer, rows }, photos, open) {
  const worst = [...rows].sort((a, b) => Math.abs(b.gap) - Math.abs(a.gap)).slice(0, SHOWN);
  const marked = new Set(worst);
  const measures = { images: answer.count.toLocaleString("en"), SRCC: digits(answer.srcc), PLCC: digits(answer.plcc), KRCC: digits(answer.krcc) };
  panel.querySelector("#measures").replaceChildren(
    ...Object.entries(measures).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const points = rows.map((row) => ({ x: row.quality, y: row.score, name: row.path, worst: marked.has(row) }));
  keepDrawn(panel.querySelector("#scatter"), (width) => scatter(width, points),
    element("figcaption", {}, "Each point is an image; the largest disagreements, shown below, are red."));
  const list = panel.querySelector("#worst");
  clear(list);
  list.append(...worst.map((row) => tile(row, photos.get(row.path) ?? photos.get(row.path.split("/").at(-1)), open)));
}

function tile(row, file, open) {
  const liked = row.gap > 0 ? "The model ranks it" : "Human scores rank it";
  return element("li", { class: "card" }, photo(file, row.path),
    element("div", { class: "tile" },
      element("h3", {}, row.path),
      element("p", {}, `score ${digits(row.score)}, human score ${Number(row.quality.toPrecision(4))}`),
      element("p", {}, `${liked} higher, by ${Math.round(100 * Math.abs(row.gap))} % of all ranks.`),
      file && element("button", { type: "button", class: "open", "aria-label": `Explain ${row.path}`, click: () => open(file) }, "How it comes about")));
}
