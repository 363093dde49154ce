// Sets the page up: choosers, tabs, theme, and the three panels.

import { choices } from "./api.js";
import { element, voice } from "./dom.js";
import { setUpMany } from "./many.js";
import { grouped } from "./methods.js";
import { setUpOne } from "./one.js";
import { setUpRun } from "./run.js";

const model = document.querySelector("#model");
const method = document.querySelector("#method");
const choice = () => ({ model: model.value, method: method.value });

const panels = [...document.querySelectorAll("[role=tabpanel]")];
const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  showChoosers();
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}

/** Show the choosers that change what the panel in sight shows: none for a run, and none without an alternative. */
function showChoosers() {
  const asks = panels.find((panel) => !panel.hidden).id !== "run";
  for (const chooser of [model, method]) chooser.parentElement.hidden = !asks || chooser.options.length < 2;
  for (const text of document.querySelectorAll("#method-summary, #model-note")) text.hidden = !asks || !text.textContent;
}

function setUpTabs() {
  const steps = { ArrowRight: (place) => place + 1, ArrowLeft: (place) => place - 1, Home: () => 0, End: () => -1 };
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      const next = tabs.at(steps[event.key](place) % tabs.length);
      event.preventDefault();
      select(next);
      next.focus();
    });
  }
  const wanted = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  if (wanted) select(wanted);
}

function setUpTheme() {
  const button = document.querySelector("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const show = () => (button.textContent = current() === "dark" ? "Light" : "Dark");
  const stored = localStorage.getItem("theme");
  if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
  button.addEventListener("click", () => {
    const next = current() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
    show();
  });
  dark.addEventListener("change", show);
  show();
}

async function setUpChoices(changed) {
  const found = await choices();
  const option = ({ name, default: chosen }) => element("option", { value: name, selected: chosen && "" }, name);
  model.replaceChildren(...found.models.map(option));
  method.replaceChildren(...grouped(found.methods));
  const summaries = new Map(found.methods.map(({ name, summary }) => [name, summary]));
  const notes = new Map(found.models.map(({ name, note }) => [name, note]));
  const describe = () => {
    document.querySelector("#method-summary").textContent = summaries.get(method.value);
    document.querySelector("#model-note").textContent = notes.get(model.value);
    showChoosers();
  };
  for (const chooser of [model, method]) {
    chooser.disabled = false;
    chooser.addEventListener("change", () => {
      describe();
      changed();
    });
  }
  describe();
}

/** Keep files that are dropped beside a panel from taking the place of the page. */
function keepPage() {
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
}

function start() {
  keepPage();
  setUpTabs();
  setUpTheme();
  const [one, many, run] = panels;
  let isReady;
  const ready = new Promise((done) => (isReady = done));
  const first = setUpOne(one, choice, ready);
  const open = (file) => {
    select(tabs[0]);
    tabs[0].focus();
    scrollTo(0, 0);
    first.open(file);
  };
  const again = [first.again, setUpMany(many, choice, ready, open)];
  setUpRun(run, open);
  const asking = [one, many].map(voice);
  const load = async () => {
    try {
      await setUpChoices(() => again[panels.findIndex((panel) => !panel.hidden)]?.());
      for (const { say } of asking) say("");
      isReady();
    } catch (error) {
      if (error.wait) { // the model is being loaded
        const chosen = document.querySelector(".drop.used") ? "Your selection is next." : "You can select images now.";
        for (const { say } of asking) say(`The model is loading, which may take some minutes. ${chosen}`, { busy: true });
        setTimeout(load, 1000 * Math.min(error.wait, 2));
      } else for (const { complain } of asking) complain(error.message);
    }
  };
  load();
}

start();
