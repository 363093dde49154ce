// Many images: a gallery that sorts, a histogram, a table to take away.

import { patiently, score } from "./api.js";
import { histogram, keepDrawn } from "./charts.js";
import { writeCsv } from "./csv.js";
import { bar, clear, digits, download, element, onFiles, photo, voice } from "./dom.js";

const AT_A_TIME = 4;

const ORDERS = {
  worst: (a, b) => (a.answer?.score ?? 2) - (b.answer?.score ?? 2),
  best: (a, b) => (b.answer?.score ?? -1) - (a.answer?.score ?? -1),
  name: (a, b) => a.file.name.localeCompare(b.file.name),
  given: (a, b) => a.place - b.place,
};

/** Set up the panel, whose tiles call `open` with their file; return how to ask anew. */
export function setUpMany(panel, choice, ready, open) {
  const { say, complain } = voice(panel);
  const find = (selector) => panel.querySelector(selector);
  const progress = find("progress");
  let rows = [];
  let work = null;

  const arrange = () => {
    const ordered = [...rows].sort((a, b) => ORDERS[find("#sort").value](a, b) || a.place - b.place);
    find("#gallery").append(...ordered.map((row) => row.tile));
  };

  function refresh() {
    const sound = rows.filter((row) => row.answer);
    const scores = sound.map((row) => row.answer.score);
    keepDrawn(find("#histogram"), (width) => histogram(width, scores),
      element("figcaption", {}, `Score distribution of ${sound.length} images`));
    progress.max = rows.length;
    progress.value = rows.filter((row) => row.answer || row.error).length;
  }

  async function judge(row, signal) {
    try {
      row.answer = await patiently(() => score(row.file, choice(), signal), signal);
    } catch (error) {
      if (signal.aborted) return;
      row.error = error.message;
    }
    describe(row, open);
    refresh();
    say(`${progress.value} of ${rows.length} images`);
  }

  async function ask(files) {
    work?.abort();
    work = new AbortController();
    const { signal } = work;
    clear(find("#gallery"));
    rows = files.map((file, place) => newRow(file, place));
    find(".result").hidden = false;
    find(".progress").hidden = false;
    find("#csv").disabled = true;
    arrange();
    refresh();
    say("The model is loading; the images are next.", { busy: true });
    await ready;
    if (!signal.aborted) say("");
    const left = [...rows];
    const worker = async () => {
      while (left.length && !signal.aborted) await judge(left.shift(), signal);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    if (work.signal !== signal) return; // other images were chosen meanwhile
    find(".progress").hidden = true;
    find("#csv").disabled = false;
    arrange();
    conclude(signal.aborted);
  }

  function conclude(stopped) {
    const failed = rows.filter((row) => row.error).length;
    const done = rows.filter((row) => row.answer).length;
    if (!done && failed) complain("None of the images could be scored; see the errors below.");
    else say(`${done} scored${failed ? `, ${failed} failed` : ""}${stopped ? ", then stopped" : ""}`);
  }

  onFiles(find(".drop"), ask);
  find("#sort").addEventListener("change", arrange);
  find("#stop").addEventListener("click", () => work?.abort());
  find("#csv").addEventListener("click", () => download("scores.csv", "text/csv", table(rows)));
  return () => rows.length && ask(rows.map((row) => row.file));
}

function newRow(file, place) {
  const text = element("div", { class: "tile" }, element("h3", {}, file.name), element("p", {}, "waiting …"));
  return { file, place, text, tile: element("li", { class: "card" }, photo(file, file.name), text) };
}

function describe(row, open) {
  const title = element("h3", {}, row.file.name);
  if (row.error) row.text.replaceChildren(title, element("p", { class: "bad" }, row.error));
  else {
    const explain = element("button", { type: "button", class: "open", "aria-label": `Explain ${row.file.name}`, click: () => open(row.file) },
      "Explain");
    row.text.replaceChildren(title, element("strong", {}, digits(row.answer.score)), bar(row.answer.score), explain);
  }
}

function table(rows) {
  const header = ["name", "score", "error", "model", "method", "seed", "good", "same", "weight"];
  const lines = rows.map(({ file, answer, error }) => {
    const found = answer ?? {};
    const lists = [found.good, found.same, found.weight].map((list) => (list ? JSON.stringify(list) : ""));
    return [file.name, found.score ?? "", error ?? "", found.model ?? "", found.method ?? "", found.seed ?? "", ...lists];
  });
  return writeCsv([header, ...lines]);
}
