// Sets the page up: choosers, tabs, theme, and the three panels.

import { choices } from "./api.js";
import { element, voice } from "./dom.js";
import { setUpMany } from "./many.js";
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
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
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
  method.replaceChildren(...found.methods.map(option));
  const summaries = new Map(found.methods.map(({ name, summary }) => [name, summary]));
  const notes = new Map(found.models.map(({ name, note }) => [name, note]));
  const describe = () => {
    document.querySelector("#method-summary").textContent = summaries.get(method.value);
    document.querySelector("#model-note").textContent = notes.get(model.value);
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
  const again = [setUpOne(one, choice), setUpMany(many, choice)];
  setUpRun(run);
  const load = async () => {
    try {
      await setUpChoices(() => again[panels.findIndex((panel) => !panel.hidden)]?.());
      for (const panel of panels) voice(panel).say("");
    } catch (error) {
      for (const panel of panels) voice(panel).complain(error.message);
      if (error.wait) setTimeout(load, 1000 * error.wait); // the model is being loaded
    }
  };
  load();
}

start();
